package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"satchel/store"
	"satchel/store/chunk"
	"satchel/store/durable"
)

var errPower = errors.New("power failed")

// powerFailure makes step n fail, and every later one, as if power had failed
// at step n: just before it, or just after it when it persists.
type powerFailure struct {
	n       int
	persist bool
	step    int
}

func (p *powerFailure) fs() durable.FS {
	return durable.FS{Fault: func(durable.Step) (error, bool) {
		p.step++
		if p.step <= p.n {
			return nil, false
		}
		return errPower, p.persist && p.step == p.n+1
	}}
}

// everyStep runs a test with a power failure at each step in turn, until the
// test no longer gets that far.
func everyStep(t *testing.T, test func(t *testing.T, p *powerFailure)) {
	for _, persist := range []bool{false, true} {
		for n, more := 0, true; more; n++ {
			t.Run(fmt.Sprintf("step=%d,happens=%v", n, persist), func(t *testing.T) {
				p := &powerFailure{n: n, persist: persist}
				test(t, p)
				more = p.step > n && !t.Failed()
			})
		}
	}
}

func TestCreateSurvivesPowerFailure(t *testing.T) {
	everyStep(t, func(t *testing.T, p *powerFailure) {
		dir := filepath.Join(memoryDir(t), "store")
		d, err := chunk.NewDomain()
		if err != nil {
			t.Fatal(err)
		}
		_, created := create(dir, d, p.fs())
		s, err := Open(dir)
		if errors.Is(err, store.ErrNotExist) && created != nil {
			s, err = Create(dir)
		}
		if err != nil {
			t.Fatalf("after %v: %v", created, err)
		}
		newToyLayer(t, s, "a", []byte("content"))
		wantWhole(t, s)
	})
}

// TestCommitAndGCSurvivePowerFailure fails power at every step of two commits
// and a gc that sweeps, repacks and removes. Afterwards heads are old or new,
// and all they reach is there.
func TestCommitAndGCSurvivePowerFailure(t *testing.T) {
	r := seeded(20)
	first, second, waste := randomChunks(r, 5, 2000), randomChunks(r, 5, 2000), randomChunks(r, 20, 2000)
	everyStep(t, func(t *testing.T, p *powerFailure) {
		s := newTestStoreIn(t, memoryDir(t))
		put(t, s, append(waste, first...)...)
		old := newToyLayer(t, s, "a", first...)

		failing, err := open(s.Dir(), p.fs())
		if err != nil {
			t.Fatal(err)
		}
		told, err := commitAndCollect(failing, old, second)
		if err != nil && !errors.Is(err, errPower) {
			t.Fatal(err)
		}
		wantOldOrNew(t, s, old, told, first)
		collect(t, s)
		wantOldOrNew(t, s, old, told, first)
		newToyLayer(t, s, "b", second...)
		wantWhole(t, s)
	})
}

// commitAndCollect returns the head that it was told it had moved to.
func commitAndCollect(s *Store, h store.Head, content [][]byte) (store.Head, error) {
	ctx := context.Background()
	w, err := s.Begin(ctx, "test")
	if err != nil {
		return h, err
	}
	for i := 0; i < len(content) && err == nil; i += 3 {
		h, err = commitToy(ctx, s, h, w, content[i:min(i+3, len(content))]...)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return h, err
	}
	_, err = s.GC(ctx, toyWalk(s))
	return h, err
}

// wantOldOrNew checks that the head is at old, or at told, or at a version
// made after it, and that all it reaches is whole.
func wantOldOrNew(t *testing.T, s *Store, old, told store.Head, first [][]byte) {
	t.Helper()
	now, err := s.Heads().Lookup(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	reached := map[store.ID]bool{}
	err = toyWalk(s)(t.Context(), now.Version, func(id store.ID) bool {
		seen := reached[id]
		reached[id] = true
		return !seen
	})
	if err != nil {
		t.Fatal(err)
	}
	if !reached[old.Version] || !reached[told.Version] {
		t.Fatalf("the head is at %s, which follows neither %s nor %s", now.Version.Short(), old.Version.Short(), told.Version.Short())
	}
	for _, c := range first {
		if !reached[s.Domain().ID(c)] {
			t.Fatal("a chunk of the old version is not reached")
		}
	}
	wantWhole(t, s)
	b, err := s.Get(t.Context(), s.Domain().ID(first[0]))
	if err != nil || !bytes.Equal(b, first[0]) {
		t.Fatalf("the old content is gone: %v", err)
	}
}

func TestRebuildSurvivesPowerFailure(t *testing.T) {
	chunks := randomChunks(seeded(21), 10, 2000)
	everyStep(t, func(t *testing.T, p *powerFailure) {
		s := newTestStoreIn(t, memoryDir(t))
		newToyLayer(t, s, "a", chunks...)
		failing, err := open(s.Dir(), p.fs())
		if err != nil {
			t.Fatal(err)
		}
		if err := failing.Rebuild(t.Context()); err != nil && !errors.Is(err, errPower) {
			t.Fatal(err)
		}
		wantWhole(t, s)
		collect(t, s)
		wantWhole(t, s)
	})
}
