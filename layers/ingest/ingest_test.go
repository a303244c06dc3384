package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/ingest"
	"satchel/layers/layerstest"
	"satchel/layers/manifest"
	"satchel/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noise returns n bytes that do not compress, the same for the same seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// contents reads an entry back.
func contents(t interface{ Fatal(...any) }, st *layerstest.Store, e *layers.Entry) []byte {
	b := []byte{}
	for _, x := range e.Extents {
		data := make([]byte, x.Len)
		if !x.ID.IsZero() {
			var err error
			if data, err = st.Get(context.Background(), x.ID); err != nil || int64(len(data)) != x.Len {
				t.Fatal("extent of", x.Len, "bytes has", len(data), err)
			}
		}
		b = append(b, data...)
	}
	if e.Size != int64(len(b)) {
		t.Fatal("size", e.Size, "but extents of", len(b))
	}
	return b
}

func opener(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

func TestManyFilesOfAllSizes(t *testing.T) {
	st := layerstest.NewStore()
	p := ingest.New(t.Context(), st, st.Domain())
	var want [][]byte
	var entries []*layers.Entry
	var total int64
	for i := range 500 {
		b := noise(uint64(i), []int{0, 1, 100, 1023, 1024, 1025, 9000, 300_000}[i%8]*(1+i%3))
		e := &layers.Entry{Path: fmt.Sprint(i), Type: layers.Regular, Size: int64(i % 5)} // a wrong hint
		if i%2 == 0 {
			p.Add(e, opener(b))
		} else if err := p.AddStream(e, iotest.HalfReader(bytes.NewReader(b))); err != nil || e.Size != int64(len(b)) {
			t.Fatalf("size %d, error %v; want %d", e.Size, err, len(b))
		}
		want, entries, total = append(want, b), append(entries, e), total+int64(len(b))
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		if !bytes.Equal(contents(t, st, e), want[i]) {
			t.Errorf("file %d was changed", i)
		}
	}
	if files, n := p.Progress(); files != 500 || n != total {
		t.Errorf("progress %d files, %d bytes; want 500, %d", files, n, total)
	}
	if entries[0].Extents != nil {
		t.Errorf("an empty file has extents %v", entries[0].Extents)
	}
}

func TestBothWaysMakeTheSameChunks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := layerstest.NewStore()
		p := ingest.New(context.Background(), st, st.Domain())
		b := noise(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 40_000).Draw(t, "size"))
		var x, y layers.Entry
		p.Add(&x, opener(b))
		if err := p.AddStream(&y, iotest.OneByteReader(bytes.NewReader(b))); err != nil {
			t.Fatal(err)
		}
		if err := p.Wait(); err != nil {
			t.Fatal(err)
		}
		if !x.SameContent(&y) {
			t.Fatalf("extents %v and %v", x.Extents, y.Extents)
		}
	})
}

func TestHolesOfFilesAreKept(t *testing.T) {
	name := filepath.Join(t.TempDir(), "sparse")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := noise(1, 20_000)
	if err := errors.Join(f.Truncate(1<<40), second(f.WriteAt(data, 1<<20)), second(f.WriteAt(data, 1<<30))); err != nil {
		t.Fatal(err)
	}
	st := layerstest.NewStore()
	p := ingest.New(t.Context(), st, st.Domain())
	var e layers.Entry
	p.Add(&e, func() (io.ReadCloser, error) { return os.Open(name) })
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	var holes, stored int64
	for _, x := range e.Extents {
		if x.ID.IsZero() {
			holes += x.Len
		} else {
			stored += x.Len
		}
	}
	if e.Size != 1<<40 || holes+stored != 1<<40 || stored < 40_000 || stored > 100_000 {
		t.Errorf("size %d, holes %d, data %d", e.Size, holes, stored)
	}
}

func second[T any](_ T, err error) error { return err }

func TestZerosBecomeHolesWhenAsked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b []byte
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 20_000), 0, 6).Draw(t, "runs") {
			if b = append(b, make([]byte, n)...); n%2 == 0 {
				b = append(b, noise(uint64(n), n/2)...)
			}
		}
		st := layerstest.NewStore()
		p := ingest.New(context.Background(), st, st.Domain())
		var sparse, plain layers.Entry
		if err := errors.Join(p.AddSparse(&sparse, iotest.HalfReader(bytes.NewReader(b))), p.AddStream(&plain, bytes.NewReader(b)), p.Wait()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(contents(t, st, &sparse), b) || !bytes.Equal(contents(t, st, &plain), b) {
			t.Fatal("contents were changed")
		}
		hole := func(x layers.Extent) bool { return x.ID.IsZero() }
		if slices.ContainsFunc(plain.Extents, hole) {
			t.Fatal("zeros became a hole unasked")
		}
		var off int64
		for _, x := range sparse.Extents {
			end := off + x.Len
			if hole(x) && (off%ingest.HoleSize != 0 || end%ingest.HoleSize != 0 && end != int64(len(b))) {
				t.Fatalf("hole from %d to %d", off, end)
			}
			if !hole(x) && off%ingest.HoleSize == 0 && len(b) >= int(off)+ingest.HoleSize && bytes.Equal(b[off:off+ingest.HoleSize], make([]byte, ingest.HoleSize)) {
				t.Fatalf("zeros at %d are no hole", off)
			}
			off = end
		}
	})
}

