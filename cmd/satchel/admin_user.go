package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"satchel/syncer"
)

func newAdminUser(a *app) *cobra.Command {
	return group("user", "Manage users", newAdminUserAdd(a), newAdminUserSet(a), newAdminUserLs(a), newAdminUserRm(a))
}

func newAdminUserAdd(a *app) *cobra.Command {
	var u syncer.User
	c := &cobra.Command{
		Use:     "add NAME",
		Short:   "Add a user",
		Example: `  satchel admin user add ana --group 7b`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			u.Name = argv[0]
			var made syncer.User
			if err := a.admin(c.Context(), "POST", "users", u, &made); err != nil {
				return err
			}
			return a.printUsers(made)
		},
	}
	c.Flags().BoolVar(&u.Publisher, "publisher", false, "let the user's devices publish os and group layers")
	c.Flags().StringArrayVar(&u.Groups, "group", nil, "a group that the user is to be a member of")
	return c
}

func newAdminUserSet(a *app) *cobra.Command {
	var publisher bool
	c := &cobra.Command{
		Use:     "set NAME --publisher=BOOL",
		Short:   "Change what a user may do",
		Example: `  satchel admin user set build --publisher=true`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			var users []syncer.User
			if err := a.admin(c.Context(), "GET", "users", nil, &users); err != nil {
				return err
			}
			for _, u := range users {
				if u.Name == argv[0] {
					u.Publisher = publisher
					if err := a.admin(c.Context(), "PUT", at("users", u.Name), u, &u); err != nil {
						return err
					}
					return a.printUsers(u)
				}
			}
			return fmt.Errorf("user %s: %w", argv[0], errNoSuch)
		},
	}
	c.Flags().BoolVar(&publisher, "publisher", false, "whether the user's devices may publish os and group layers")
	c.MarkFlagRequired("publisher") //nolint:errcheck // the flag is defined above
	return c
}

func newAdminUserLs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List the users",
		Example: `  satchel admin user ls`,
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			users := []syncer.User{}
			if err := a.admin(c.Context(), "GET", "users", nil, &users); err != nil {
				return err
			}
			return a.print(users, func(w io.Writer) { writeUsers(w, users) })
		},
	}
}

func newAdminUserRm(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rm NAME",
		Short:   "Remove a user who has no devices, layers or workspaces",
		Example: `  satchel admin user rm ana`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			return a.admin(c.Context(), "DELETE", at("users", argv[0]), nil, nil)
		},
	}
}

func (a *app) printUsers(u syncer.User) error {
	return a.print(u, func(w io.Writer) { writeUsers(w, []syncer.User{u}) })
}

func writeUsers(w io.Writer, users []syncer.User) {
	table(w, func(w io.Writer) {
		fmt.Fprintln(w, "USER\tPUBLISHER\tGROUPS")
		for _, u := range users {
			fmt.Fprintf(w, "%s\t%s\t%s\n", u.Name, yes(u.Publisher), strings.Join(u.Groups, " "))
		}
	})
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
