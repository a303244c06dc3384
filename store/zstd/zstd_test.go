package zstd

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	decoder "github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// decode has another implementation read a frame.
var decode = func() func(b []byte) ([]byte, error) {
	d, err := decoder.NewReader(nil)
	if err != nil {
		panic(err) // no options
	}
	return func(b []byte) ([]byte, error) { return d.DecodeAll(b, nil) }
}()

// wantBack checks that a frame of src holds that, and returns the frame.
func wantBack(t testing.TB, src []byte) []byte {
	t.Helper()
	frame := Append([]byte("before"), src)
	if !bytes.HasPrefix(frame, []byte("before")) {
		t.Fatal("what was there is overwritten")
	}
	frame = frame[len("before"):]
	got, err := decode(frame)
	if err != nil {
		t.Fatalf("a frame of %d bytes is read: %v", len(src), err)
	}
	if !bytes.Equal(got, src) {
		t.Fatalf("a frame of %d bytes holds %d other bytes", len(src), len(got))
	}
	if most := len(src) + 13 + 3*(len(src)/blockSize+1); len(frame) > most {
		t.Errorf("%d bytes become %d", len(src), len(frame))
	}
	return frame
}

// mixed returns bytes of several kinds in turn: random ones from alphabets of all
// sizes, repetitions from near and far, runs of one byte.
func mixed(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 5))
	b := make([]byte, 0, size+size/4)
	for len(b) < size {
		n := 1 + r.IntN(1<<r.IntN(18))
		switch from := r.IntN(4); {
		case from < 2 && len(b) > 0:
			start := len(b) - 1 - r.IntN(len(b))
			if from == 1 {
				start = max(start, len(b)-1-r.IntN(200))
			}
			for k := range n {
				b = append(b, b[start+k])
			}
		case from == 2:
			b = append(b, bytes.Repeat([]byte{byte(r.Uint32())}, n/64)...)
		default:
			letters := 1 + r.IntN(1<<r.IntN(9))
			for range n / 16 {
				b = append(b, byte(r.IntN(letters)*37))
			}
		}
	}
	return b[:size]
}

func TestEverySmallSize(t *testing.T) {
	b := []byte(strings.Repeat("one two, one two three; ", 20))
	for n := range len(b) {
		wantBack(t, b[:n])
		wantBack(t, mixed(uint64(n), n))
	}
}

func TestSizesAroundLimits(t *testing.T) {
	b := mixed(1, 2<<20)
	for _, n := range []int{
		blockSize - 1, blockSize, blockSize + 1, blockSize + tail, 4*blockSize - 1, 512 << 10,
		1<<placeBits - 1, 1 << placeBits, 1<<placeBits + 1, 1<<placeBits + blockSize + 1, len(b),
		255, 256, 1<<16 + 255, 1<<16 + 256,
	} {
		wantBack(t, b[:n])
	}
}

func TestAnyBytesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{10, 300, 5000, 140_000, 700_000}).Draw(t, "size")
		b := mixed(rapid.Uint64().Draw(t, "seed"), size)
		got, err := decode(Append(nil, b))
		if err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%d bytes come back as %d, error %v", len(b), len(got), err)
		}
	})
}

// TestRunsOfOneKind has sequences and literals that take the rarer forms.
func TestRunsOfOneKind(t *testing.T) {
	noise := make([]byte, 300_000)
	r := rand.New(rand.NewPCG(2, 2))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	for name, c := range map[string]struct {
		data []byte
		most int // bytes of the frame
	}{
		"zeros":           {make([]byte, 1<<20), 200},
		"noise":           {noise, len(noise) + 20},
		"noise twice":     {slices.Concat(noise[:60_000], noise[:60_000]), 60_100},
		"zeros and noise": {slices.Concat(noise, make([]byte, 300_000), noise), len(noise) + 2000},
		"noise and text":  {slices.Concat(noise, bytes.Repeat([]byte("all work and no play "), 9000)), len(noise) + 2000},
		"one word often":  {bytes.Repeat([]byte("satchel "), 100_000), 300},
		"few letters":     {bytes.Map(func(r rune) rune { return 'a' + r&3 }, bytes.Repeat(fmt.Appendf(nil, "%d", noise[:9999]), 3)), 60_000},
	} {
		if frame := wantBack(t, c.data); len(frame) > c.most {
			t.Errorf("%s: %d bytes become %d, want at most %d", name, len(c.data), len(frame), c.most)
		}
	}
}

// TestSameBytesSameFrame: what was compressed before does not matter.
func TestSameBytesSameFrame(t *testing.T) {
	b := mixed(7, 400_000)
	first := Append(nil, b)
	for seed := range uint64(5) {
		Append(nil, mixed(seed, 300_000))
		if !bytes.Equal(Append(nil, b), first) {
			t.Fatal("the same bytes give another frame")
		}
	}
}

// TestOffsetsReachFar: a match is found as far back as a run goes.
func TestOffsetsReachFar(t *testing.T) {
	far := mixed(3, 2000)
	b := slices.Concat(far, mixed(4, 900_000), far)
	alone := len(wantBack(t, b[:len(b)-len(far)]))
	if more := len(wantBack(t, b)) - alone; more > 400 {
		t.Errorf("a repetition takes %d bytes", more)
	}
}

// TestSharesAddUp: states are shared out whole, and every symbol that occurs has one.
func TestSharesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		counts := rapid.SliceOfN(rapid.SampledFrom([]uint32{0, 0, 1, 1, 2, 50, 3000}), 2, 53).Draw(t, "counts")
		counts[0]++
		counts[len(counts)-1]++
		n := uint32(0)
		for _, c := range counts {
			n += c
		}
		var f fseTable
		f.normalize(counts, n, rapid.SampledFrom([]uint{8, 9}).Draw(t, "longest"))
		sum := 0
		for i, share := range f.norm {
			sum += int(share)
			if share < 0 || share > 0 != (counts[i] > 0) {
				t.Fatalf("of counts %v symbol %d has share %d", counts, i, share)
			}
		}
		if sum != 1<<f.log {
			t.Fatalf("shares of %v add up to %d, want %d", counts, sum, 1<<f.log)
		}
	})
}

func FuzzAppend(f *testing.F) {
	f.Add([]byte("some words, some words, and some more words"), uint16(3))
	f.Add(mixed(1, 3000), uint16(100))
	f.Fuzz(func(t *testing.T, b []byte, times uint16) {
		wantBack(t, b)
		if len(b) > 0 { // what a fuzzer finds, among more
			wantBack(t, slices.Concat(bytes.Repeat(b, 1+int(times)%300), mixed(uint64(times), 500), b))
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	src := mixed(9, 512<<10)
	var dst []byte
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		dst = Append(dst[:0], src)
	}
}
