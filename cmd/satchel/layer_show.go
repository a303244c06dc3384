package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/layers"
	"satchel/store"
)

type shown struct {
	Name string   `json:"name"`
	ID   store.ID `json:"version"`
	layers.Version
	Files []string `json:"files,omitempty"`
}

func newLayerShow(a *app) *cobra.Command {
	var files bool
	c := &cobra.Command{
		Use:   "show NAME[@VERSION]",
		Short: "Tell about one version of a layer",
		Example: `  satchel layer show debian-12
  satchel layer show ana/data@3f2a91 --files`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeLayers,
		RunE: func(c *cobra.Command, argv []string) error {
			return a.with(func(h *home) error {
				at, err := h.repo.Resolve(c.Context(), argv[0])
				if err != nil {
					return err
				}
				out := shown{Name: at.Head.Name, ID: at.ID, Version: at.Version}
				if files {
					tree, err := h.repo.Tree(c.Context(), argv[0])
					if err != nil {
						return err
					}
					for i := range tree {
						out.Files = append(out.Files, tree[i].Path)
					}
				}
				return a.print(out, func(w io.Writer) { out.write(w) })
			})
		},
	}
	c.Flags().BoolVar(&files, "files", false, "list the paths too")
	return c
}

func (s shown) write(w io.Writer) {
	table(w, func(w io.Writer) {
		fmt.Fprintf(w, "name\t%s\n", s.Name)
		fmt.Fprintf(w, "version\t%s\n", s.ID)
		fmt.Fprintf(w, "kind\t%s\n", s.Kind)
		fmt.Fprintf(w, "made\t%s on %s\n", when(s.Time), s.Device)
		fmt.Fprintf(w, "why\t%s\n", s.Message)
		for _, p := range s.Parents {
			fmt.Fprintf(w, "parent\t%s\n", p)
		}
		fmt.Fprintf(w, "holds\t%d paths, %d files, %s\n", s.Tree.Entries, s.Tree.Files, size(s.Tree.Bytes))
	})
	for _, f := range s.Files {
		fmt.Fprintln(w, f)
	}
}
