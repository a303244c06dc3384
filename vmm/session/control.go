package session

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"satchel/store"
)

// The control socket speaks HTTP: one path a verb, JSON both ways. Errors come
// back as text with the status that errorStatus gives them.

// control answers the verbs of other processes about a running session.
func (s *Session) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.Status(), nil) })
	mux.HandleFunc("POST /capture", func(w http.ResponseWriter, r *http.Request) {
		captured, err := s.Capture(r.Context())
		reply(w, captured, err)
	})
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, r *http.Request) {
		kill := r.URL.Query().Get("kill") != ""
		// The stop goes on although whoever asked for it goes away.
		go s.stop(context.WithoutCancel(r.Context()), kill)
		select {
		case <-s.ended:
			reply(w, s.end, s.endErr)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("POST /suspend", s.answerSuspend)
	mux.HandleFunc("GET /screenshot", func(w http.ResponseWriter, r *http.Request) {
		png, err := s.screenshot(r.Context())
		if err != nil {
			reply(w, nil, err)
			return
		}
		w.Header().Set("Content-Type", "image/png")
		w.Write(png) //nolint:errcheck // the asker has gone: nothing to tell it
	})
	return mux
}

func reply(w http.ResponseWriter, facts any, err error) {
	if err != nil {
		http.Error(w, err.Error(), errorStatus(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(facts) //nolint:errcheck // the asker has gone: nothing to tell it
}

// statuses carry the sentinels of store across the control socket.
var statuses = map[int]error{
	http.StatusNotFound:            store.ErrNotExist,
	http.StatusLocked:              store.ErrBusy,
	http.StatusConflict:            store.ErrMoved,
	http.StatusUnprocessableEntity: store.ErrCorrupt,
}

func errorStatus(err error) int {
	for status, sentinel := range statuses {
		if errors.Is(err, sentinel) {
			return status
		}
	}
	return http.StatusInternalServerError
}

// A remoteError is what a running session answered.
type remoteError struct {
	text  string
	cause error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.cause }

// A Client speaks to the process that runs a workspace.
type Client struct {
	dir  string
	http http.Client
}

// ErrNotRunning reports a workspace without a running session.
var ErrNotRunning = errors.New("is not running")

// Dial finds the running session of a workspace, or fails with [ErrNotRunning].
func Dial(ctx context.Context, home, workspace string) (*Client, error) {
	dir := runtimeDir(home, workspace)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, controlSocket))
	}
	conn, err := dial(ctx, "", "")
	if err != nil {
		return nil, fmt.Errorf("workspace %s %w", workspace, ErrNotRunning)
	}
	conn.Close()
	return &Client{dir, http.Client{Transport: &http.Transport{DialContext: dial}}}, nil
}

// maxReply bounds what a session may answer, in bytes.
const maxReply = 64 << 20

func (c *Client) call(ctx context.Context, method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://session"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the running session: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return nil, fmt.Errorf("ask the running session: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &remoteError{strings.TrimSpace(string(body)), statuses[resp.StatusCode]}
	}
	return body, nil
}

func (c *Client) fetch(ctx context.Context, method, path string, into any) error {
	body, err := c.call(ctx, method, path)
	if err != nil {
		return err
	}
	return json.NewDecoder(bytes.NewReader(body)).Decode(into)
}

// Status tells how the session is doing.
func (c *Client) Status(ctx context.Context) (st Status, err error) {
	return st, c.fetch(ctx, "GET", "/status", &st)
}

// Capture commits what the guest has changed so far, without stopping it.
func (c *Client) Capture(ctx context.Context) (got Captured, err error) {
	return got, c.fetch(ctx, "POST", "/capture", &got)
}

// Stop ends the session and returns once its changes are captured. With kill
// the guest is not asked first.
func (c *Client) Stop(ctx context.Context, kill bool) (end End, err error) {
	path := "/stop"
	if kill {
		path += "?kill=1"
	}
	return end, c.fetch(ctx, "POST", path, &end)
}

// Screenshot returns what the guest's screen shows, as PNG.
func (c *Client) Screenshot(ctx context.Context) ([]byte, error) {
	return c.call(ctx, "GET", "/screenshot")
}

// Agent connects to the guest agent. It fails with [ErrNoAgent] if there is none.
func (c *Client) Agent(ctx context.Context) (net.Conn, error) {
	if st, err := c.Status(ctx); err == nil && st.Disk {
		return nil, fmt.Errorf("%w: use its console or its screen, or a network service of its own", ErrNoAgent)
	}
	return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(c.dir, agentSocket))
}

// Console connects to the guest's serial console. One connection at a time is
// served; a second one waits.
func (c *Client) Console(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(c.dir, consoleSocket))
}

func listen(dir, name string) (net.Listener, error) {
	l, err := net.Listen("unix", filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", name, err)
	}
	// By the time we close it, the name may be that of the next session's.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	return l, os.Chmod(filepath.Join(dir, name), 0o600)
}
