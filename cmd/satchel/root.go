package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer/device"
	"satchel/vmm/session"
)

// app is what every verb shares: where it reads and writes, and the home.
type app struct {
	home   string // --home
	json   bool   // --json
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	login  adminLogin // --server, --token and --ca-fingerprint of admin verbs
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "satchel",
		Short: "Carry a whole computer from machine to machine",
		Long: `Satchel keeps guest operating systems, group applications, personal
applications, settings and files as independent layers in a deduplicated store,
runs a stack of them as one guest, and gives what the guest changed back to the
layer that owns it.`,
		Example: `  satchel layer import --kind os debian-12 debian-12.tar
  satchel workspace create ana --os debian-12
  satchel run ana --detach
  satchel exec ana -- hostnamectl
  satchel stop ana`,
		Version:       version,
		Args:          args(cobra.NoArgs),
		RunE:          showHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&a.home, "home", "", "directory that holds store and workspaces (default $SATCHEL_HOME, else $XDG_DATA_HOME/satchel)")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print facts as JSON")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see %s --help)", err, c.CommandPath())}
	})
	root.AddCommand(
		newStore(a), newLayer(a), newWorkspace(a), newCompose(a),
		newRun(a), newExec(a), newConsole(a), newScreenshot(a),
		newStop(a), newSuspend(a), newSwitch(a), newCapture(a), newReset(a), newExplain(a), newApp(a),
		newEnrol(a), newSync(a), newStatus(a), newAgent(a), newFetch(a), newPublish(a), newPublisher(a), newWithdraw(a),
		newServer(a), newAdmin(a), newMan(a), newVersion(a),
	)
	root.SuggestionsMinimumDistance = 2 // what SuggestionsFor counts as near
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		if err := c.ValidateRequiredFlags(); err != nil {
			return usageError{fmt.Errorf("%w\nusage: %s", err, c.UseLine())}
		}
		return nil
	}
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args, c.RunE = args(cobra.NoArgs), showHelp
			c.Example = "  source <(satchel completion bash)"
		}
	}
	return root
}

// showHelp is what a verb that only holds others does.
func showHelp(c *cobra.Command, _ []string) error { return c.Help() }

// args wraps a check of positional arguments so that its failure is a usage error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, given []string) error {
		switch {
		case check(c, given) == nil:
			return nil
		case c.HasSubCommands():
			return usageError{unknownVerb(c, given[0])}
		}
		return usageError{fmt.Errorf("wrong number of arguments\nusage: %s", c.UseLine())}
	}
}

// unknownVerb names the verbs of c that may have been meant.
func unknownVerb(c *cobra.Command, verb string) error {
	if near := c.SuggestionsFor(verb); len(near) > 0 {
		return fmt.Errorf("unknown command %q: did you mean %s?", verb, strings.Join(near, " or "))
	}
	return fmt.Errorf("unknown command %q (see %s --help)", verb, c.CommandPath())
}

// group is a verb that only holds others, with an example of each.
func group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: args(cobra.NoArgs), RunE: showHelp}
	c.AddCommand(verbs...)
	var examples []string
	for _, v := range verbs {
		for line := range strings.Lines(v.Example) {
			if strings.Contains(line, use+" "+v.Name()) {
				examples = append(examples, strings.TrimRight(line, "\n"))
				break
			}
		}
	}
	c.Example = strings.Join(examples, "\n")
	return c
}

// home is the opened home directory: a store, its layers and workspaces.
type home struct {
	dir        string
	store      *disk.Store
	repo       *repo.Repo
	workspaces *workspace.Set
	contents   *contents // nil: not needed yet
}

// host joins the home to what runs guests. Notes go to a's standard error.
func (h *home) host(a *app) *session.Host {
	host := &session.Host{Home: h.dir, Store: h.store, Repo: h.repo, Workspaces: h.workspaces}
	if a != nil {
		host.Note = a.note
		host.Contents = h.arriving(a)
	}
	return host
}

// Close closes the store; the rest of a home is not held open.
func (h *home) Close() error { return errors.Join(h.contents.close(), h.store.Close()) }

// homeDir is the absolute path of the home.
func (a *app) homeDir() (string, error) {
	dir := a.home
	if dir == "" {
		dir = os.Getenv("SATCHEL_HOME")
	}
	if dir == "" {
		data := os.Getenv("XDG_DATA_HOME")
		if data == "" {
			user, err := os.UserHomeDir()
			if err != nil {
				return "", fmt.Errorf("find the home directory: %w (give --home DIR)", err)
			}
			data = filepath.Join(user, ".local", "share")
		}
		dir = filepath.Join(data, "satchel")
	}
	return filepath.Abs(dir)
}

// open opens the home, and makes it first if it is not there.
func (a *app) open() (*home, error) {
	dir, err := a.homeDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the home directory: %w", err)
	}
	at := filepath.Join(dir, "store")
	st, err := disk.Open(at)
	if errors.Is(err, store.ErrNotExist) || errors.Is(err, fs.ErrNotExist) {
		if st, err = disk.Create(at); errors.Is(err, store.ErrExist) {
			st, err = disk.Open(at) // another process made it just now
		}
	}
	if err != nil {
		return nil, err
	}
	name := hostName()
	if config, err := device.Load(dir); err == nil {
		name = config.Device
	} else if !errors.Is(err, device.ErrNotEnrolled) {
		return nil, errors.Join(err, st.Close())
	}
	return &home{dir: dir, store: st, repo: repo.New(st, name), workspaces: workspace.Open(dir)}, nil
}

// hostName tells versions made here from those made elsewhere, until the home
// is enrolled and its server gives it a name.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "device"
	}
	return name
}

// with opens the home for the length of fn.
func (a *app) with(fn func(h *home) error) (err error) {
	h, err := a.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	return fn(h)
}
