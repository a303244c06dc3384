package disk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"satchel/store"
)

// The environment variables by which this test binary runs as a child that
// works on a store: its directory, and the seed of what it does.
const (
	childStore = "SATCHEL_TEST_STORE"
	childSeed  = "SATCHEL_TEST_SEED"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childStore); dir != "" {
		seed, err := strconv.ParseUint(os.Getenv(childSeed), 10, 64)
		if err == nil {
			err = child(dir, seed)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child works on a store and says so after each commit, until its standard
// output is closed or it is killed.
func child(dir string, seed uint64) error {
	s, err := Open(dir)
	if err != nil {
		return err
	}
	w := &worker{store: s, rand: seeded(seed), name: fmt.Sprintf("layer-%d", seed), collects: true}
	for {
		head, err := w.work(context.Background())
		if err != nil {
			return err
		}
		if _, err := fmt.Println(head.Version); err != nil {
			return nil
		}
	}
}

// A worker does at random what processes do to a store, with contents from so
// small a choice that it often puts again what is just being removed.
type worker struct {
	store    *Store
	rand     *rand.Rand
	name     string
	collects bool // runs gc now and then
	removes  bool // removes its layer now and then
}

// work makes one commit, to its own layer, and now and then removes that or
// collects before.
func (w *worker) work(ctx context.Context) (store.Head, error) {
	h, err := w.store.Heads().Lookup(ctx, w.name)
	if err == nil && w.removes && w.rand.IntN(3) == 0 {
		if err := w.store.Heads().Remove(ctx, h.Layer, h.Version); err != nil {
			return h, err
		}
		err = store.ErrNotExist
		h = store.Head{}
	}
	if h.Layer.IsZero() {
		if h, err = w.store.Heads().Create(ctx, w.name); err != nil {
			return h, err
		}
	}
	if err != nil {
		return h, err
	}
	if w.collects && w.rand.IntN(4) == 0 {
		if _, err := w.store.GC(ctx, toyWalk(w.store)); err != nil && !errors.Is(err, store.ErrBusy) {
			return h, err
		}
	}
	return w.commit(ctx, h)
}

func (w *worker) commit(ctx context.Context, h store.Head) (store.Head, error) {
	out, err := w.store.Begin(ctx, "worker")
	if err != nil {
		return h, err
	}
	for range 1 + w.rand.IntN(3) {
		var content [][]byte
		for range 1 + w.rand.IntN(8) {
			content = append(content, workContent(w.rand.IntN(40)))
		}
		add := commitToy
		if w.rand.IntN(2) == 0 {
			add = receiveToy
		}
		if h, err = add(ctx, w.store, h, out, content...); err != nil {
			break
		}
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return h, err
	}
	return h, w.check(ctx, h)
}

// workContent returns one of the contents that all workers choose from.
func workContent(i int) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("content %d, ", i), 50+i*40))
}

// check reads all that the head reaches, with nothing kept in memory.
func (w *worker) check(ctx context.Context, h store.Head) error {
	fresh, err := Open(w.store.Dir())
	if err != nil {
		return err
	}
	seen := map[store.ID]bool{}
	return toyWalk(fresh)(ctx, h.Version, func(id store.ID) bool {
		first := !seen[id]
		seen[id] = true
		return first
	})
}

// startChild runs this test binary as a child.
func startChild(t *testing.T, dir string, seed uint64) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childStore+"="+dir, fmt.Sprintf("%s=%d", childSeed, seed))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// TestGCNeverLosesWhatIsReached runs workers in this process and in another,
// with gc all the time.
func TestGCNeverLosesWhatIsReached(t *testing.T) {
	s := newTestStore(t)
	cmd, lines := startChild(t, s.Dir(), 100)
	workers, ctx := errgroup.WithContext(t.Context())
	for seed := range uint64(3) {
		w := &worker{store: s, rand: seeded(seed), name: fmt.Sprintf("layer-%d", seed), removes: true}
		workers.Go(func() error {
			for range 12 {
				if _, err := w.work(ctx); err != nil {
					return fmt.Errorf("worker %d: %w", seed, err)
				}
			}
			return nil
		})
	}
	done := make(chan struct{})
	var collector errgroup.Group
	var swept int64
	collector.Go(func() error {
		for {
			res, err := s.GC(t.Context(), toyWalk(s))
			if err != nil && !errors.Is(err, store.ErrBusy) {
				return err
			}
			swept += res.SweptChunks
			select {
			case <-done:
				return nil
			default:
			}
		}
	})
	for range 8 {
		if !lines.Scan() {
			t.Error("the child ended early")
			break
		}
	}
	if err := workers.Wait(); err != nil {
		t.Error(err)
	}
	close(done)
	if err := collector.Wait(); err != nil {
		t.Errorf("gc: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	cmd.Wait() // it was killed
	if swept == 0 {
		t.Error("gc never swept anything, so the test shows nothing")
	}
	wantWhole(t, s)
	collect(t, s)
	wantWhole(t, s)
}

// TestKill kills a process that writes and collects, at moments of all kinds.
// What it said was committed is there, and what it left is only litter.
func TestKill(t *testing.T) {
	s := newTestStore(t)
	r := seeded(30)
	for seed := range uint64(12) {
		cmd, lines := startChild(t, s.Dir(), seed)
		var said string
		for range r.IntN(4) {
			if !lines.Scan() {
				t.Fatal("the child ended early")
			}
			said = lines.Text()
		}
		<-time.After(time.Duration(r.IntN(20_000)) * time.Microsecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			said = lines.Text()
		}
		cmd.Wait() // it was killed
		if said != "" {
			wantSaid(t, s, fmt.Sprintf("layer-%d", seed), said)
		}
		wantWhole(t, s)
		collect(t, s)
		wantWhole(t, s)
		state, err := s.heads.State(t.Context())
		if err != nil || len(state.Leases) > 0 {
			t.Fatalf("leases that live on: %v, %v", state.Leases, err)
		}
		for _, dir := range []string{tmpName, leasesName} {
			if left, err := os.ReadDir(s.Dir() + "/" + dir); err != nil || len(left) > 0 {
				t.Fatalf("left in %s: %v, %v", dir, left, err)
			}
		}
	}
}

// wantSaid checks that a version that was said to be committed is reached from
// its layer's head.
func wantSaid(t *testing.T, s *Store, layer, said string) {
	t.Helper()
	want, err := store.ParseID(said)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.Heads().Lookup(t.Context(), layer)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	err = toyWalk(s)(t.Context(), h.Version, func(id store.ID) bool {
		found = found || id == want
		return true
	})
	if err != nil || !found {
		t.Fatalf("version %s was said to be committed, but is not reached: %v", want.Short(), err)
	}
}
