package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"satchel/layers/workspace"
	"satchel/vmm/session"
)

func newStop(a *app) *cobra.Command {
	var kill bool
	c := &cobra.Command{
		Use:   "stop WORKSPACE",
		Short: "Stop the guest and capture what it changed",
		Long: `Asks the guest to shut down: through its agent, then its power button, then by
ending the machine. Returns when what the guest changed is in its layers, and
prints which layer received what. A suspended guest has to be resumed first to be
shut down; --kill gives up what it has in memory. Its files are kept.`,
		Example: `  satchel stop ana
  satchel stop ana --json`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(c *cobra.Command, argv []string) error {
			err := a.withSession(c.Context(), argv[0], func(s *session.Client) error {
				end, err := s.Stop(c.Context(), kill)
				if err != nil {
					return err
				}
				return a.print(end, func(w io.Writer) { writeCaptured(w, end.Captured) })
			})
			if kill && errors.Is(err, workspace.ErrSuspended) {
				return a.with(func(h *home) error {
					got, err := h.host(a).Drop(c.Context(), argv[0])
					if err != nil {
						return err
					}
					end := session.End{Workspace: argv[0], How: "given up", Captured: got}
					return a.print(end, func(w io.Writer) { writeCaptured(w, got) })
				})
			}
			return err
		},
	}
	c.Flags().BoolVar(&kill, "kill", false, "pull the plug; what the guest had written to its disk is captured all the same")
	return c
}
