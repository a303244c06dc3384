package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"satchel/syncer"
)

func newAdminToken(a *app) *cobra.Command {
	return group("token", "Manage the tokens that devices enrol with", newAdminTokenAdd(a), newAdminTokenLs(a), newAdminTokenRm(a))
}

func newAdminTokenAdd(a *app) *cobra.Command {
	var uses int
	var life time.Duration
	c := &cobra.Command{
		Use:   "add USER",
		Short: "Make a token with which devices of a user enrol",
		Long: `Makes a token and prints the command with which a device enrols. The token is
shown only now. Whoever has it can let a device in, as the user's, until it is
used up or out of date.`,
		Example: `  satchel admin token add ana
  satchel admin token add lab --uses 30 --life 2h`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			if uses < 1 || life <= 0 {
				return usageError{fmt.Errorf("--uses %d --life %s: want both above zero", uses, life)}
			}
			login, err := a.adminLogin(c.Context())
			if err != nil {
				return err
			}
			var t syncer.Token
			ask := syncer.Token{User: argv[0], Uses: uses, Expires: time.Now().Add(life).UTC()}
			if err := a.administer(c.Context(), login, "POST", "tokens", ask, &t); err != nil {
				return err
			}
			return a.print(t, func(w io.Writer) {
				fmt.Fprintf(w, "For %s of %s, until %s:\n", count(t.Uses, "device"), t.User, when(t.Expires))
				fmt.Fprintf(w, "satchel enrol %s --token %s --ca-fingerprint %s\n", login.Server, t.Secret, login.Fingerprint)
			})
		},
	}
	c.Flags().IntVar(&uses, "uses", 1, "how many devices it lets in")
	c.Flags().DurationVar(&life, "life", 7*24*time.Hour, "how long it is valid")
	return c
}

func newAdminTokenLs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List the tokens that are not out of date, used up ones included",
		Example: `  satchel admin token ls`,
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			tokens := []syncer.Token{}
			if err := a.admin(c.Context(), "GET", "tokens", nil, &tokens); err != nil {
				return err
			}
			return a.print(tokens, func(w io.Writer) {
				table(w, func(w io.Writer) {
					fmt.Fprintln(w, "TOKEN\tUSER\tUSES LEFT\tUNTIL")
					for _, t := range tokens {
						fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", t.ID, t.User, t.Uses, when(t.Expires))
					}
				})
			})
		},
	}
}

func newAdminTokenRm(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rm ID",
		Short:   "Make a token worthless",
		Example: `  satchel admin token rm 3f9a0c5d`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			return a.admin(c.Context(), "DELETE", at("tokens", argv[0]), nil, nil)
		},
	}
}
