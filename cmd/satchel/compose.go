package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func newCompose(a *app) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "compose WORKSPACE --out FILE",
		Short: "Write a workspace's composed image as a real EROFS file",
		Long: `Composes the workspace's layers at their heads and writes the image that its
guest would be served as a file, which any Linux can mount. Prints registries
that could not be merged without a conflict, and files of upper layers that hide
a file that has changed below them.`,
		Example: `  satchel compose ana --out ana.erofs
  mount -t erofs -o loop,ro ana.erofs /mnt`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(c *cobra.Command, argv []string) error {
			return a.with(func(h *home) error {
				bar := a.progress("compose")
				got, err := h.host(a).WriteImage(c.Context(), argv[0], out, bar.set)
				bar.done()
				if err != nil {
					return err
				}
				return a.print(got, func(w io.Writer) {
					fmt.Fprintf(w, "%s: %d paths, %s, of it %s metadata\n", out, got.Entries, size(got.Bytes), size(got.MetadataBytes))
					for _, x := range got.Conflicts {
						fmt.Fprintf(w, "conflict: %s in %s: %s\n", x.Path, x.Layer, x.Reason)
					}
					for _, x := range got.Shadowed {
						fmt.Fprintf(w, "hidden: %s by %s: %s\n", x.Path, x.Layer, x.Reason)
					}
				})
			})
		},
	}
	c.Flags().StringVar(&out, "out", "", "the file to write (required)")
	c.MarkFlagRequired("out") //nolint:errcheck // the flag is defined above
	return c
}
