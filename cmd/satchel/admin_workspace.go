package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/layers"
	"satchel/store"
	"satchel/syncer"
)

// errNoSuch reports what a server does not have.
var errNoSuch = fmt.Errorf("the server has none of that name: %w", store.ErrNotExist)

func newAdminWorkspace(a *app) *cobra.Command {
	return group("workspace", "Manage users' workspaces", newAdminWorkspaceCreate(a), newAdminWorkspaceLs(a), newAdminWorkspaceRm(a))
}

func newAdminWorkspaceCreate(a *app) *cobra.Command {
	var owner, osLayer string
	var groups []string
	c := &cobra.Command{
		Use:   "create NAME --user USER --os LAYER [--group LAYER]...",
		Short: "Make a workspace that a user's devices fetch at their next sync",
		Long: `Makes a workspace of layers that the server has, with personal, system and data
layers of its own that begin empty. The user must be granted the layers below.`,
		Example: `  satchel admin workspace create school --user ana --os debian-12 --group office`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			var all []syncer.LayerInfo
			if err := a.admin(c.Context(), "GET", "layers", nil, &all); err != nil {
				return err
			}
			ws := syncer.Workspace{Name: argv[0], Owner: owner}
			var err error
			if ws.OS, err = layerID(all, osLayer, layers.OS); err != nil {
				return err
			}
			for _, name := range groups {
				id, err := layerID(all, name, layers.Group)
				if err != nil {
					return err
				}
				ws.Groups = append(ws.Groups, id)
			}
			var made syncer.Workspace
			if err := a.admin(c.Context(), "POST", "workspaces", ws, &made); err != nil {
				return err
			}
			return a.printServerWorkspaces(c.Context(), made, made)
		},
	}
	c.Flags().StringVar(&owner, "user", "", "whose workspace it is (required)")
	c.Flags().StringVar(&osLayer, "os", "", "the os layer (required)")
	c.Flags().StringArrayVar(&groups, "group", nil, "a group layer; later ones lie above earlier ones")
	err := errors.Join(c.MarkFlagRequired("user"), c.MarkFlagRequired("os"))
	_ = err // the flags are defined above
	return c
}

// layerID finds a layer of the server by name, and checks its kind.
func layerID(all []syncer.LayerInfo, name string, kind layers.Kind) (store.LayerID, error) {
	for _, l := range all {
		switch {
		case l.Name != name:
		case l.Kind != kind:
			return store.LayerID{}, fmt.Errorf("layer %s is of kind %s, not %s", name, l.Kind, kind)
		default:
			return l.ID, nil
		}
	}
	return store.LayerID{}, fmt.Errorf("layer %s: %w (satchel admin layer ls lists them; satchel publish on a publisher's device sends one)", name, errNoSuch)
}

func newAdminWorkspaceLs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List all users' workspaces",
		Example: `  satchel admin workspace ls`,
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			all := []syncer.Workspace{}
			if err := a.admin(c.Context(), "GET", "workspaces", nil, &all); err != nil {
				return err
			}
			return a.printServerWorkspaces(c.Context(), all, all...)
		},
	}
}

func newAdminWorkspaceRm(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rm USER NAME",
		Short:   "Remove a workspace from the server; its layers and what devices hold stay",
		Example: `  satchel admin workspace rm ana school`,
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, argv []string) error {
			var all []syncer.Workspace
			if err := a.admin(c.Context(), "GET", "workspaces", nil, &all); err != nil {
				return err
			}
			for _, ws := range all {
				if ws.Owner == argv[0] && ws.Name == argv[1] {
					return a.admin(c.Context(), "DELETE", at("workspaces", ws.ID), nil, nil)
				}
			}
			return fmt.Errorf("workspace %s of %s: %w", argv[1], argv[0], errNoSuch)
		},
	}
}

// printServerWorkspaces prints facts as JSON, or workspaces with the names of their layers.
func (a *app) printServerWorkspaces(ctx context.Context, facts any, all ...syncer.Workspace) error {
	names := map[store.LayerID]string{}
	if !a.json {
		var infos []syncer.LayerInfo
		if err := a.admin(ctx, "GET", "layers", nil, &infos); err != nil {
			return err
		}
		for _, l := range infos {
			names[l.ID] = l.Name
		}
	}
	return a.print(facts, func(w io.Writer) {
		table(w, func(w io.Writer) {
			fmt.Fprintln(w, "USER\tWORKSPACE\tOS\tGROUPS\tDATA")
			for _, ws := range all {
				groups := ""
				for _, g := range ws.Groups {
					groups += names[g] + " "
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", ws.Owner, ws.Name, names[ws.OS], groups, names[ws.Data])
			}
		})
	})
}
