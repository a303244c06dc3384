package main

import (
	"github.com/spf13/cobra"

	"satchel/layers/mount"
)

func newLayerMount(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "mount NAME[@VERSION] DIR",
		Short: "Mount a version read-only, to browse it",
		Long: `Mounts a version on the directory DIR and serves it until it is unmounted
(fusermount3 -u DIR) or this command is interrupted.`,
		Example:           `  satchel layer mount ana/data@3f2a91 /mnt`,
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: a.completeLayers,
		RunE: func(c *cobra.Command, argv []string) error {
			return a.with(func(h *home) error {
				at, err := h.repo.Resolve(c.Context(), argv[0])
				if err == nil {
					err = h.repo.Whole(c.Context(), at.ID)
				}
				if err != nil {
					return err
				}
				release, err := h.store.Hold(c.Context(), "mount "+argv[0], at.ID)
				if err != nil {
					return err
				}
				defer release() //nolint:errcheck // a lease of a dead process is dropped anyway
				tree, err := h.repo.Tree(c.Context(), argv[0])
				if err != nil {
					return err
				}
				server, err := mount.Mount(c.Context(), tree, h.store, argv[1])
				if err != nil {
					return err
				}
				a.note("%s is on %s; unmount it with: fusermount3 -u %s", argv[0], argv[1], argv[1])
				done := make(chan struct{})
				go func() { server.Wait(); close(done) }()
				select {
				case <-done:
					return nil
				case <-c.Context().Done():
					return server.Unmount()
				}
			})
		},
	}
}
