package agent_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"satchel/vmm/agent"
	"satchel/vmm/guest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs the real handler of a guest at the other end of conn until the
// test ends.
func serve(t *testing.T, conn net.Conn, h agent.Handler) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agent.Serve(ctx, conn, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("serve: %v", err)
		}
	})
}

// here is a handler that runs commands on this machine.
func here() agent.Handler { return guest.NewHandler(guest.Guest{}) }

// connect returns a client of a handler, over a pipe without any buffer, where
// two ends that both write and do not read would stop.
func connect(t *testing.T, h agent.Handler) *agent.Client {
	t.Helper()
	ours, theirs := net.Pipe()
	serve(t, theirs, h)
	c := agent.NewClient(ours)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// run runs a shell script and returns its output.
func run(t *testing.T, c *agent.Client, script string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	code, err := c.Exec(t.Context(), agent.ExecRequest{Argv: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return out.String(), code
}

func TestExec(t *testing.T) {
	c := connect(t, here())
	for name, tt := range map[string]struct {
		req         agent.ExecRequest
		out, errOut string
		code        int
	}{
		"exit code":           {req: agent.ExecRequest{Argv: []string{"sh", "-c", "exit 42"}}, code: 42},
		"signal":              {req: agent.ExecRequest{Argv: []string{"sh", "-c", "kill -INT $$"}}, code: 130},
		"two outputs":         {req: agent.ExecRequest{Argv: []string{"sh", "-c", "echo a; echo b >&2"}}, out: "a\n", errOut: "b\n"},
		"no input":            {req: agent.ExecRequest{Argv: []string{"cat"}}},
		"input":               {req: agent.ExecRequest{Argv: []string{"cat"}, Stdin: strings.NewReader("line\n")}, out: "line\n"},
		"input unread":        {req: agent.ExecRequest{Argv: []string{"true"}, Stdin: neverEnding{}}},
		"input closed":        {req: agent.ExecRequest{Argv: []string{"sh", "-c", "exec 0<&-; sleep 0.1; echo on"}, Stdin: io.LimitReader(neverEnding{}, 4*agent.Window)}, out: "on\n"},
		"environment":         {req: agent.ExecRequest{Argv: []string{"sh", "-c", "echo $COLOUR"}, Env: []string{"COLOUR=green"}}, out: "green\n"},
		"directory":           {req: agent.ExecRequest{Argv: []string{"pwd"}, Dir: "/usr"}, out: "/usr\n"},
		"path from directory": {req: agent.ExecRequest{Argv: []string{"bin/echo", "x"}, Dir: "/usr"}, out: "x\n"},
		"daemon behind":       {req: agent.ExecRequest{Argv: []string{"sh", "-c", "sleep 60 & echo started"}}, out: "started\n"},
		"terminal":            {req: agent.ExecRequest{Argv: []string{"stty", "size"}, TTY: &agent.Size{Rows: 5, Cols: 6}}, out: "5 6\r\n"},
		"typed end":           {req: agent.ExecRequest{Argv: []string{"sh", "-c", "stty -echo; cat"}, TTY: &agent.Size{}, Stdin: strings.NewReader("")}},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			tt.req.Stdout, tt.req.Stderr = &out, &errOut
			code, err := c.Exec(t.Context(), tt.req)
			if err != nil || code != tt.code || out.String() != tt.out || errOut.String() != tt.errOut {
				t.Errorf("got %d %v, %q, %q; want %d, %q, %q", code, err, out.String(), errOut.String(), tt.code, tt.out, tt.errOut)
			}
		})
	}
}

// neverEnding is an endless input of zeros.
type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestExecNotStarted(t *testing.T) {
	c := connect(t, here())
	for name, tt := range map[string]struct {
		req  agent.ExecRequest
		code int
	}{
		"no such command":   {agent.ExecRequest{Argv: []string{"no-such-command"}}, agent.CodeNotFound},
		"no such path":      {agent.ExecRequest{Argv: []string{"/no/such/path"}}, agent.CodeNotFound},
		"a directory":       {agent.ExecRequest{Argv: []string{"/usr"}}, agent.CodeNotExecutable},
		"nothing":           {agent.ExecRequest{}, agent.CodeNotStarted},
		"no such user":      {agent.ExecRequest{Argv: []string{"true"}, User: "no-such-user"}, agent.CodeNotStarted},
		"no such directory": {agent.ExecRequest{Argv: []string{"true"}, Dir: "/no/such"}, agent.CodeNotStarted},
		"no directory":      {agent.ExecRequest{Argv: []string{"true"}, Dir: "/etc/passwd"}, agent.CodeNotStarted},
	} {
		t.Run(name, func(t *testing.T) {
			code, err := c.Exec(t.Context(), tt.req)
			var reason *agent.GuestError
			if code != tt.code || !errors.As(err, &reason) {
				t.Errorf("got %d, %v; want %d and a guest's error", code, err, tt.code)
			}
		})
	}
	if _, err := c.Exec(t.Context(), agent.ExecRequest{Argv: []string{strings.Repeat("x", agent.MaxPayload)}}); err == nil {
		t.Error("a command longer than a frame was sent")
	}
}

func TestExecSignalsAndSizes(t *testing.T) {
	c := connect(t, here())
	signals, sizes := make(chan syscall.Signal), make(chan agent.Size)
	out := &lines{seen: make(chan string, 16)}
	done := make(chan int)
	go func() {
		code, err := c.Exec(context.Background(), agent.ExecRequest{
			Argv:   []string{"sh", "-c", `trap "stty size" WINCH; trap "exit 9" USR1; echo ready; while :; do sleep 0.01; done`},
			TTY:    &agent.Size{Rows: 1, Cols: 1},
			Stdout: out, Signals: signals, Resizes: sizes,
		})
		if err != nil {
			t.Error(err)
		}
		done <- code
	}()
	if got := <-out.seen; got != "ready" {
		t.Fatalf("command says %q", got)
	}
	sizes <- agent.Size{Rows: 7, Cols: 8}
	if got := <-out.seen; got != "7 8" {
		t.Errorf("terminal is %q, want 7 8", got)
	}
	signals <- syscall.SIGUSR1
	if code := <-done; code != 9 {
		t.Errorf("exit code %d, want 9", code)
	}
}

// lines is a writer that passes on each line.
type lines struct {
	seen chan string
	part string
}

func (l *lines) Write(p []byte) (int, error) {
	l.part += string(p)
	for {
		line, rest, ok := strings.Cut(l.part, "\n")
		if !ok {
			return len(p), nil
		}
		l.seen <- strings.TrimSpace(line)
		l.part = rest
	}
}

// TestManyStreams moves data both ways in several streams at once.
func TestManyStreams(t *testing.T) {
	c := connect(t, here())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			const size = 3<<20 + 17
			in := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{byte(i)}), size) }
			want, got := sha256.New(), sha256.New()
			if _, err := io.Copy(want, in()); err != nil {
				t.Error(err)
			}
			code, err := c.Exec(t.Context(), agent.ExecRequest{Argv: []string{"cat"}, Stdin: in(), Stdout: got})
			if code != 0 || err != nil || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
				t.Errorf("stream %d: %d, %v, or other bytes", i, code, err)
			}
		})
	}
	wg.Wait()
}

