package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// completeWords completes a flag from a fixed list.
func completeWords(c *cobra.Command, flag string, words ...string) {
	c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) //nolint:errcheck // the flag is defined by the caller
}

// completeLayerFlags completes flags with names of layers.
func (a *app) completeLayerFlags(c *cobra.Command, flags ...string) {
	for _, flag := range flags {
		c.RegisterFlagCompletionFunc(flag, func(c *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) { //nolint:errcheck // the flag is defined by the caller
			return a.layerNames(c.Context(), prefix), cobra.ShellCompDirectiveNoFileComp
		})
	}
}

// completeLayers completes arguments with names of layers: both of two, and
// else with files.
func (a *app) completeLayers(c *cobra.Command, given []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 1 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return a.layerNames(c.Context(), prefix), cobra.ShellCompDirectiveDefault
}

// completeWorkspaces completes the first argument with names of workspaces.
func (a *app) completeWorkspaces(_ *cobra.Command, given []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var names []string
	a.lookAround(func(h *home) error {
		all, err := h.workspaces.List()
		for _, name := range all {
			if strings.HasPrefix(name, prefix) {
				names = append(names, name)
			}
		}
		return err
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) layerNames(ctx context.Context, prefix string) (names []string) {
	a.lookAround(func(h *home) error {
		heads, err := h.store.Heads().List(ctx)
		for _, head := range heads {
			if strings.HasPrefix(head.Name, prefix) {
				names = append(names, head.Name)
			}
		}
		return err
	})
	return names
}

// lookAround opens the home if it is there: to press the tab key makes none.
// What goes wrong is not worth a word on a half-typed line.
func (a *app) lookAround(fn func(*home) error) {
	dir, err := a.homeDir()
	if err != nil {
		return
	}
	if _, err := os.Stat(filepath.Join(dir, "store")); err == nil {
		_ = a.with(fn)
	}
}
