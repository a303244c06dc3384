package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
)

// version is set by the build of a release.
var version = "development"

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of satchel",
		Example: `  satchel version --json`,
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			facts := struct {
				Version string `json:"version"`
				Go      string `json:"go"`
			}{version, runtime.Version()}
			return a.print(facts, func(w io.Writer) { fmt.Fprintf(w, "satchel %s, %s\n", facts.Version, facts.Go) })
		},
	}
}
