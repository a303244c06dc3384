package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"satchel/syncer/device"
	"satchel/syncer/publication"
)

func newPublisher(a *app) *cobra.Command {
	return group("publisher", "Hold the key that devices believe", newPublisherInit(a), newPublisherAdd(a), newPublisherDrop(a), newPublisherLog(a))
}

func newPublisherInit(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Make this home's publisher's key, and begin the domain's log of publications",
		Long: `Makes an ed25519 key in publisher.key in the home; keep a copy of it off line. If the
server has no publications yet, this key is the first that devices believe, and the
fingerprint of the log is printed: satchel enrol --publisher takes it. From then on
devices use only versions of os and group layers that were published with a key of
the domain. If there are publications, the key has to be added by who holds one:
satchel publisher add.`,
		Example: `  satchel publisher init`,
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withDevice(plainLine(), func(d *device.Device) error {
				key, err := d.Signer()
				if err != nil {
					return err
				}
				log, err := d.Log(c.Context())
				if err != nil {
					return err
				}
				if log.Seq == 0 {
					first := publication.Content{AddKey: &publication.KeyChange{Key: key, Name: hostName()}}
					if _, err := d.Say(c.Context(), first); err != nil {
						return err
					}
					if log, err = d.Log(c.Context()); err != nil {
						return err
					}
				}
				_, known := log.Keys[key]
				facts := struct {
					Key     publication.Key  `json:"key"`
					Known   bool             `json:"known"`
					Genesis publication.Hash `json:"fingerprint"`
				}{key, known, log.Genesis}
				return a.print(facts, func(w io.Writer) {
					fmt.Fprintf(w, "key %s\npublications %s\n", key, log.Genesis)
					if !known {
						fmt.Fprintf(w, "it is not known yet; where another key is: satchel publisher add %s\n", key)
					}
				})
			})
		},
	}
}

func newPublisherAdd(a *app) *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:     "add KEY",
		Short:   "Let another key publish",
		Example: `  satchel publisher add 3f0c…e1 --name build-2`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			key, err := parseKey(argv[0])
			if err != nil {
				return err
			}
			return a.say(c, publication.Content{AddKey: &publication.KeyChange{Key: key, Name: name}})
		},
	}
	c.Flags().StringVar(&name, "name", "", "of who holds it")
	return c
}

func newPublisherDrop(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "drop KEY",
		Short:   "Let a key publish no longer; what it has published stays",
		Example: `  satchel publisher drop 3f0c…e1`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			key, err := parseKey(argv[0])
			if err != nil {
				return err
			}
			return a.say(c, publication.Content{DropKey: &publication.KeyChange{Key: key}})
		},
	}
}

func parseKey(s string) (key publication.Key, err error) {
	if err := key.UnmarshalText([]byte(s)); err != nil {
		return key, usageError{fmt.Errorf("key: %w", err)}
	}
	return key, nil
}

// said is what is printed of a statement that was handed in.
type said struct {
	Seq   uint64           `json:"seq"`
	Entry publication.Hash `json:"entry"`
}

// say signs something and prints its number.
func (a *app) say(c *cobra.Command, what publication.Content) error {
	return a.withDevice(plainLine(), func(d *device.Device) error {
		e, err := d.Say(c.Context(), what)
		if err != nil {
			return adviseSigner(err)
		}
		return a.print(said{e.Seq, e.Hash()}, func(w io.Writer) { fmt.Fprintf(w, "publication %d\n", e.Seq) })
	})
}

// adviseSigner says what to do when the key is not known.
func adviseSigner(err error) error {
	if errors.Is(err, publication.ErrForged) {
		return fmt.Errorf("%w: this home's key does not publish here (satchel publisher init shows it)", err)
	}
	return err
}

func newPublisherLog(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "log",
		Short:   "Tell what publishers have said that holds",
		Example: `  satchel publisher log`,
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(func(h *home) error {
				names := map[string]string{}
				heads, err := h.store.Heads().List(c.Context())
				if err != nil {
					return err
				}
				for _, head := range heads {
					names[head.Layer.String()] = head.Name
				}
				return a.publisherLog(c, names)
			})
		},
	}
}

