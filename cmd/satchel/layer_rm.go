package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"satchel/layers/workspace"
	"satchel/store"
)

func newLayerRm(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rm NAME",
		Short: "Remove a layer with all its versions",
		Long: `Removes a layer and its history. A layer that a workspace is made of, or may
have to go back to, is not removed. satchel store gc then frees the room that no other layer needs.`,
		Example:           `  satchel layer rm debian-11`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeLayers,
		RunE: func(c *cobra.Command, argv []string) error {
			return a.with(func(h *home) error {
				head, err := h.store.Heads().Lookup(c.Context(), argv[0])
				if err != nil {
					return err
				}
				if err := h.unstacked(head); err != nil {
					return err
				}
				return h.store.Heads().Remove(c.Context(), head.Layer, head.Version)
			})
		},
	}
}

// unstacked refuses to take a layer out of a workspace.
func (h *home) unstacked(head store.Head) error {
	names, err := h.workspaces.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		def, err := h.workspaces.Load(name)
		if err != nil {
			return err
		}
		rec, err := h.workspaces.LoadSession(name)
		if err != nil && !errors.Is(err, store.ErrNotExist) {
			return err
		}
		for _, pin := range rec.Composed {
			if pin.Layer == head.Layer && rec.State == workspace.Suspended {
				return fmt.Errorf("workspace %s %w, and its guest lies on layer %s (first: satchel stop --kill %s, which gives its memory up)", name, workspace.ErrSuspended, head.Name, name)
			}
			if pin.Layer == head.Layer {
				return fmt.Errorf("workspace %s has changes that lie on layer %s (first: satchel stop %s, or satchel capture %s)", name, head.Name, name, name)
			}
		}
		for _, l := range def.Stack() {
			if l.ID == head.Layer {
				return fmt.Errorf("layer %s is part of workspace %s (satchel workspace rm %s, or satchel workspace set, first)", head.Name, name, name)
			}
		}
	}
	kept, err := h.workspaces.KeptFor(head.Layer)
	if err == nil && len(kept) > 0 {
		err = fmt.Errorf("workspace %s may have to go back to layer %s until it is well with others (satchel run %s first)", kept[0], head.Name, kept[0])
	}
	return err
}
