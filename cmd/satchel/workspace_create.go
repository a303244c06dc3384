package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/layers"
	"satchel/layers/workspace"
	"satchel/store"
)

func newWorkspaceCreate(a *app) *cobra.Command {
	var osLayer string
	var groups []string
	c := &cobra.Command{
		Use:   "create NAME --os LAYER [--group LAYER]...",
		Short: "Make a workspace from an os layer and group layers",
		Long: `Makes a workspace. Its personal, system, local and data layers are named after
it (NAME/personal and so on) and begin empty, unless layers of those names exist
already: then they are taken as they are.`,
		Example: `  satchel workspace create ana --os debian-12 --group office --group class-7b`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			return a.with(func(h *home) error {
				def, err := h.define(c.Context(), argv[0], osLayer, groups)
				if err != nil {
					return err
				}
				if err := h.workspaces.Create(def); err != nil {
					return err
				}
				return a.print(def, func(w io.Writer) { writeDefinition(w, def) })
			})
		},
	}
	c.Flags().StringVar(&osLayer, "os", "", "the os layer (required)")
	c.Flags().StringArrayVar(&groups, "group", nil, "a group layer; later ones lie above earlier ones")
	a.completeLayerFlags(c, "os", "group")
	c.MarkFlagRequired("os") //nolint:errcheck // the flag is defined above
	return c
}

// define names the layers of a new workspace, and makes those that are its own.
func (h *home) define(ctx context.Context, name, osLayer string, groups []string) (workspace.Definition, error) {
	def := workspace.Definition{Name: name}
	if err := workspace.CheckName(name); err != nil {
		return def, err
	}
	if _, err := h.workspaces.Load(name); err == nil {
		return def, fmt.Errorf("workspace %s: %w", name, store.ErrExist)
	}
	var err error
	if def.OS, err = h.published(ctx, osLayer, layers.OS); err != nil {
		return def, err
	}
	if def.Groups, err = h.publishedGroups(ctx, groups); err != nil {
		return def, err
	}
	own := map[layers.Kind]*workspace.Layer{
		layers.Personal: &def.Personal, layers.System: &def.System, layers.Local: &def.Local, layers.Data: &def.Data,
	}
	for _, kind := range layers.Kinds {
		if l := own[kind]; l != nil {
			if *l, err = h.ownLayer(ctx, name+"/"+string(kind), kind); err != nil {
				return def, err
			}
		}
	}
	return def, nil
}

// published finds a layer that others write, and checks its kind.
func (h *home) published(ctx context.Context, name string, kind layers.Kind) (workspace.Layer, error) {
	at, err := h.repo.Resolve(ctx, name)
	if errors.Is(err, store.ErrNotExist) {
		return workspace.Layer{}, fmt.Errorf("%w (satchel layer ls lists the layers; satchel layer import --kind %s %s SOURCE makes one)", err, kind, name)
	}
	if err != nil {
		return workspace.Layer{}, err
	}
	if at.Version.Kind != kind {
		return workspace.Layer{}, fmt.Errorf("layer %s is of kind %s, not %s", name, at.Version.Kind, kind)
	}
	return workspace.Layer{ID: at.Head.Layer, Name: at.Head.Name}, nil
}

func (h *home) publishedGroups(ctx context.Context, names []string) ([]workspace.Layer, error) {
	var out []workspace.Layer
	for _, name := range names {
		l, err := h.published(ctx, name, layers.Group)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// ownLayer finds or makes one of the workspace's own layers.
func (h *home) ownLayer(ctx context.Context, name string, kind layers.Kind) (workspace.Layer, error) {
	head, err := h.store.Heads().Lookup(ctx, name)
	switch {
	case errors.Is(err, store.ErrNotExist):
		head, err = h.repo.Create(ctx, name)
	case err == nil && !head.Version.IsZero():
		return h.published(ctx, name, kind)
	}
	return workspace.Layer{ID: head.Layer, Name: head.Name}, err
}

func writeDefinition(w io.Writer, def workspace.Definition) {
	fmt.Fprintf(w, "workspace %s, lowest layer first:\n", def.Name)
	table(w, func(w io.Writer) {
		for _, l := range def.Stack() {
			fmt.Fprintf(w, "  %s\t%s\n", l.Kind, l.Name)
		}
	})
}
