package zstd

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// wantBest checks that a frame of src by AppendBest holds that, and returns it.
func wantBest(t testing.TB, src []byte) []byte {
	t.Helper()
	frame := AppendBest([]byte("before"), src)
	if !bytes.HasPrefix(frame, []byte("before")) {
		t.Fatal("what was there is overwritten")
	}
	frame = frame[len("before"):]
	got, err := decode(frame)
	if err != nil || !bytes.Equal(got, src) {
		t.Fatalf("%d bytes come back as %d, error %v", len(src), len(got), err)
	}
	return frame
}

func TestBestOfEverySmallSize(t *testing.T) {
	b := bytes.Repeat([]byte("one two, one two three; "), 20)
	for n := range len(b) {
		wantBest(t, b[:n])
		wantBest(t, mixed(uint64(n), n))
	}
}

func TestBestBringsAnyBytesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{10, 300, 5000, blockSize - 1, blockSize + 3, 300_000}).Draw(t, "size")
		b := mixed(rapid.Uint64().Draw(t, "seed"), size)
		got, err := decode(AppendBest(nil, b))
		if err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%d bytes come back as %d, error %v", len(b), len(got), err)
		}
	})
}

// TestBestOfNoiseBetween has a block that is stored, of which a decoder learns no
// distances, between others.
func TestBestOfNoiseBetween(t *testing.T) {
	noise := make([]byte, blockSize)
	r := rand.New(rand.NewPCG(2, 2))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	text := mixed(7, blockSize)
	b := bytes.Join([][]byte{text, noise, text, noise[:1000], noise, make([]byte, 2*blockSize)}, nil)
	if frame := wantBest(t, b); len(frame) > 2*blockSize {
		t.Errorf("%d bytes, of which little is new, become %d", len(b), len(frame))
	}
}

// TestBestIsSmaller compresses this package.
func TestBestIsSmaller(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var src []byte
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		src = append(src, b...)
	}
	if best, quick := len(wantBest(t, src)), len(Append(nil, src)); best > quick*93/100 {
		t.Errorf("AppendBest makes %d bytes of %d: Append makes %d", best, len(src), quick)
	}
}

func FuzzBest(f *testing.F) {
	f.Add([]byte("one two, one two three; one two"))
	f.Add(bytes.Repeat([]byte{0}, 3000))
	f.Add(mixed(1, 3000))
	f.Fuzz(func(t *testing.T, b []byte) { wantBest(t, b) })
}

func BenchmarkBest(b *testing.B) {
	src := mixed(1, 512<<10)
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		AppendBest(nil, src)
	}
}
