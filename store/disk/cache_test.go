package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"satchel/store"
)

// read takes a frame, with that many bytes if it is not there, and releases it.
func (c *cache) read(i int64, size int) *frame {
	f := c.take(frameKey{"pack", i})
	f.once.Do(func() {
		f.data, f.left = append(c.buffer(size), make([]byte, size)...), size
		c.filled(f)
	})
	c.release(f, false)
	return f
}

func (c *cache) has(i int64) bool { return c.byKey[frameKey{"pack", i}] != nil }

func TestCacheIsBounded(t *testing.T) {
	c := newCache(1000)
	for i := range int64(20) {
		c.read(i, 300)
		c.read(0, 300) // is used all the time
	}
	if c.size > 1000 || c.order.Len() != len(c.byKey) || len(c.spare) > spareBuffers {
		t.Errorf("%d bytes in %d frames, %d spare buffers", c.size, c.order.Len(), len(c.spare))
	}
	if !c.has(0) || c.has(1) || !c.has(19) {
		t.Error("the cache dropped the wrong frames")
	}
}

// TestWhatWasLentWholeGoesFirst: a frame of which chunks are still to be read stays
// while others are read whole, each in the memory of the last.
func TestWhatWasLentWholeGoesFirst(t *testing.T) {
	s := newTestStore(t)
	var chunks [][]byte
	for i := range 80 {
		chunks = append(chunks, bytes.Repeat([]byte{byte(i)}, 200_000)) // three share a frame
	}
	ids := put(t, s, chunks...)
	s.reader.cache = newCache(4 << 20)
	if _, err := s.Get(t.Context(), ids[79]); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for i := 0; i < 75; i += 3 {
			if err := lend(t.Context(), s, ids, chunks, i); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := s.Reads().Frames
	if _, err := s.Get(t.Context(), ids[78]); err != nil {
		t.Fatal(err)
	}
	if n := s.Reads().Frames - before; n > 0 {
		t.Errorf("%d frames were read again", n)
	}
}

func TestCacheForgetsWhatFailed(t *testing.T) {
	c, broken := newCache(1000), errors.New("unreadable")
	f := c.take(frameKey{"pack", 1})
	f.once.Do(func() { f.err = broken; c.filled(f) })
	c.release(f, false)
	if again := c.read(1, 300); again == f || again.err != nil || c.size != 300 {
		t.Errorf("read again: error %v, %d bytes in the cache", again.err, c.size)
	}
}

// TestMemoryInUseIsNotReused pushes frames out of a cache while somebody looks at
// one, or has kept a part of it.
func TestMemoryInUseIsNotReused(t *testing.T) {
	for _, test := range []struct {
		name           string
		released, kept bool
		wantReused     bool
	}{
		{name: "in use"},
		{name: "kept", released: true, kept: true},
		{name: "done", released: true, wantReused: true},
	} {
		c := newCache(1000)
		f := c.take(frameKey{"pack", 0})
		f.once.Do(func() { f.data = make([]byte, 300); c.filled(f) })
		memory := f.data
		if test.released {
			c.release(f, test.kept)
		}
		reused := false
		for i := range int64(20) {
			reused = reused || &c.read(i+1, 300).data[0] == &memory[0]
		}
		if c.has(0) || reused != test.wantReused {
			t.Errorf("%s: reused %t, want %t", test.name, reused, test.wantReused)
		}
		if !test.released { // but then it is
			c.release(f, false)
			if b := c.buffer(300); &b[:1][0] != &memory[0] {
				t.Errorf("%s: not reused when it was released", test.name)
			}
		}
	}
}

// TestBufferFits: a small frame does not take the memory of a large one.
func TestBufferFits(t *testing.T) {
	c := newCache(1)
	for i, size := range []int{100, 10, 90, 60, 1000, 1001, 4, 70} {
		f := c.read(int64(i), size)
		if n := cap(f.data); n < size || n > 2*size {
			t.Errorf("%d bytes in memory of %d", size, n)
		}
	}
}

// lend borrows some chunks from i on and compares them.
func lend(ctx context.Context, s *Store, ids []store.ID, chunks [][]byte, i int) error {
	end := min(len(ids), i+5)
	return s.Lend(ctx, ids[i:end], func(lent [][]byte) error {
		if !slices.EqualFunc(lent, chunks[i:end], bytes.Equal) {
			return fmt.Errorf("chunks %d to %d were lent wrong", i, end)
		}
		return nil
	})
}

// TestLendWhileOthersGet reads through a cache that holds hardly anything, by turns
// for a while and for good: neither meets bytes of another chunk.
func TestLendWhileOthersGet(t *testing.T) {
	s := newTestStore(t)
	chunks := randomChunks(seeded(7), 200, 30_000)
	ids := put(t, s, chunks...)
	s.reader.cache = newCache(1)
	group, ctx := errgroup.WithContext(t.Context())
	for g := range 4 {
		group.Go(func() error {
			var kept [][]byte
			for i := range ids {
				i = (i*7 + g*100) % len(ids)
				b, err := s.Get(ctx, ids[i])
				if err != nil {
					return err
				}
				kept = append(kept, b)
				if err := lend(ctx, s, ids, chunks, i); err != nil {
					return err
				}
			}
			for i, b := range kept {
				if !bytes.Equal(b, chunks[(i*7+g*100)%len(ids)]) {
					return fmt.Errorf("chunk %d changed after Get", i)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}
