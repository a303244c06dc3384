package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"satchel/store"
	"satchel/store/deflate"
	"satchel/syncer"
	"satchel/syncer/wire"
)

var update = flag.Bool("update", false, "write the vectors in testdata anew")

// item is what a record holds.
type item struct {
	ids   []store.ID
	frame []byte
	wants []bool
	pair  *syncer.Pair
	delta *syncer.Delta // of pair 3
	marks syncer.Sketch // of pair 3
}

func write(w *wire.Writer, items []item) error {
	for _, it := range items {
		var err error
		switch {
		case it.ids != nil:
			err = w.IDs(it.ids)
		case it.wants != nil:
			err = w.Wants(it.wants)
		case it.pair != nil:
			err = w.Pair(*it.pair)
		case it.delta != nil:
			err = w.Delta(3, *it.delta)
		case it.marks != nil:
			err = w.Sketch(3, it.marks)
		default:
			err = w.Frame(it.frame)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stream returns a whole stream of the items.
func stream(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := wire.NewWriter(&b)
	if err := write(w, items); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read returns the records of a stream that should be like want, and the error
// that it ends with.
func read(r io.Reader, want []item) (got []item, err error) {
	s := wire.NewReader(r)
	for {
		rec, err := s.Next()
		if err != nil {
			if _, again := s.Next(); !errors.Is(again, err) {
				return got, fmt.Errorf("after %w it returns %w", err, again)
			}
			return got, err
		}
		var it item
		switch rec.Type {
		case wire.IDs:
			it.ids = rec.IDs()
		case wire.Frame:
			it.frame = bytes.Clone(rec.Frame())
		case wire.Pair:
			p, err := rec.Pair()
			if err != nil {
				return got, err
			}
			it.pair = &p
		case wire.Delta:
			n, d, err := rec.Delta()
			if err != nil || n != 3 {
				return got, fmt.Errorf("delta of pair %d: %w", n, err)
			}
			it.delta = &syncer.Delta{Lens: d.Lens, Open: d.Open, Data: append([]byte{}, d.Data...)}
		case wire.Sketch:
			n, s := rec.Sketch()
			if n != 3 {
				return got, fmt.Errorf("sketch of pair %d", n)
			}
			it.marks = s
		case wire.Wants:
			if len(got) < len(want) {
				if it.wants, err = rec.Wants(len(want[len(got)].wants)); err != nil {
					return got, err
				}
			}
		}
		got = append(got, it)
	}
}

func id(n byte) store.ID { return store.ID{0: n, 31: n} }

// TestGolden reads the vectors and writes them again.
func TestGolden(t *testing.T) {
	items := []item{
		{ids: []store.ID{id(1), id(2)}},
		{frame: []byte("a frame")},
		{wants: []bool{true, false, false, true, false, false, false, false, true}},
		{ids: []store.ID{}},
		{pair: &syncer.Pair{Others: []store.ID{id(2), id(9)}, Base: []store.ID{id(4)}, BaseOffset: 5, Target: []store.ID{id(6), id(7)}, Offset: 1 << 40}},
		{delta: &syncer.Delta{Lens: []int{8, 9}, Data: []byte("a delta")}},
		{delta: &syncer.Delta{Lens: []int{8}, Open: 77, Data: []byte("another")}},
		{pair: &syncer.Pair{Others: []store.ID{}, Base: []store.ID{}, Target: []store.ID{id(6)}, Sketch: true}},
		{marks: syncer.Sketch{10, 1 << 31}},
	}
	var failed bytes.Buffer
	w := wire.NewWriter(&failed)
	if err := errors.Join(w.Frame([]byte("a frame")), w.Fail(&syncer.MissingError{IDs: []store.ID{id(3)}})); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"v1.stream": stream(t, items...), "v1-refusal.stream": failed.Bytes()} {
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, want) {
			t.Errorf("%s: wrote %q, want %q", name, b, want)
		}
	}
	got, err := read(bytes.NewReader(stream(t, items...)), items)
	if !errors.Is(err, io.EOF) || !reflect.DeepEqual(got, items) {
		t.Errorf("read %v, %v", got, err)
	}
	_, err = read(&failed, nil)
	if missing := (*syncer.MissingError)(nil); !errors.As(err, &missing) || !slices.Equal(missing.IDs, []store.ID{id(3)}) {
		t.Errorf("refusal: %v", err)
	}
}

func drawItem() *rapid.Generator[item] {
	ids := rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 20), func(bs []byte) item {
		it := item{ids: []store.ID{}}
		for _, b := range bs {
			it.ids = append(it.ids, id(b))
		}
		return it
	})
	frame := rapid.Custom(func(t *rapid.T) item {
		n := rapid.OneOf(rapid.IntRange(1, 100), rapid.IntRange(30<<10, 200<<10)).Draw(t, "bytes")
		return item{frame: bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, n)}
	})
	wants := rapid.Map(rapid.SliceOfN(rapid.Bool(), 0, 70), func(bs []bool) item { return item{wants: bs} })
	pair := rapid.Custom(func(t *rapid.T) item {
		p := &syncer.Pair{Others: []store.ID{}, Base: []store.ID{}, Sketch: rapid.Bool().Draw(t, "sketch"), BaseOffset: rapid.Int64Min(0).Draw(t, "base offset"), Offset: rapid.Int64Min(0).Draw(t, "offset")}
		for _, b := range rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "base") {
			p.Base = append(p.Base, id(b))
		}
		for _, b := range rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "others") {
			p.Others = append(p.Others, id(b))
		}
		for _, b := range rapid.SliceOfN(rapid.Byte(), 1, 5).Draw(t, "target") {
			p.Target = append(p.Target, id(b))
		}
		return item{pair: p}
	})
	delta := rapid.Custom(func(t *rapid.T) item {
		return item{delta: &syncer.Delta{
			Lens: rapid.SliceOfN(rapid.IntRange(1, store.MaxChunk), 1, 2).Draw(t, "lens"),
			Open: rapid.OneOf(rapid.Just(0), rapid.IntRange(1, deflate.MaxOpen)).Draw(t, "open"),
			Data: rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "data"),
		}}
	})
	marks := rapid.Map(rapid.SliceOfN(rapid.Uint32(), 0, 9), func(ms []uint32) item {
		it := item{marks: syncer.Sketch{}}
		for _, m := range ms {
			it.marks = append(it.marks, syncer.Mark(m))
		}
		return it
	})
	return rapid.OneOf(ids, frame, wants, pair, delta, marks)
}

