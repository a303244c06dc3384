package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"satchel/layers/decompose"
	"satchel/layers/workspace"
	"satchel/vmm/session"
)

func newCapture(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "capture WORKSPACE",
		Short: "Commit what the guest has changed so far",
		Long: `Sorts what the guest has changed into the layers that own it and commits new
versions. A running guest goes on; of one that has crashed, what it had written
to its disk is captured. A suspended one was captured when it was suspended; one
that brings its own system is captured when its session ends.`,
		Example:           `  satchel capture ana`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(c *cobra.Command, argv []string) error {
			var got session.Captured
			err := a.withSession(c.Context(), argv[0], func(s *session.Client) (err error) {
				got, err = s.Capture(c.Context())
				return err
			})
			if errors.Is(err, session.ErrNotRunning) {
				err = a.with(func(h *home) error {
					left, err := h.host(a).Settle(c.Context(), argv[0], nil)
					if errors.Is(err, workspace.ErrSuspended) && !errors.Is(err, session.ErrNoAgent) {
						err = nil // there is nothing new
					}
					got = session.Captured{Workspace: argv[0], Layers: []session.CapturedLayer{}, Decisions: []decompose.Decision{}}
					if left != nil {
						got = *left
					}
					return err
				})
			}
			if err != nil {
				return err
			}
			return a.print(got, func(w io.Writer) { writeCaptured(w, &got) })
		},
	}
}

// writeCaptured prints which layer received what, and why.
func writeCaptured(w io.Writer, c *session.Captured) {
	if c == nil {
		return
	}
	fmt.Fprintf(w, "captured from %s:\n  %s\n", c.Workspace, strings.Join(c.Summary(), "\n  "))
}