// stuck is a writer that takes nothing until it is told to.
type stuck struct {
	reached chan struct{}
	release chan struct{}
	once    sync.Once
}

func newStuck() *stuck { return &stuck{reached: make(chan struct{}), release: make(chan struct{})} }

func (s *stuck) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.reached) })
	<-s.release
	return len(p), nil
}

// TestSlowReader checks that a stream that nobody reads holds up no other.
func TestSlowReader(t *testing.T) {
	c := connect(t, here())
	slow := newStuck()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := c.Exec(ctx, agent.ExecRequest{Argv: []string{"cat", "/dev/zero"}, Stdout: slow})
		done <- err
	}()
	<-slow.reached
	for range 20 {
		if out, code := run(t, c, "echo alive"); out != "alive\n" || code != 0 {
			t.Fatalf("got %q, %d", out, code)
		}
	}
	cancel()
	close(slow.release)
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled command: %v", err)
	}
}

// TestCancelKills checks that a command ends when its caller gives up, even one
// that ignores being hung up.
func TestCancelKills(t *testing.T) {
	c := connect(t, here())
	for _, trap := range []string{"", "trap '' HUP; "} {
		fifo := filepath.Join(t.TempDir(), "fifo")
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			_, _ = c.Exec(ctx, agent.ExecRequest{Argv: []string{"sh", "-c", trap + "exec 3>" + fifo + "; while :; do sleep 1; done"}})
		}()
		// The other end opens when the command has, and ends when it does.
		if _, code := run(t, c, "exec 4<"+fifo+"; echo open"); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		cancel()
	}
}

func TestCallerGivesUp(t *testing.T) {
	c := connect(t, waiting{here()})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := c.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// waiting is a guest that is never ready.
type waiting struct{ agent.Handler }

func (waiting) Do(ctx context.Context, _ agent.Request) error { <-ctx.Done(); return ctx.Err() }

func TestInfo(t *testing.T) {
	c := connect(t, here())
	info, err := c.Info(t.Context())
	if err != nil || info.Kernel == "" || info.Uptime <= 0 {
		t.Errorf("got %+v, %v", info, err)
	}
	if err := c.Ready(t.Context()); err != nil {
		t.Errorf("ready: %v", err)
	}
	if err := c.Shutdown(t.Context()); err == nil {
		t.Error("this machine shut down")
	}
	if err := c.Freeze(t.Context(), time.Second); err == nil {
		t.Error("froze without a delta disk")
	}
}

// TestClosed checks that the loss of the connection ends what goes on over it.
func TestClosed(t *testing.T) {
	ours, theirs := net.Pipe()
	serve(t, theirs, here())
	c := agent.NewClient(ours)
	t.Cleanup(func() { _ = c.Close() })
	out := newStuck()
	close(out.release)
	done := make(chan error)
	go func() {
		_, err := c.Exec(context.Background(), agent.ExecRequest{Argv: []string{"sh", "-c", "echo on; sleep 60"}, Stdout: out})
		done <- err
	}()
	<-out.reached
	theirs.Close()
	if err := <-done; !errors.Is(err, agent.ErrClosed) {
		t.Errorf("running command: %v", err)
	}
	if err := c.Ping(t.Context()); !errors.Is(err, agent.ErrClosed) {
		t.Errorf("new request: %v", err)
	}
}
