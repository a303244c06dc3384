package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"satchel/store/disk"
)

// collected is what gc did, and then recompression if that was asked for.
type collected struct {
	disk.GCResult
	Recompressed *disk.RecompressResult `json:"recompressed,omitempty"`
}

func newStoreGC(a *app) *cobra.Command {
	var again bool
	var limit time.Duration
	c := &cobra.Command{
		Use:   "gc",
		Short: "Remove what no layer reaches any more",
		Long: `Removes chunks that no version of any layer reaches, and no running import,
capture or guest uses, be it suspended. It may run beside all of them.

With --recompress, packs are then compressed again, as well as can be, each once:
about a seventh less for programs and text. That takes a core a minute for some
200 MB of what files hold, at the lowest priority. It may be ended at any time, and
goes on the next time with what is left. No second gc runs meanwhile.`,
		Example: `  satchel store gc
  satchel store gc --recompress --for 2h   # at night`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if limit < 0 || limit > 0 && !again {
				return usageError{errors.New("--for says for how long to --recompress")}
			}
			return a.with(func(h *home) error {
				result := collected{}
				var err error
				if result.GCResult, err = h.store.GC(c.Context(), h.repo.Walker(), h.workspaces.Kept, h.workspaces.Roots); err != nil {
					return err
				}
				if again {
					done, err := a.recompress(c.Context(), h, limit)
					if err != nil {
						return err
					}
					result.Recompressed = &done
				}
				return a.print(result, func(w io.Writer) { writeCollected(w, result) })
			})
		},
	}
	c.Flags().BoolVar(&again, "recompress", false, "then compress packs again, as well as can be")
	c.Flags().DurationVar(&limit, "for", 0, "begin nothing more of that after so long (0: until all is done)")
	return c
}

func (a *app) recompress(ctx context.Context, h *home, limit time.Duration) (disk.RecompressResult, error) {
	var until time.Time
	if limit > 0 {
		until = time.Now().Add(limit)
	}
	bar := a.progress("recompress")
	defer bar.done()
	return h.store.Recompress(ctx, until, bar.set)
}

func writeCollected(w io.Writer, result collected) {
	fmt.Fprintf(w, "removed %d chunks, freed %s; %d chunks wait for running writers\n", result.SweptChunks, size(result.FreedBytes), result.Condemned)
	if r := result.Recompressed; r != nil {
		freed := "freed " + size(r.FreedBytes)
		if r.FreedBytes < 0 { // time ran out within a pack, which goes with the next run
			freed = "for now " + size(-r.FreedBytes) + " more"
		}
		fmt.Fprintf(w, "recompressed: %d packs became %d, %s; %d packs are left\n", r.Removed, r.Packs, freed, r.Left)
	}
}
