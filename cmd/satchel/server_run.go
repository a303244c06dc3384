package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"satchel/syncer/server"
)

// defaultPort is where servers listen unless told otherwise.
const defaultPort = "8440"

func newServerRun(a *app) *cobra.Command {
	var listen, metrics, level string
	var hosts []string
	var drain, life time.Duration
	c := &cobra.Command{
		Use:   "run DIR",
		Short: "Run a server until it is told to end",
		Long: `Serves the directory that satchel server init made, over TLS 1.3. On an
interrupt or SIGTERM it drains: transfers under way may end, for as long as
--drain says. It logs requests as JSON to standard error.`,
		Example: `  satchel server run /srv/satchel
  satchel server run /srv/satchel --listen 10.0.0.1:8440 --host satchel.school.example --metrics 127.0.0.1:9440`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			var threshold slog.Level
			if err := threshold.UnmarshalText([]byte(level)); err != nil {
				return usageError{fmt.Errorf("--log-level %q: want debug, info, warn or error", level)}
			}
			log := slog.New(slog.NewJSONHandler(a.stderr, &slog.HandlerOptions{Level: threshold}))
			srv, err := server.Open(argv[0], server.Options{Log: log, Life: life, Hosts: hosts})
			if err != nil {
				return err
			}
			return errors.Join(a.serve(c.Context(), srv, log, listen, metrics, drain), srv.Close())
		},
	}
	c.Flags().StringVar(&listen, "listen", ":"+defaultPort, "address to listen on")
	c.Flags().StringVar(&metrics, "metrics", "", "address to serve /metrics on without a token, in the clear; never a public one")
	c.Flags().StringArrayVar(&hosts, "host", nil, "a further name or address for the server's certificate")
	c.Flags().DurationVar(&drain, "drain", 30*time.Second, "how long transfers may go on after the signal to end")
	c.Flags().DurationVar(&life, "certificate-life", 365*24*time.Hour, "how long devices' certificates are valid; they renew by themselves")
	c.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	completeWords(c, "log-level", "debug", "info", "warn", "error")
	return c
}

// serve listens, tells a person and systemd that it does, and serves.
func (a *app) serve(ctx context.Context, srv *server.Server, log *slog.Logger, listen, metrics string, drain time.Duration) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	if metrics != "" {
		m, err := net.Listen("tcp", metrics)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", srv.Metrics())
		side := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
		go side.Serve(m)   //nolint:errcheck // until then
		defer side.Close() //nolint:errcheck // it ends with the process
	}
	log.Info("serving", slog.String("address", l.Addr().String()), slog.String("ca_fingerprint", srv.Fingerprint()), slog.String("version", version))
	a.notifySystemd(daemon.SdNotifyReady)
	defer a.notifySystemd(daemon.SdNotifyStopping)
	return srv.Serve(ctx, l, drain)
}

// notifySystemd tells systemd, if that has started this process, how it is.
func (a *app) notifySystemd(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		a.note("systemd cannot be told %s: %v", state, err)
	}
}