// TestRoundTrip checks that what was written is read, however the bytes
// arrive, and that no cut of a stream is taken for a whole one.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(drawItem(), 0, 6).Draw(t, "items")
		var b bytes.Buffer
		w := wire.NewWriter(&b)
		if err := errors.Join(write(w, want), w.Close()); err != nil {
			t.Fatal(err)
		}
		for _, r := range []io.Reader{bytes.NewReader(b.Bytes()), iotest.HalfReader(bytes.NewReader(b.Bytes())), iotest.DataErrReader(bytes.NewReader(b.Bytes()))} {
			got, err := read(r, want)
			if !errors.Is(err, io.EOF) || len(got) != len(want) {
				t.Fatalf("%d records of %d: %v", len(got), len(want), err)
			}
			for i := range got {
				if !reflect.DeepEqual(got[i], want[i]) {
					t.Fatalf("record %d is %v, want %v", i, got[i], want[i])
				}
			}
		}
		n := rapid.IntRange(0, b.Len()-1).Draw(t, "cut")
		got, err := read(bytes.NewReader(b.Bytes()[:n]), want)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut after %d of %d bytes: %v", n, b.Len(), err)
		}
		for i := range got {
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Fatalf("cut stream: record %d is %v, want %v", i, got[i], want[i])
			}
		}
	})
}

// raw returns the bytes of a record of that type, and of a length that need not
// be the payload's.
func raw(kind byte, n uint32, payload string) string {
	return string(binary.LittleEndian.AppendUint32([]byte{kind}, n)) + payload
}

const header = "SLWS\x01\x00\x00\x00"

