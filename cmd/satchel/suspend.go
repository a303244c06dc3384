package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/layers/workspace"
	"satchel/vmm/session"
)

// suspended is what suspend prints.
type suspended struct {
	*session.Suspended                 // absent: it was suspended already
	Stored             *session.Stored `json:"stored,omitempty"`
}

func newSuspend(a *app) *cobra.Command {
	var put bool
	c := &cobra.Command{
		Use:   "suspend WORKSPACE",
		Short: "Put a running guest aside: satchel run lets it go on",
		Long: `Captures what the guest has changed, writes its memory to the home, and ends its
machine. satchel run lets it go on where it was, with all its programs; commands
of satchel exec that are connected to it end. When there is no room for its
memory, the guest goes on. So does one whose versions are on trial: it can be
suspended once it has reached its health mark. The disk of a guest that brings its
own system is not captured then, but kept as it is until its session ends.

A guest can go on in the same home, with the same QEMU, and as long as its layers
are as it left them. Otherwise satchel run says what has changed and boots the
workspace anew; its files are in the layers either way.

With --store the memory goes into the store, where equal parts are kept once and
compressed. That is for a guest that will rest for long, one that is suspended
already too; it never leaves this device.`,
		Example: `  satchel suspend ana
  satchel run ana --detach    # goes on where she was`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(c *cobra.Command, argv []string) error {
			var out suspended
			err := a.withSession(c.Context(), argv[0], func(s *session.Client) error {
				got, err := s.Suspend(c.Context())
				out.Suspended = &got
				return err
			})
			if put && (err == nil || errors.Is(err, workspace.ErrSuspended)) {
				err = a.with(func(h *home) error {
					got, err := h.host(a).Put(c.Context(), argv[0])
					out.Stored = &got
					return err
				})
			}
			if err != nil {
				return err
			}
			return a.print(out, func(w io.Writer) { out.write(w) })
		},
	}
	c.Flags().BoolVar(&put, "store", false, "keep the memory in the store, compressed and with equal parts once")
	return c
}

func (s *suspended) write(w io.Writer) {
	if s.Suspended != nil {
		writeSuspended(w, s.Suspended)
	}
	if s.Stored != nil {
		fmt.Fprintf(w, "stored: %s, of which %s are new, as %s\n", size(s.Stored.Bytes), size(s.Stored.NewBytes), size(s.Stored.StoredBytes))
	}
}

func writeSuspended(w io.Writer, got *session.Suspended) {
	writeCaptured(w, got.Captured)
	if got.Captured == nil {
		fmt.Fprintln(w, "its disk stays as it is, and is captured when its session ends")
	}
	fmt.Fprintf(w, "%s is suspended after %.1f s, with %s of memory; satchel run %s lets it go on\n",
		got.Workspace, got.Seconds, size(got.MemoryBytes), got.Workspace)
}
