package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/layers/manifest"
)

type difference struct {
	Path   string `json:"path"`
	Change string `json:"change"` // added, removed, changed
	Type   string `json:"type"`
	Before int64  `json:"bytes_before"`
	After  int64  `json:"bytes_after"`
}

func newLayerDiff(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "diff A[@VERSION] B[@VERSION]",
		Short: "List what differs between two versions",
		Long:  `Lists the paths that differ: + added, - removed, ~ changed, with their sizes.`,
		Example: `  satchel layer diff debian-12@3f2a91 debian-12
  satchel layer diff ana/data ben/data --json`,
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: a.completeLayers,
		RunE: func(c *cobra.Command, argv []string) error {
			return a.with(func(h *home) error {
				from, err := h.repo.Resolve(c.Context(), argv[0])
				if err != nil {
					return err
				}
				to, err := h.repo.Resolve(c.Context(), argv[1])
				if err != nil {
					return err
				}
				out := []difference{}
				for ch, err := range manifest.Diff(c.Context(), h.store, from.Version.Tree, to.Version.Tree) {
					if err != nil {
						return err
					}
					out = append(out, describe(ch))
				}
				return a.print(out, func(w io.Writer) {
					for _, d := range out {
						fmt.Fprintf(w, "%s %s  %d -> %d\n", marks[d.Change], d.Path, d.Before, d.After)
					}
				})
			})
		},
	}
}

var marks = map[string]string{"added": "+", "removed": "-", "changed": "~"}

func describe(ch manifest.Change) difference {
	d := difference{Path: ch.Path, Change: "changed"}
	switch {
	case ch.From == nil:
		d.Change = "added"
	case ch.To == nil:
		d.Change = "removed"
	}
	if ch.From != nil {
		d.Type, d.Before = ch.From.Type.String(), ch.From.Size
	}
	if ch.To != nil {
		d.Type, d.After = ch.To.Type.String(), ch.To.Size
	}
	return d
}
