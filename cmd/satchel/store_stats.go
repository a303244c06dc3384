package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/store"
	"satchel/store/disk"
)

type storeStats struct {
	disk.Stats
	Versions     int   `json:"versions"`
	LogicalBytes int64 `json:"logical_bytes"` // of all files of all versions, as if each were stored whole
}

func newStoreStats(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "Tell what the store holds and what deduplication saves",
		Example: `  satchel store stats
  satchel store stats --json`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(func(h *home) error {
				stats := storeStats{}
				var err error
				if stats.Stats, err = h.store.Stats(c.Context()); err != nil {
					return err
				}
				infos, err := h.repo.Layers(c.Context())
				if err != nil {
					return err
				}
				for _, l := range infos {
					for entry, err := range h.repo.Log(c.Context(), store.Head{Layer: l.Layer, Name: l.Name, Version: l.Version}) {
						if err != nil {
							return err
						}
						stats.Versions++
						stats.LogicalBytes += entry.Version.Tree.Bytes
					}
				}
				return a.print(stats, func(w io.Writer) { stats.write(w) })
			})
		},
	}
}

func (s storeStats) write(w io.Writer) {
	table(w, func(w io.Writer) {
		fmt.Fprintf(w, "layers\t%d\n", s.Layers)
		fmt.Fprintf(w, "versions\t%d\n", s.Versions)
		fmt.Fprintf(w, "chunks\t%d\n", s.Chunks)
		fmt.Fprintf(w, "packs\t%d\n", s.Packs)
		fmt.Fprintf(w, "logical\t%s\n", size(s.LogicalBytes))
		fmt.Fprintf(w, "unique\t%s\n", size(s.UniqueBytes))
		fmt.Fprintf(w, "stored\t%s\n", size(s.StoredBytes))
	})
}
