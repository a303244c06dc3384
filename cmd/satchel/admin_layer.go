package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"satchel/syncer"
)

func newAdminLayer(a *app) *cobra.Command {
	return group("layer", "Manage layers and who may use them", newAdminLayerGrant(a), newAdminLayerLs(a), newAdminLayerRm(a))
}

func newAdminLayerGrant(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "grant LAYER read|write|none PRINCIPAL",
		Short: "Say who may read or write a layer",
		Long: `Gives a user, a group, a device or all the right to read a layer, or to write it,
or takes the right away. A principal is user:NAME, group:NAME, device:NAME or
all. A layer's owner may always do both. A layer gets to the server when it is
published or synced from a device.`,
		Example: `  satchel admin layer grant debian-12 read all
  satchel admin layer grant office read group:7b
  satchel admin layer grant office none user:ben`,
		Args:      args(cobra.ExactArgs(3)),
		ValidArgs: []string{"read", "write", "none"},
		RunE: func(c *cobra.Command, argv []string) error {
			g := syncer.Grant{To: syncer.Principal(argv[2]), Access: syncer.Access(argv[1])}
			if err := g.To.Check(); err != nil {
				return usageError{err}
			}
			var l syncer.LayerInfo
			var err error
			switch path := at("layers", argv[0], "grants", argv[2]); argv[1] {
			case "read", "write":
				err = a.admin(c.Context(), "PUT", path, g, &l)
			case "none":
				err = a.admin(c.Context(), "DELETE", path, nil, &l)
			default:
				err = usageError{fmt.Errorf("access %q: want read, write or none", argv[1])}
			}
			if err != nil {
				return err
			}
			return a.print(l, func(w io.Writer) { writeLayerInfos(w, l) })
		},
	}
	return c
}

func newAdminLayerLs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List the server's layers and who may use them",
		Example: `  satchel admin layer ls`,
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			all := []syncer.LayerInfo{}
			if err := a.admin(c.Context(), "GET", "layers", nil, &all); err != nil {
				return err
			}
			return a.print(all, func(w io.Writer) { writeLayerInfos(w, all...) })
		},
	}
}

func newAdminLayerRm(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rm LAYER",
		Short: "Remove a layer that no workspace uses, with all its versions",
		Long: `Removes a layer from the server. Devices keep what they hold of it, and those
that may write it will send it again if one of their workspaces uses it.`,
		Example: `  satchel admin layer rm debian-11`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			return a.admin(c.Context(), "DELETE", at("layers", argv[0]), nil, nil)
		},
	}
}

func writeLayerInfos(w io.Writer, all ...syncer.LayerInfo) {
	table(w, func(w io.Writer) {
		fmt.Fprintln(w, "LAYER\tKIND\tOWNER\tVERSION\tGRANTS")
		for _, l := range all {
			version := "-"
			if !l.Version.IsZero() {
				version = l.Version.Short()
			}
			var grants []string
			for _, g := range l.Grants {
				grants = append(grants, fmt.Sprintf("%s=%s", g.To, g.Access))
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", l.Name, l.Kind, l.Owner, version, strings.Join(grants, " "))
		}
	})
}
