package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"satchel/layers"
	"satchel/vmm/agent"
	"satchel/vmm/session"
)

func newApp(a *app) *cobra.Command {
	return group("app", "Make group layers of applications", newAppRecord(a))
}

func newAppRecord(a *app) *cobra.Command {
	var opt session.Options
	var memory string
	c := &cobra.Command{
		Use:   "record WORKSPACE NAME -- COMMAND [ARG]...",
		Short: "Run an installer in a guest and keep what it changed as a group layer",
		Long: `Boots the workspace's os and group layers alone, runs COMMAND in that guest as
root, shuts it down, and keeps what changed as a version of the group layer NAME.
If the command fails, nothing is kept. Standard input is passed to the command.`,
		Example: `  satchel app record lab office -- apt-get install -y libreoffice-writer
  satchel app record lab tools -- sh -c 'tar -x -C /tmp && apt-get install -y /tmp/*.deb' < debs.tar`,
		Args:              args(cobra.MinimumNArgs(3)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(c *cobra.Command, argv []string) error {
			if err := checkMachineFlags(&opt, memory); err != nil {
				return err
			}
			return a.with(func(h *home) error {
				if _, err := h.layerFor(c.Context(), argv[1], layers.Group); err != nil {
					return err
				}
				if err := h.preferences(c, argv[0], &opt); err != nil {
					return err
				}
				a.note("booting the os and group layers of %s", argv[0])
				got, err := h.host(a).Record(c.Context(), argv[0], argv[1], opt, func(ctx context.Context, s *session.Session) error {
					a.note("recording: %s", strings.Join(argv[2:], " "))
					return a.exec(ctx, s.Agent(), agent.ExecRequest{Argv: argv[2:]}, false)
				})
				if err != nil {
					return err
				}
				return a.print(got, func(w io.Writer) { writeCaptured(w, &got) })
			})
		},
	}
	addMachineFlags(c, &opt, &memory)
	return c
}
