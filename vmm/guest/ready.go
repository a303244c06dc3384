package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"satchel/vmm/agent"
)

// readiness is whether the guest's init has finished starting.
type readiness struct {
	done chan struct{}
	err  error // once done is closed: why it will never be known
}

// watchReady waits on conn for the message "READY=1", which systemd sends as
// process 1 when it has run all the jobs of the start: sd_notify(3). It costs
// the guest nothing, where asking would start a process each time.
func watchReady(conn net.PacketConn) *readiness {
	r := &readiness{done: make(chan struct{})}
	if conn == nil {
		close(r.done)
		return r
	}
	go func() {
		defer func() { _ = conn.Close() }()
		defer close(r.done)
		buf := make([]byte, 4096)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				r.err = fmt.Errorf("wait for the guest's init: %w", err)
				return
			}
			if slices.ContainsFunc(bytes.Split(buf[:n], []byte("\n")), isReady) {
				return
			}
		}
	}()
	return r
}

func isReady(line []byte) bool { return string(line) == "READY=1" }

// wait waits until the init has finished starting.
func (r *readiness) wait(ctx context.Context) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// systemState asks systemd how the start went. Failed units leave a guest that
// can be used; emergency mode does not.
func (h *Handler) systemState() error {
	if h.guest.Ready == nil {
		return nil
	}
	var out bytes.Buffer
	p, err := h.Start(agent.Command{Argv: []string{"systemctl", "is-system-running"}}, eof{}, &out, io.Discard)
	if err != nil {
		return fmt.Errorf("ask the guest's init for its state: %w", err)
	}
	if _, err := p.Wait(); err != nil {
		return fmt.Errorf("ask the guest's init for its state: %w", err)
	}
	switch state := strings.TrimSpace(out.String()); state {
	case "maintenance", "stopping", "offline":
		return errors.New("the guest started into state " + state)
	default:
		return nil
	}
}

// eof is an empty input.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }
