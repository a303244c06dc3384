package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"satchel/store/durable"
	"satchel/syncer/client"
	"satchel/syncer/identity"
)

// An adminLogin is how the administrator's verbs reach a server.
type adminLogin struct {
	Server      string `json:"server"`
	Token       string `json:"token"`
	Fingerprint string `json:"ca_fingerprint"`
	CA          []byte `json:"ca"` // certificate of the server's authority, DER
}

func newAdmin(a *app) *cobra.Command {
	c := group("admin", "Administer a server",
		newAdminLogin(a), newAdminUser(a), newAdminGroup(a), newAdminDevice(a), newAdminToken(a),
		newAdminLayer(a), newAdminWorkspace(a), newAdminHandout(a),
		newAdminAssign(a), newAdminUnassign(a), newAdminAssignments(a), newAdminPlan(a), newAdminRollouts(a), newAdminReports(a))
	c.PersistentFlags().StringVar(&a.login.Server, "server", "", "the server, https://HOST:PORT (default: as satchel admin login noted)")
	c.PersistentFlags().StringVar(&a.login.Token, "token", "", "the administrator's token (default $SATCHEL_ADMIN_TOKEN)")
	c.PersistentFlags().StringVar(&a.login.Fingerprint, "ca-fingerprint", "", "fingerprint of the server's certificate authority")
	return c
}

func newAdminLogin(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "login URL",
		Short: "Note down a server, so that the other verbs need no flags",
		Long: `Checks that the server is the one with that fingerprint and takes that token, and
notes all three in admin.json in the home, which only its owner can read.`,
		Example: `  satchel admin login https://satchel.school.example:8440 --token TOKEN --ca-fingerprint sha256:…`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			a.login.Server = argv[0]
			path, err := a.loginPath()
			if err != nil {
				return err
			}
			login, err := a.reach(c.Context(), adminLogin{})
			if err != nil {
				return err
			}
			if err := a.administer(c.Context(), login, "GET", "users", nil, nil); err != nil {
				return err
			}
			b, err := json.MarshalIndent(login, "", "  ")
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return err
			}
			if err := durable.WriteFile(path, b); err != nil {
				return err
			}
			a.note("noted in %s", path)
			return nil
		},
	}
}

func (a *app) loginPath() (string, error) {
	dir, err := a.homeDir()
	return filepath.Join(dir, "admin.json"), err
}

// admin makes one request of the administrator's API.
func (a *app) admin(ctx context.Context, method, path string, in, out any) error {
	login, err := a.adminLogin(ctx)
	if err != nil {
		return err
	}
	return a.administer(ctx, login, method, path, in, out)
}

func (a *app) administer(ctx context.Context, login adminLogin, method, path string, in, out any) error {
	c, err := login.client()
	if err != nil {
		return err
	}
	return c.Do(ctx, method, path, in, out)
}

// adminLogin joins what was noted with the flags, which win.
func (a *app) adminLogin(ctx context.Context) (adminLogin, error) {
	path, err := a.loginPath()
	if err != nil {
		return adminLogin{}, err
	}
	var noted adminLogin
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return noted, err
	default:
		if err := json.Unmarshal(b, &noted); err != nil {
			return noted, fmt.Errorf("%s: %w (satchel admin login writes it anew)", path, err)
		}
	}
	return a.reach(ctx, noted)
}

// reach completes a login from flags and environment, and fetches the
// certificate of the server's authority when it is not known yet.
func (a *app) reach(ctx context.Context, noted adminLogin) (adminLogin, error) {
	login := noted
	if s := a.login.Server; s != "" && s != noted.Server {
		login = adminLogin{Server: s}
	}
	if t := os.Getenv("SATCHEL_ADMIN_TOKEN"); t != "" {
		login.Token = t
	}
	if a.login.Token != "" {
		login.Token = a.login.Token
	}
	if f := a.login.Fingerprint; f != "" && f != login.Fingerprint {
		login.Fingerprint, login.CA = f, nil
	}
	switch {
	case login.Server == "":
		return login, usageError{errors.New("no server is known (first: satchel admin login URL --token TOKEN --ca-fingerprint FINGERPRINT)")}
	case login.Token == "":
		return login, usageError{errors.New("--token is missing: the administrator's token, which satchel server init printed")}
	case login.Fingerprint == "":
		return login, usageError{errors.New("--ca-fingerprint is missing: satchel server init printed it, and the server's log has it")}
	}
	if login.CA != nil {
		return login, nil
	}
	ca, err := client.Authority(ctx, login.Server, login.Fingerprint)
	login.CA = ca
	return login, err
}

// client returns a client for the login.
func (l adminLogin) client() (*client.Admin, error) {
	tls, err := identity.ClientTLS(l.CA, nil, nil)
	if err != nil {
		return nil, err
	}
	return client.NewAdmin(client.Options{Server: l.Server, TLS: tls, Agent: userAgent()}, l.Token)
}

func userAgent() string { return "satchel/" + version }

// at joins the parts of a path of the API.
func at(parts ...string) string {
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}
