package qemu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A machine with [Config.RAM] can be suspended: the state of its devices goes
// through [Process.Save] into a stream of some hundred kilobytes, and its
// memory stays in the file. Both together are the machine, for a QEMU of the
// same version with the same arguments.
//
// Source: QEMU's docs/devel/migration.rst; the capability x-ignore-shared, which
// leaves shared memory out of the stream, is experimental.

// ErrIncoming reports a state of devices that QEMU did not take.
var ErrIncoming = errors.New("qemu does not take the saved state")

// migrationPoll is how often QEMU is asked how far it is.
const migrationPoll = 5 * time.Millisecond

// Save writes the state of the machine's devices to w. The guest must be
// paused, and what it had been told is written is on the delta disk when Save
// returns. Then the machine can be quit, or go on with [Process.Resume].
// The socket's path must be free; it is used meanwhile.
func (p *Process) Save(ctx context.Context, socket string, w io.Writer) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("save devices: %w", err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	copied := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			copied <- err
			return
		}
		defer conn.Close()
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		defer stop()
		_, err = io.Copy(w, conn)
		copied <- err
	}()
	err = p.migrate(ctx, "migrate", socket)
	if err == nil {
		err = <-copied
	} else {
		cancel()
		l.Close() // so that the copying ends
		if copyErr := <-copied; copyErr != nil && !errors.Is(copyErr, net.ErrClosed) {
			err = errors.Join(copyErr, err)
		}
	}
	if err != nil {
		return fmt.Errorf("save devices: %w", err)
	}
	return nil
}

// Load reads the state of the devices into a machine that was started with
// [Config.Incoming]. The guest goes on with [Process.Resume]. It fails with
// [ErrIncoming] when QEMU refuses the state or ends over it.
func (p *Process) Load(ctx context.Context, socket string, r io.Reader) error {
	defer os.Remove(socket)
	sent := make(chan error, 1)
	if err := p.ignoreShared(ctx); err != nil {
		return fmt.Errorf("load devices: %w", err)
	}
	if err := p.mon.Execute(ctx, "migrate-incoming", map[string]string{"uri": "unix:" + socket}, nil); err != nil {
		return fmt.Errorf("load devices: %w", err)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("load devices: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	go func() {
		_, err := io.Copy(conn, r)
		sent <- errors.Join(err, conn.Close())
	}()
	err = p.migrated(ctx)
	conn.Close()
	sendErr := <-sent
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("load devices: %w", ctx.Err())
	case err != nil:
		return fmt.Errorf("load devices: %w: %w", ErrIncoming, errors.Join(err, sendErr))
	}
	return nil
}

func (p *Process) ignoreShared(ctx context.Context) error {
	type capability struct {
		Name string `json:"capability"`
		On   bool   `json:"state"`
	}
	return p.mon.Execute(ctx, "migrate-set-capabilities", map[string]any{
		"capabilities": []capability{{"x-ignore-shared", true}},
	}, nil)
}

func (p *Process) migrate(ctx context.Context, command, socket string) error {
	if err := p.ignoreShared(ctx); err != nil {
		return err
	}
	// There is no guest that a slower transfer would spare.
	if err := p.mon.Execute(ctx, "migrate-set-parameters", map[string]any{"max-bandwidth": 8 << 30}, nil); err != nil {
		return err
	}
	if err := p.mon.Execute(ctx, command, map[string]string{"uri": "unix:" + socket}, nil); err != nil {
		return err
	}
	err := p.migrated(ctx)
	if ctx.Err() != nil {
		// The guest may go on: QEMU must not still be at it.
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
		defer cancel()
		return errors.Join(err, p.mon.Execute(stop, "migrate_cancel", nil, nil))
	}
	return err
}

// migrated waits until the state is saved or loaded.
func (p *Process) migrated(ctx context.Context) error {
	tick := time.NewTicker(migrationPoll)
	defer tick.Stop()
	for {
		var m struct {
			Status string `json:"status"`
			Reason string `json:"error-desc"`
		}
		if err := p.mon.Execute(ctx, "query-migrate", nil, &m); err != nil {
			return err
		}
		switch m.Status {
		case "completed":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("migration %s: %s", m.Status, m.Reason)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Version names the QEMU that runs, in its own words.
func (p *Process) Version() string {
	v := p.mon.Version()
	return strings.TrimSpace(fmt.Sprintf("%d.%d.%d %s", v.Major, v.Minor, v.Micro, v.Package))
}

// Fingerprint tells machines apart whose saved states do not fit each other: a
// hash of all arguments but for the paths of files and sockets on the host,
// and for what the screen is shown on.
func Fingerprint(c Config) string {
	blank := func(s string) string {
		if s != "" {
			return "/"
		}
		return ""
	}
	c.Name, c.QMP, c.Paused, c.Incoming = "", "", false, false
	c.Kernel, c.Initrd, c.Root, c.Delta = blank(c.Kernel), blank(c.Initrd), blank(c.Root), blank(c.Delta)
	c.Disk.Socket, c.Disk.Code, c.Disk.Vars = blank(c.Disk.Socket), blank(c.Disk.Code), blank(c.Disk.Vars)
	c.Agent = Socket(blank(string(c.Agent)))
	c.Console = Console{Socket: Socket(blank(string(c.Console.Socket))), Log: blank(c.Console.Log)}
	c.Display = Display{Kind: None, Device: c.Display.Device}
	return digest(Args(c)...)
}

// Processor tells hosts apart whose processors offer a guest different things.
func Processor() (string, error) {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", fmt.Errorf("read the processor's features: %w", err)
	}
	facts := []string{runtime.GOARCH}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		switch name = strings.TrimSpace(name); name {
		case "model name", "flags", "vmx flags", "Features", "CPU part":
			facts = append(facts, name+":"+strings.TrimSpace(value))
		}
	}
	slices.Sort(facts)
	return digest(slices.Compact(facts)...), nil
}

func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}
