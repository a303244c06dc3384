package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/store/disk"
)

func newStoreVerify(a *app) *cobra.Command {
	var rebuild, forget bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "Read every byte of the store and check it",
		Long: `Reads every pack, checks every chunk against its ID, and checks that every
version of every layer has all its chunks. Names each damaged or missing chunk
and exits with status 5 if there is any.

With --forget-damaged, chunks found damaged count as absent from then on, so
that importing the same data again, or whatever else brings them, stores good
copies. What is whole in the packs they lie in is copied to new ones, and the
damaged packs are renamed to NAME.pack.damaged.`,
		Example: `  satchel store verify
  satchel store verify --rebuild-index   # after damage to index.db
  satchel store verify --forget-damaged  # then import the data again`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(func(h *home) error {
				if rebuild {
					if err := h.store.Rebuild(c.Context()); err != nil {
						return err
					}
					a.note("index rebuilt from the packs")
				}
				bar := a.progress("verify")
				result, err := h.store.Verify(c.Context(), h.repo.Walker(), bar.set)
				bar.done()
				if err != nil {
					return err
				}
				if forget && len(result.Damaged)+len(result.Torn) > 0 {
					if err := h.store.Forget(c.Context(), result); err != nil {
						return err
					}
					a.note("%d damaged chunks forgotten: import their data again", len(result.Damaged))
				}
				err = a.print(result, func(w io.Writer) { writeVerified(w, result) })
				return errors.Join(err, result.Err())
			})
		},
	}
	c.Flags().BoolVar(&rebuild, "rebuild-index", false, "first make the index anew from the packs")
	c.Flags().BoolVar(&forget, "forget-damaged", false, "let chunks found damaged be stored anew")
	return c
}

func writeVerified(w io.Writer, v disk.VerifyResult) {
	fmt.Fprintf(w, "%d chunks in %d packs, %s\n", v.Chunks, v.Packs, size(v.Bytes))
	if v.ToCome > 0 {
		fmt.Fprintf(w, "%d chunks of layers that are still being fetched are not here yet (satchel sync fetches them)\n", v.ToCome)
	}
	for _, d := range v.Damaged {
		fmt.Fprintf(w, "damaged: chunk %s in %s: %s\n", d.ID, d.File, d.Reason)
	}
	for _, p := range v.Torn {
		fmt.Fprintf(w, "damaged: pack %s: %s\n", p.File, p.Reason)
	}
	for _, id := range v.Missing {
		fmt.Fprintf(w, "missing: chunk %s\n", id)
	}
	for _, h := range v.Heads {
		fmt.Fprintf(w, "not whole: layer %s at version %s: %s\n", h.Layer, h.Version, h.Reason)
	}
}
