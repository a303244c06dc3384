package main

import (
	"io"

	"github.com/spf13/cobra"

	"satchel/vmm/session"
)

func newScreenshot(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "screenshot WORKSPACE FILE.png",
		Short:             "Save what the guest's screen shows",
		Long:              `Saves what the guest's screen shows as a PNG picture, whether anybody looks at it or not.`,
		Example:           `  satchel screenshot ana screen.png`,
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(c *cobra.Command, argv []string) error {
			return a.withSession(c.Context(), argv[0], func(s *session.Client) error {
				png, err := s.Screenshot(c.Context())
				if err != nil {
					return err
				}
				return writeFile(argv[1], func(w io.Writer) error { _, err := w.Write(png); return err })
			})
		},
	}
}