func TestNoChunkLooksLikeAManifest(t *testing.T) {
	st := layerstest.NewStore()
	p := ingest.New(t.Context(), st, st.Domain())
	want := [][]byte{[]byte(manifest.Magic), []byte(manifest.Magic + "N\x01"), append([]byte(manifest.Magic), noise(1, 9000)...)}
	entries := make([]layers.Entry, len(want))
	for i := range want {
		p.Add(&entries[i], opener(want[i]))
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if !bytes.Equal(contents(t, st, &entries[i]), want[i]) {
			t.Errorf("contents %d were changed", i)
		}
	}
	for _, id := range st.IDs() {
		if b, err := st.Get(t.Context(), id); err != nil || bytes.HasPrefix(b, []byte(manifest.Magic)) {
			t.Errorf("chunk %.10q, error %v", b, err)
		}
	}
}

// failing fails to put once it has put enough.
type failing struct {
	*layerstest.Store
	err error
}

func (f failing) Put(ctx context.Context, data ...[]byte) ([]store.ID, error) {
	if len(f.IDs()) > 100 {
		return nil, f.err
	}
	return f.Store.Put(ctx, data...)
}

type closer struct {
	io.Reader
	closed *int
}

func (c closer) Close() error { *c.closed++; return nil }

func TestErrorsNameThePath(t *testing.T) {
	bad := errors.New("bad sector")
	for name, add := range map[string]func(*ingest.Pipeline, *layers.Entry) error{
		"open": func(p *ingest.Pipeline, e *layers.Entry) error {
			p.Add(e, func() (io.ReadCloser, error) { return nil, bad })
			return bad
		},
		"read": func(p *ingest.Pipeline, e *layers.Entry) error {
			p.Add(e, func() (io.ReadCloser, error) { return io.NopCloser(iotest.ErrReader(bad)), nil })
			return bad
		},
		"stream": func(p *ingest.Pipeline, e *layers.Entry) error { return p.AddStream(e, iotest.ErrReader(bad)) },
		"late": func(p *ingest.Pipeline, e *layers.Entry) error {
			return p.AddStream(e, io.MultiReader(bytes.NewReader(noise(1, 100_000)), iotest.ErrReader(bad)))
		},
		"sparse": func(p *ingest.Pipeline, e *layers.Entry) error { return p.AddSparse(e, iotest.ErrReader(bad)) },
	} {
		t.Run(name, func(t *testing.T) {
			st := layerstest.NewStore()
			p := ingest.New(t.Context(), st, st.Domain())
			if err := add(p, &layers.Entry{Path: "the/path"}); !errors.Is(err, bad) {
				t.Errorf("error %v", err)
			}
			if err := p.Wait(); !errors.Is(err, bad) || !strings.Contains(err.Error(), `"the/path"`) {
				t.Errorf("Wait: error %v, want one with the path", err)
			}
		})
	}
}

func TestFailureToStoreEndsTheWork(t *testing.T) {
	st := failing{layerstest.NewStore(), errors.New("disk is full")}
	p := ingest.New(t.Context(), st, st.Domain())
	closed := make([]int, 300)
	for i := range closed {
		p.Add(&layers.Entry{Path: fmt.Sprint(i)}, func() (io.ReadCloser, error) {
			return closer{bytes.NewReader(noise(uint64(i), 200_000)), &closed[i]}, nil
		})
	}
	if err := p.Wait(); !errors.Is(err, st.err) {
		t.Errorf("error %v, want %v", err, st.err)
	}
	for i, n := range closed {
		if n != 1 {
			t.Fatalf("reader %d was closed %d times", i, n)
		}
	}
	if err := p.AddStream(&layers.Entry{}, bytes.NewReader(noise(1, 10))); !errors.Is(err, st.err) {
		t.Errorf("after the failure: error %v, want %v", err, st.err)
	}
}

func TestCancelledPipelineEnds(t *testing.T) {
	st := layerstest.NewStore()
	ctx, cancel := context.WithCancel(t.Context())
	p := ingest.New(ctx, st, st.Domain())
	p.Add(&layers.Entry{}, opener(noise(1, 10)))
	cancel()
	p.Add(&layers.Entry{}, opener(noise(2, 100_000)))
	if err := p.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want Canceled", err)
	}
}
