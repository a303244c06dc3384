package qmp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"satchel/vmm/qemu/qmp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hello = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}` + "\r\n"

// A monitor is the scripted other end of a connection.
type monitor struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Scanner
}

// request reads the next command and returns its name and id.
func (m *monitor) request() (string, uint64) {
	m.t.Helper()
	var r struct {
		Execute string
		ID      uint64
	}
	if !m.in.Scan() {
		m.t.Errorf("monitor: %v", m.in.Err())
		return "", 0
	}
	if err := json.Unmarshal(m.in.Bytes(), &r); err != nil {
		m.t.Errorf("monitor: %v", err)
	}
	return r.Execute, r.ID
}

func (m *monitor) send(format string, args ...any) {
	m.t.Helper()
	if _, err := fmt.Fprintf(m.conn, format+"\n", args...); err != nil {
		m.t.Errorf("monitor: %v", err)
	}
}

// connect returns a client that has been greeted, and runs script at the other
// end, which is closed when the script ends.
func connect(t *testing.T, script func(m *monitor)) *qmp.Client {
	t.Helper()
	near, far := net.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer far.Close()
		m := &monitor{t: t, conn: far, in: bufio.NewScanner(far)}
		if _, err := far.Write([]byte(hello)); err != nil {
			t.Errorf("monitor: %v", err)
			return
		}
		_, id := m.request()
		m.send(`{"return": {}, "id": %d}`, id)
		script(m)
	})
	c, err := qmp.New(t.Context(), near)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); wg.Wait() })
	return c
}

func TestGreeting(t *testing.T) {
	c := connect(t, func(*monitor) {})
	if got, want := c.Version().String(), "7.2.22"; got != want {
		t.Errorf("version %s, want %s", got, want)
	}
}

func TestBadGreeting(t *testing.T) {
	for name, said := range map[string]string{
		"silence":      "",
		"other":        "SSH-2.0-OpenSSH_9.2\n",
		"event first":  `{"event": "STOP"}` + "\n",
		"not finished": hello[:40],
		"array":        "[]\n",
		"null":         "null\n",
		"deep":         strings.Repeat("[", 1<<20) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			var wg sync.WaitGroup
			wg.Go(func() {
				far.Write([]byte(said)) // fails when the client gives up first
				far.Close()
			})
			if _, err := qmp.New(t.Context(), near); err == nil {
				t.Error("greeted")
			}
			wg.Wait()
		})
	}
}

func TestGreetingCancelled(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := qmp.New(ctx, near); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want deadline exceeded", err)
	}
}

func TestAnswersOutOfOrder(t *testing.T) {
	c := connect(t, func(m *monitor) {
		ids := map[string]uint64{}
		for range 2 {
			name, id := m.request()
			ids[name] = id
		}
		m.send(`{"return": "b", "id": %d}`, ids["b"])
		m.send(`{"return": "stale", "id": 999}`)
		m.send(`{"error": {"class": "GenericError", "desc": "no"}, "id": %d}`, ids["a"])
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		var got string
		if err := c.Execute(t.Context(), "b", nil, &got); err != nil || got != "b" {
			t.Errorf("b: got %q, %v", got, err)
		}
	})
	err := c.Execute(t.Context(), "a", nil, nil)
	var refused *qmp.Error
	if !errors.As(err, &refused) || refused.Desc != "no" || refused.Command != "a" {
		t.Errorf("a: got %v, want a refusal", err)
	}
	wg.Wait()
}

func TestUnreadEventsDoNotHoldUpAnswers(t *testing.T) {
	const sent = 1000
	c := connect(t, func(m *monitor) {
		_, id := m.request()
		for i := range sent {
			m.send(`{"event": "E%d", "timestamp": {"seconds": 7, "microseconds": 5}}`, i)
		}
		m.send(`{"return": {}, "id": %d}`, id)
	})
	if err := c.Execute(t.Context(), "a", nil, nil); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	kept, last := 0, qmp.Event{}
	for e := range c.Events() {
		kept, last = kept+1, e
	}
	if uint64(kept)+c.Dropped() != sent {
		t.Errorf("%d kept and %d dropped of %d", kept, c.Dropped(), sent)
	}
	if want := time.Unix(7, 5000); last.Name != "E999" || !last.Time.Equal(want) {
		t.Errorf("last event %+v", last)
	}
}

func TestConnectionEnds(t *testing.T) {
	long := `{"return": "` + strings.Repeat("x", qmp.MaxLine) + `"}`
	for name, said := range map[string]struct {
		line string
		want error
	}{
		"closed":          {"", qmp.ErrClosed},
		"garbage":         {"\x00\xff\n", qmp.ErrProtocol},
		"no id":           {`{"return": {}}` + "\n", qmp.ErrProtocol},
		"second greeting": {hello, qmp.ErrProtocol},
		"two kinds":       {`{"return": {}, "event": "STOP", "id": 2}` + "\n", qmp.ErrProtocol},
		"id of no number": {`{"return": {}, "id": "x"}` + "\n", qmp.ErrProtocol},
		"long line":       {long, qmp.ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, func(m *monitor) {
				m.request()
				m.conn.Write([]byte(said.line)) // fails when the client gives up first
			})
			err := c.Execute(t.Context(), "a", nil, nil)
			if !errors.Is(err, said.want) || !errors.Is(err, qmp.ErrClosed) {
				t.Errorf("waiting command: got %v, want %v", err, said.want)
			}
			if err := c.Execute(t.Context(), "b", nil, nil); !errors.Is(err, qmp.ErrClosed) {
				t.Errorf("later command: got %v, want %v", err, qmp.ErrClosed)
			}
			if _, open := <-c.Events(); open {
				t.Error("events still open")
			}
		})
	}
}

func TestExecuteCancelled(t *testing.T) {
	read := make(chan struct{})
	c := connect(t, func(m *monitor) {
		m.request()
		close(read)
		_, id := m.request()
		m.send(`{"return": 7, "id": %d}`, id)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-read; cancel() }()
	if err := c.Execute(ctx, "slow", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want cancelled", err)
	}
	var n int
	if err := c.Execute(t.Context(), "next", nil, &n); err != nil || n != 7 {
		t.Errorf("connection after a cancelled command: got %d, %v", n, err)
	}
}

func TestExecuteOnPeerThatDoesNotRead(t *testing.T) {
	release := make(chan struct{})
	c := connect(t, func(*monitor) { <-release })
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := c.Execute(ctx, "a", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want deadline exceeded", err)
	}
}

func TestResultOfWrongShape(t *testing.T) {
	c := connect(t, func(m *monitor) {
		_, id := m.request()
		m.send(`{"return": "text", "id": %d}`, id)
	})
	var n int
	if err := c.Execute(t.Context(), "a", nil, &n); !errors.Is(err, qmp.ErrProtocol) {
		t.Errorf("got %v, want %v", err, qmp.ErrProtocol)
	}
}