func TestRefused(t *testing.T) {
	ends := raw(4, 4, "\x00\x00\x00\x00")
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"nothing":             {"", io.ErrUnexpectedEOF},
		"only a header":       {header, io.ErrUnexpectedEOF},
		"another magic":       {"SLWT\x01\x00\x00\x00" + ends, syncer.ErrMalformed},
		"a later version":     {"SLWS\x02\x00\x00\x00" + ends, syncer.ErrProtocol},
		"version 0":           {"SLWS\x00\x00\x00\x00" + ends, syncer.ErrProtocol},
		"type 0":              {header + raw(0, 0, ""), syncer.ErrMalformed},
		"type 9":              {header + raw(9, 0, ""), syncer.ErrMalformed},
		"a short pair":        {header + raw(6, 22, strings.Repeat("\x00", 22)), syncer.ErrMalformed},
		"a pair of nothing":   {header + raw(6, 23, strings.Repeat("\x00", 23)), syncer.ErrMalformed},
		"a pair cut short":    {header + raw(6, 23, strings.Repeat("\x00", 19)+"\x01\x00\x00\x00"), syncer.ErrMalformed},
		"a pair of kind 2":    {header + raw(6, 23+32, "\x02"+strings.Repeat("\x00", 20)+"\x01\x00"+strings.Repeat("\x01", 32)), syncer.ErrMalformed},
		"a base before 0":     {header + raw(6, 23+32, "\x00"+strings.Repeat("\xff", 8)+strings.Repeat("\x00", 12)+"\x01\x00"+strings.Repeat("\x01", 32)), syncer.ErrMalformed},
		"too many of a pair":  {header + raw(6, 23+32*2049, strings.Repeat("\x00", 21)+"\x01\x08"+strings.Repeat("\x01", 32*2049)), syncer.ErrTooLarge},
		"too many others":     {header + raw(6, 23+32*258, strings.Repeat("\x00", 17)+"\x01\x01\x00\x00\x01\x00"+strings.Repeat("\x01", 32*258)), syncer.ErrTooLarge},
		"too long a pair":     {header + raw(6, 23+32*(256+4096+2048)+1, ""), syncer.ErrTooLarge},
		"a short sketch":      {header + raw(8, 3, "\x00\x00\x00"), syncer.ErrMalformed},
		"half a mark":         {header + raw(8, 6, "\x00\x00\x00\x00\x01\x01"), syncer.ErrMalformed},
		"too long a sketch":   {header + raw(8, 4+4*16385, ""), syncer.ErrTooLarge},
		"a short delta":       {header + raw(7, 5, "\x00\x00\x00\x00\x01"), syncer.ErrMalformed},
		"a delta cut short":   {header + raw(7, 6, "\x00\x00\x00\x00\x01\x00"), syncer.ErrMalformed},
		"an empty chunk":      {header + raw(7, 10, "\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00"), syncer.ErrMalformed},
		"too long a chunk":    {header + raw(7, 10, "\x00\x00\x00\x00\x01\x00\x01\x00\x40\x00"), syncer.ErrMalformed},
		"too large a target":  {header + raw(7, 18, "\x00\x00\x00\x00\x03\x00"+strings.Repeat("\x00\x00\x40\x00", 3)), syncer.ErrTooLarge},
		"no open form":        {header + raw(7, 10, "\x00\x00\x00\x00\x00\x80\x00\x00\x00\x00"), syncer.ErrMalformed},
		"half an open form":   {header + raw(7, 9, "\x00\x00\x00\x00\x00\x80\x01\x00\x00"), syncer.ErrMalformed},
		"a long open form":    {header + raw(7, 10, "\x00\x00\x00\x00\x00\x80\x01\x00\x80\x00"), syncer.ErrTooLarge},
		"too long a delta":    {header + raw(7, 4+9<<20, ""), syncer.ErrTooLarge},
		"type 255":            {header + raw(255, 0, ""), syncer.ErrMalformed},
		"IDs of 33 bytes":     {header + raw(1, 33, strings.Repeat("x", 33)), syncer.ErrMalformed},
		"too many IDs":        {header + raw(1, 32*16385, ""), syncer.ErrTooLarge},
		"too long a frame":    {header + raw(2, 8392725, ""), syncer.ErrTooLarge},
		"the longest length":  {header + raw(2, math.MaxUint32, ""), syncer.ErrTooLarge},
		"too many wants":      {header + raw(3, 2049, ""), syncer.ErrTooLarge},
		"an end of 3 bytes":   {header + raw(4, 3, "\x00\x00\x00"), syncer.ErrMalformed},
		"an end of 5 bytes":   {header + raw(4, 5, "\x00\x00\x00\x00\x00"), syncer.ErrTooLarge},
		"an end that lies":    {header + raw(4, 4, "\x01\x00\x00\x00"), syncer.ErrMalformed},
		"bytes after the end": {header + ends + "x", syncer.ErrMalformed},
		"too long a refusal":  {header + raw(5, 1<<20+1, ""), syncer.ErrTooLarge},
		"no JSON":             {header + raw(5, 3, "{]}"), syncer.ErrMalformed},
		"no code":             {header + raw(5, 2, "{}"), syncer.ErrMalformed},
		"a refusal":           {header + raw(5, 18, `{"code":"revoked"}`), syncer.ErrRevoked},
	} {
		if _, err := read(strings.NewReader(c.in), nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestWantsOfOtherNumber(t *testing.T) {
	for name, c := range map[string]struct {
		payload string
		n       int
		ok      bool
	}{
		"just as many":      {"\xff\x01", 9, true},
		"fewer":             {"\xff", 9, false},
		"more":              {"\xff\x01", 8, false},
		"a bit too many":    {"\xff\x02", 9, false},
		"none":              {"", 0, true},
		"some, where none":  {"\x00", 0, false},
		"none, where some":  {"", 1, false},
		"all bits of bytes": {"\xff\xff", 16, true},
	} {
		r := wire.NewReader(strings.NewReader(header + raw(3, uint32(len(c.payload)), c.payload)))
		rec, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		wants, err := rec.Wants(c.n)
		if c.ok && (err != nil || len(wants) != c.n) || !c.ok && !errors.Is(err, syncer.ErrMalformed) {
			t.Errorf("%s: %v, %v", name, wants, err)
		}
	}
}

// TestLongest checks that the longest records pass, and longer ones are not
// even begun.
func TestLongest(t *testing.T) {
	if wire.MaxFrame != 8392724 {
		t.Errorf("the longest frame has %d bytes, the specification says 8392724", wire.MaxFrame)
	}
	items := []item{
		{ids: make([]store.ID, syncer.MaxIDs)},
		{frame: make([]byte, wire.MaxFrame)},
		{wants: make([]bool, syncer.MaxIDs)},
	}
	if got, err := read(bytes.NewReader(stream(t, items...)), items); !errors.Is(err, io.EOF) || !reflect.DeepEqual(got, items) {
		t.Errorf("read %d records: %v", len(got), err)
	}
	for _, it := range []item{
		{ids: make([]store.ID, syncer.MaxIDs+1)},
		{frame: make([]byte, wire.MaxFrame+1)},
		{wants: make([]bool, syncer.MaxIDs+1)},
	} {
		w := wire.NewWriter(io.Discard)
		err := write(w, []item{it})
		if !errors.Is(err, syncer.ErrTooLarge) || !errors.Is(w.Close(), syncer.ErrTooLarge) {
			t.Errorf("%d IDs, %d bytes, %d wants: %v", len(it.ids), len(it.frame), len(it.wants), err)
		}
	}
}

// TestRefusalFits checks that every error can be told, whatever it holds.
func TestRefusalFits(t *testing.T) {
	for _, err := range []error{
		&syncer.MissingError{IDs: make([]store.ID, 100_000)},
		fmt.Errorf("%s: %w", strings.Repeat("\x01", 1<<21), syncer.ErrForged),
		errors.New("what only the log may tell"),
	} {
		var b bytes.Buffer
		if err := wire.NewWriter(&b).Fail(err); err != nil {
			t.Fatal(err)
		}
		_, got := read(&b, nil)
		if want, _ := syncer.ToError(err); got == nil || !sameKind(got, want.Err()) {
			t.Errorf("%.80v arrives as %.80v", err, got)
		}
		if strings.Contains(got.Error(), "only the log") {
			t.Errorf("the message of an internal error is told: %v", got)
		}
	}
}

// sameKind reports whether two errors of the wire stand for the same.
func sameKind(a, b error) bool {
	x, y := errors.Unwrap(a), errors.Unwrap(b)
	return reflect.TypeOf(a) == reflect.TypeOf(b) && (x == nil) == (y == nil) && (x == nil || x.Error() == y.Error())
}

// failing takes so many bytes and fails then.
type failing int

var errFull = errors.New("full")

func (f *failing) Write(b []byte) (int, error) {
	if len(b) > int(*f) {
		return 0, errFull
	}
	*f -= failing(len(b))
	return len(b), nil
}

// TestWriterSticks checks that a writer that failed, or ended, takes nothing
// more.
func TestWriterSticks(t *testing.T) {
	left := failing(100)
	w := wire.NewWriter(&left)
	if err := w.Frame(make([]byte, 1<<20)); !errors.Is(err, errFull) {
		t.Errorf("frame: %v", err)
	}
	left = 1 << 20
	if err := w.Frame([]byte{1}); !errors.Is(err, errFull) {
		t.Errorf("a second frame: %v", err)
	}
	if err := w.Close(); !errors.Is(err, errFull) {
		t.Errorf("close: %v", err)
	}
	if left != 1<<20 {
		t.Error("something was written after an error")
	}
	var b bytes.Buffer
	w = wire.NewWriter(&b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	n := b.Len()
	if w.Frame(nil) == nil || w.Fail(errFull) == nil || w.Close() == nil || b.Len() != n {
		t.Error("a stream goes on after its end")
	}
}

// TestMemoryFollowsBytes checks that a length that is claimed costs nothing.
func TestMemoryFollowsBytes(t *testing.T) {
	in := header + raw(2, wire.MaxFrame, "few bytes")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const rounds = 100
	for range rounds {
		if _, err := read(strings.NewReader(in), nil); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / rounds; each > 256<<10 {
		t.Errorf("a frame that did not come took %d bytes", each)
	}
}

// FuzzReader checks that no input makes a reader panic, that what it takes is
// bounded by what came, and that a whole stream is written again as it was.
func FuzzReader(f *testing.F) {
	for _, name := range []string{"v1.stream", "v1-refusal.stream"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-3])
	}
	f.Add([]byte(header + raw(2, wire.MaxFrame, "few bytes")))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := wire.NewReader(bytes.NewReader(in))
		var out bytes.Buffer
		w := wire.NewWriter(&out)
		var payloads int
		for {
			rec, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return
			}
			switch rec.Type {
			case wire.IDs:
				ids := rec.IDs()
				payloads += 32 * len(ids)
				err = w.IDs(ids)
			case wire.Frame:
				payloads += len(rec.Frame())
				err = w.Frame(rec.Frame())
			case wire.Wants:
				n := len(rec.Frame())
				payloads += n
				var wants []bool
				if wants, err = rec.Wants(8 * n); err == nil {
					err = w.Wants(wants)
				}
			case wire.Pair:
				p, bad := rec.Pair()
				if bad != nil {
					return
				}
				payloads += 23 + 32*p.Chunks()
				err = w.Pair(p)
			case wire.Delta:
				n, d, bad := rec.Delta()
				if bad != nil {
					return
				}
				payloads += 6 + 4*len(d.Lens) + len(d.Data)
				if d.Open > 0 {
					payloads += 4
				}
				err = w.Delta(n, d)
			case wire.Sketch:
				n, s := rec.Sketch()
				payloads += 4 + 4*len(s)
				err = w.Sketch(n, s)
			default:
				t.Fatalf("record of type %d", rec.Type)
			}
			if err != nil {
				t.Fatal(err)
			}
			if payloads > len(in) {
				t.Fatalf("%d bytes of payload in a stream of %d", payloads, len(in))
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), in) {
			t.Fatalf("%q is written again as %q", in, out.Bytes())
		}
	})
}
