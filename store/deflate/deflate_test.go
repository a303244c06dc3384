package deflate_test

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"satchel/store"
	"satchel/store/deflate"
)

var update = flag.Bool("update", false, "write the vectors in testdata anew")

// text makes up n bytes that compress as text does.
func text(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 3))
	var words [200]string
	for i := range words {
		for range 2 + r.IntN(8) {
			words[i] += string(rune('a' + r.IntN(26)))
		}
	}
	var b []byte
	for len(b) < n {
		b = append(append(b, words[int(r.ExpFloat64()*30)%200]...), ' ')
	}
	return b[:n]
}

// archive returns a zip archive of files.
func archive(t testing.TB, level int, files ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, level) })
	for i, data := range files {
		w, err := z.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("file%d.xml", i), Method: zip.Deflate})
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// gzipped returns a file of gzip.
func gzipped(t testing.TB, h gzip.Header, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Header = h
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestOpens opens what the libraries write, and closes it again.
func TestOpens(t *testing.T) {
	noise := make([]byte, 100_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // never fails
	for name, run := range map[string][]byte{
		"zip":              archive(t, 6, text(1, 300_000), text(2, 5_000)),
		"zip, fast":        archive(t, 1, text(1, 300_000)),
		"zip, best":        archive(t, 9, text(1, 300_000)),
		"no copies":        archive(t, flate.HuffmanOnly, text(1, 300_000)),
		"fixed codes":      archive(t, 6, text(1, 100), bytes.Repeat([]byte("ab"), 30_000)),
		"nothing to save":  archive(t, 6, noise),
		"long copies":      archive(t, 6, make([]byte, 300_000), text(1, 2000)),
		"gzip":             gzipped(t, gzip.Header{}, text(3, 100_000)),
		"gzip with a name": gzipped(t, gzip.Header{Name: "a.txt", Comment: "b", Extra: []byte("xy")}, text(3, 100_000)),
		"two of gzip":      slices.Concat(gzipped(t, gzip.Header{}, text(3, 100_000)), []byte("x"), gzipped(t, gzip.Header{}, text(4, 100_000))),
		"in between":       slices.Concat(noise, archive(t, 6, text(1, 100_000))[:], []byte("PK\x03\x04"), noise),
		"heads of nothing": slices.Concat(bytes.Repeat([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00"), 50), gzipped(t, gzip.Header{}, text(3, 100_000))),
	} {
		open, ok := deflate.Open([]byte("before"), run)
		if !ok {
			t.Errorf("%s: not opened", name)
			continue
		}
		got, err := deflate.Close([]byte("before"), open[6:], len(run))
		if err != nil || string(got) != "before"+string(run) {
			t.Errorf("%s: closed to %d bytes, not the %d there were: %v", name, len(got)-6, len(run), err)
		}
		if name != "nothing to save" && name != "in between" && bytes.Equal(open[6:], run) {
			t.Errorf("%s: opened to what it was", name)
		}
		if _, err := deflate.Close(nil, open[6:], len(run)-1); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: closed to more than the limit: %v", name, err)
		}
	}
	for name, run := range map[string][]byte{
		"nothing":    nil,
		"text":       text(1, 10_000),
		"noise":      noise,
		"a head":     []byte("PK\x03\x04"),
		"only heads": bytes.Repeat([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00"), 1000),
		"cut off":    archive(t, 6, text(1, 300_000))[:10_000],
		"too short":  archive(t, 6, text(1, 30)),
		"too long":   slices.Concat(archive(t, 6, text(1, 300_000)), make([]byte, deflate.MaxRun)),
	} {
		if open, ok := deflate.Open([]byte("before"), run); ok || string(open) != "before" {
			t.Errorf("%s: opened to %d bytes", name, len(open))
		}
	}
}

// TestEditsStaySmall checks what it is all for: the open forms of archives that
// differ little have nearly all in common.
func TestEditsStaySmall(t *testing.T) {
	old := text(1, 400_000)
	edited := slices.Concat(old[:200_000], []byte("a new paragraph"), old[200_000:])
	common := func(a, b []byte) (n int) {
		const window = 32
		has := map[string]bool{}
		for i := 0; i+window <= len(a); i++ {
			has[string(a[i:i+window])] = true
		}
		for i := 0; i+window <= len(b); i += window {
			if has[string(b[i:i+window])] {
				n += window
			}
		}
		return n
	}
	a, b := archive(t, 6, old), archive(t, 6, edited)
	if n := common(a, b); n > len(b)*6/10 {
		t.Fatalf("%d of %d bytes are the same as they are", n, len(b))
	}
	x, _ := deflate.Open(nil, a)
	y, _ := deflate.Open(nil, b)
	if n := common(x, y); n < len(y)*9/10 {
		t.Errorf("%d of %d bytes of the open forms are the same", n, len(y))
	}
}

// TestWorkIsBounded opens runs that were made to take long.
func TestWorkIsBounded(t *testing.T) {
	var w bytes.Buffer
	f, _ := flate.NewWriter(&w, 6)
	for i := range 20_000 { // each a block, and an empty one
		_, _ = f.Write(text(uint64(i), 30))
		_ = f.Flush()
	}
	_ = f.Close()
	if _, ok := deflate.Open(nil, slices.Concat([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00"), w.Bytes())); ok {
		t.Error("a stream of too many blocks was opened")
	}
	// Each head seems to begin a stream that reaches to the end.
	cut := archive(t, 6, text(1, 3<<20))
	cut = cut[:len(cut)-5000]
	heads := bytes.Repeat(cut[:100], 1000)
	if _, ok := deflate.Open(nil, slices.Concat(heads, cut[100:])); ok {
		t.Error("a stream that was cut off was opened")
	}
}

// TestGolden holds the open form.
func TestGolden(t *testing.T) {
	// One stored block, one of fixed codes, one of its own.
	var stream []byte
	stream = append(stream, 0x00, 0x05, 0x00, 0xfa, 0xff)
	stream = append(stream, "Hello"...)
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 9)
	_, _ = w.Write([]byte("aab aab aab"))
	_ = w.Flush()
	_, _ = w.Write(text(1, 3000))
	_ = w.Close()
	run := slices.Concat([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00"), stream, b.Bytes(), []byte("the end"))
	in, out := filepath.Join("testdata", "v1.run"), filepath.Join("testdata", "v1.open")
	if *update {
		open, _ := deflate.Open(nil, run)
		if err := errors.Join(os.WriteFile(in, run, 0o644), os.WriteFile(out, open, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	run, err := os.ReadFile(in)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	open, ok := deflate.Open(nil, run)
	if !ok || !bytes.Equal(open, want) {
		t.Errorf("opened to %q, want %q", open, want)
	}
	if got, err := deflate.Close(nil, want, len(run)); err != nil || !bytes.Equal(got, run) {
		t.Errorf("closed to %q, %v", got, err)
	}
}

// TestEveryLevel opens and closes archives at random.
func TestEveryLevel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := text(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 60_000).Draw(t, "length"))
		for range rapid.IntRange(0, 3).Draw(t, "repeats") {
			at := rapid.IntRange(0, len(data)-1).Draw(t, "at")
			data = slices.Insert(data, at, bytes.Repeat(data[at:at+1], rapid.IntRange(1, 1000).Draw(t, "times"))...)
		}
		var b bytes.Buffer
		w, _ := flate.NewWriter(&b, rapid.IntRange(-2, 9).Draw(t, "level"))
		_, _ = w.Write(data)
		_ = w.Close()
		run := slices.Concat([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00"), b.Bytes(), []byte("sum"))
		open, ok := deflate.Open(nil, run)
		if !ok {
			if b.Len() >= 64 {
				t.Fatalf("a stream of %d bytes was not opened", b.Len())
			}
			return
		}
		if got, err := deflate.Close(nil, open, len(run)); err != nil || !bytes.Equal(got, run) {
			t.Fatalf("closed to %d bytes, not %d: %v", len(got), len(run), err)
		}
	})
}

// FuzzOpen checks that what is opened closes to what it was.
func FuzzOpen(f *testing.F) {
	f.Add(archive(f, 6, text(1, 3000), []byte("short")))
	f.Add(archive(f, 0, text(1, 300)))
	f.Add(gzipped(f, gzip.Header{Name: "a"}, text(1, 300)))
	run, err := os.ReadFile(filepath.Join("testdata", "v1.run"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(run)
	f.Fuzz(func(t *testing.T, run []byte) {
		// What is changed at random is hardly ever a stream with a head.
		for _, run := range [][]byte{run, slices.Concat([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00"), run)} {
			open, ok := deflate.Open(nil, run)
			if !ok {
				continue
			}
			if got, err := deflate.Close(nil, open, len(run)); err != nil || !bytes.Equal(got, run) {
				t.Fatalf("%x was opened to %x and closed to %x: %v", run, open, got, err)
			}
		}
	})
}

// FuzzClose checks that no open form makes more than it may, or panics.
func FuzzClose(f *testing.F) {
	open, err := os.ReadFile(filepath.Join("testdata", "v1.open"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(open, 10_000)
	f.Add(binary.AppendUvarint(nil, 1<<40), 10)
	f.Fuzz(func(t *testing.T, open []byte, limit int) {
		limit = min(max(limit, 0), 1<<20)
		got, err := deflate.Close([]byte("before"), open, limit)
		if len(got)-6 > limit || string(got[:6]) != "before" || err != nil && (len(got) != 6 || !errors.Is(err, store.ErrCorrupt)) {
			t.Fatalf("%d bytes where %d are allowed: %v", len(got)-6, limit, err)
		}
	})
}
