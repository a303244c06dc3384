package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/vmm/session"
)

func newSuspend(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "suspend WORKSPACE",
		Short: "Put a running guest aside: satchel run lets it go on",
		Long: `Captures what the guest has changed, writes its memory to the home, and ends its
machine. satchel run lets it go on where it was, with all its programs; commands
of satchel exec that are connected to it end. When there is no room for its
memory, the guest goes on. So does one whose versions are on trial: it can be
suspended once it has reached its health mark.

A guest can go on in the same home, with the same QEMU, and as long as its layers
are as it left them. Otherwise satchel run says what has changed and boots the
workspace anew; its files are in the layers either way.`,
		Example: `  satchel suspend ana
  satchel run ana --detach    # goes on where she was`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(c *cobra.Command, argv []string) error {
			return a.withSession(c.Context(), argv[0], func(s *session.Client) error {
				got, err := s.Suspend(c.Context())
				if err != nil {
					return err
				}
				return a.print(got, func(w io.Writer) { writeSuspended(w, &got) })
			})
		},
	}
}

func writeSuspended(w io.Writer, got *session.Suspended) {
	writeCaptured(w, got.Captured)
	fmt.Fprintf(w, "%s is suspended after %.1f s, with %s of memory; satchel run %s lets it go on\n",
		got.Workspace, got.Seconds, size(got.MemoryBytes), got.Workspace)
}
