package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// completeWords completes a flag from a fixed list.
func completeWords(c *cobra.Command, flag string, words ...string) {
	c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) //nolint:errcheck // the flag is defined by the caller
}

// completeLayers completes the first argument with names of layers.
func (a *app) completeLayers(c *cobra.Command, given []string, prefix string) ([]string, cobra.ShellCompDirective) {
	var names []string
	err := a.with(func(h *home) error {
		heads, err := h.store.Heads().List(c.Context())
		for _, head := range heads {
			if strings.HasPrefix(head.Name, prefix) {
				names = append(names, head.Name)
			}
		}
		return err
	})
	if err != nil || len(given) > 1 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return names, cobra.ShellCompDirectiveDefault
}

// completeWorkspaces completes the first argument with names of workspaces.
func (a *app) completeWorkspaces(_ *cobra.Command, given []string, prefix string) ([]string, cobra.ShellCompDirective) {
	var names []string
	err := a.with(func(h *home) error {
		all, err := h.workspaces.List()
		for _, name := range all {
			if strings.HasPrefix(name, prefix) {
				names = append(names, name)
			}
		}
		return err
	})
	if err != nil || len(given) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