func (a *app) publisherLog(c *cobra.Command, names map[string]string) error {
	return a.withDevice(plainLine(), func(d *device.Device) error {
		log, err := d.Log(c.Context())
		if err != nil {
			return err
		}
		return a.print(log, func(w io.Writer) {
			fmt.Fprintf(w, "%d publications, from %s to %s\n", log.Seq, log.Genesis, log.Head)
			for key, name := range log.Keys {
				fmt.Fprintf(w, "key %s %s\n", key, name)
			}
			table(w, func(w io.Writer) {
				fmt.Fprintln(w, "NUMBER\tLAYER\tCHANNEL\tVERSION\tWAVES\tWITHDRAWN")
				for layer, all := range log.Published {
					for _, p := range all {
						name := names[layer.String()]
						if name == "" {
							name = layer.String()
						}
						fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", p.Seq, name, p.Channel, p.Version.Short(), percents(p.Waves), log.Withdrawn[layer][p.Version])
					}
				}
			})
		})
	})
}

// release is how a layer is published, as typed.
type release struct {
	device.Release
	waves  []string
	stopAt string
	only   bool
}

func (r *release) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&r.Channel, "channel", publication.Stable, "the channel to move")
	f.StringVar(&r.Version, "version", "", "digits of the version (default the newest)")
	f.BoolVar(&r.Back, "back", false, "an older version than the channel's is meant")
	f.StringSliceVar(&r.waves, "wave", nil, "shares of devices that get it one after the other, as 5%,25%,100%")
	f.StringVar(&r.stopAt, "stop-at", "0%", "share of failures that stops the waves; 0%: the first")
	f.DurationVar(&r.WaveWait, "wave-wait", 24*time.Hour, "open the next wave after so long although devices were not heard of; 0: never")
	f.BoolVar(&r.only, "send-only", false, "send it without moving a channel")
	_ = c.RegisterFlagCompletionFunc("channel", cobra.FixedCompletions([]string{publication.Stable, "canary"}, cobra.ShellCompDirectiveNoFileComp))
}

// parse reads what was typed.
func (r *release) parse() (err error) {
	if err := publication.CheckChannel(r.Channel); err != nil {
		return usageError{err}
	}
	for _, s := range r.waves {
		n, err := parsePercent(s)
		if err != nil {
			return err
		}
		r.Waves = append(r.Waves, n)
	}
	if err := publication.CheckWaves(r.Waves); err != nil {
		return usageError{err}
	}
	r.StopAt, err = parsePercent(r.stopAt)
	return err
}

func parsePercent(s string) (n int, err error) {
	if _, err := fmt.Sscanf(s+"|", "%d%%|", &n); err != nil || n < 0 || n > 100 {
		if _, err := fmt.Sscanf(s+"|", "%d|", &n); err != nil || n < 0 || n > 100 {
			return 0, usageError{fmt.Errorf("%q is no share: want 0%% to 100%%", s)}
		}
	}
	return n, nil
}

func percents(waves []int) (s string) {
	for i, w := range waves {
		if i > 0 {
			s += ","
		}
		s += fmt.Sprintf("%d%%", w)
	}
	return s
}

func newWithdraw(a *app) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "withdraw LAYER@VERSION",
		Short: "Say that no device may use a version again",
		Long: `Signs that a version of an os or group layer must not be used. Devices that have it
go back to the version that was published before it, with the guest's next start,
and take it from nobody again. It cannot be taken back; publish a new version.`,
		Example: `  satchel withdraw debian-12@3f0ce1 --reason "forgets the network"`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			var w publication.Withdraw
			err := a.with(func(h *home) error {
				at, err := h.repo.Resolve(c.Context(), argv[0])
				w = publication.Withdraw{Layer: at.Head.Layer, Version: at.ID, Reason: reason}
				return err
			})
			if err != nil {
				return err
			}
			return a.say(c, publication.Content{Withdraw: &w})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why; devices are told")
	return c
}
