package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"satchel/syncer"
)

func newAdminGroup(a *app) *cobra.Command {
	return group("group", "Manage groups of users",
		newAdminGroupAdd(a),
		newAdminGroupMember(a, "join", "PUT", "Make users members of a group"),
		newAdminGroupMember(a, "leave", "DELETE", "End the membership of users in a group"),
		newAdminGroupLs(a), newAdminGroupRm(a))
}

func newAdminGroupAdd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "add NAME [USER]...",
		Short:   "Add a group",
		Example: `  satchel admin group add 7b ana ben`,
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			var g syncer.Group
			if err := a.admin(c.Context(), "POST", "groups", syncer.Group{Name: argv[0], Members: argv[1:]}, &g); err != nil {
				return err
			}
			return a.print(g, func(w io.Writer) { writeGroups(w, g) })
		},
	}
}

func newAdminGroupMember(a *app, verb, method, short string) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " GROUP USER...",
		Short:   short,
		Example: "  satchel admin group " + verb + " 7b ana",
		Args:    args(cobra.MinimumNArgs(2)),
		RunE: func(c *cobra.Command, argv []string) error {
			var g syncer.Group
			for _, user := range argv[1:] {
				if err := a.admin(c.Context(), method, at("groups", argv[0], "members", user), nil, &g); err != nil {
					return fmt.Errorf("user %s: %w", user, err)
				}
			}
			return a.print(g, func(w io.Writer) { writeGroups(w, g) })
		},
	}
}

func newAdminGroupLs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List the groups",
		Example: `  satchel admin group ls`,
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			groups := []syncer.Group{}
			if err := a.admin(c.Context(), "GET", "groups", nil, &groups); err != nil {
				return err
			}
			return a.print(groups, func(w io.Writer) { writeGroups(w, groups...) })
		},
	}
}

func newAdminGroupRm(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rm NAME",
		Short:   "Remove a group; its members stay",
		Example: `  satchel admin group rm 7b`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			return a.admin(c.Context(), "DELETE", at("groups", argv[0]), nil, nil)
		},
	}
}

func writeGroups(w io.Writer, groups ...syncer.Group) {
	table(w, func(w io.Writer) {
		fmt.Fprintln(w, "GROUP\tMEMBERS")
		for _, g := range groups {
			fmt.Fprintf(w, "%s\t%s\n", g.Name, strings.Join(g.Members, " "))
		}
	})
}
