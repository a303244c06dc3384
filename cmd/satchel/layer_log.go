package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"satchel/store"
)

type logged struct {
	Version store.ID   `json:"version"`
	Parents []store.ID `json:"parents"`
	Time    time.Time  `json:"time"`
	Device  string     `json:"device"`
	Message string     `json:"message"`
	Files   int64      `json:"files"`
	Bytes   int64      `json:"bytes"`
	Partial bool       `json:"partial,omitempty"` // its files are not here
}

func newLayerLog(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "log NAME",
		Short: "List the versions of a layer, newest first",
		Long: `Lists the versions of a layer, newest first. Those marked "(not here)" are on the
server only: satchel fetch brings one, to roll back to or look at.`,
		Example:           `  satchel layer log ana/data`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeLayers,
		RunE: func(c *cobra.Command, argv []string) error {
			return a.with(func(h *home) error {
				head, err := h.store.Heads().Lookup(c.Context(), argv[0])
				if err != nil {
					return err
				}
				out := []logged{}
				for e, err := range h.repo.Log(c.Context(), head) {
					if err != nil {
						return err
					}
					v := e.Version
					out = append(out, logged{e.ID, v.Parents, v.Time, v.Device, v.Message, v.Tree.Files, v.Tree.Bytes, e.Partial})
				}
				return a.print(out, func(w io.Writer) {
					table(w, func(w io.Writer) {
						for _, l := range out {
							message := l.Message
							if l.Partial {
								message = strings.TrimSpace("(not here) " + message)
							}
							fmt.Fprintf(w, "%s\t%s\t%s\t%d files\t%s\t%s\n", l.Version.Short(), when(l.Time), l.Device, l.Files, size(l.Bytes), message)
						}
					})
				})
			})
		},
	}
}
