package pack

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"satchel/store"
)

var update = flag.Bool("update", false, "write the golden files anew")

// testID stands in for the keyed hash.
func testID(b []byte) store.ID { return sha256.Sum256(b) }

// testFrame makes a frame of the chunks.
func testFrame(chunks ...[]byte) (frame []byte, list []Chunk) {
	var lens []int
	for _, c := range chunks {
		lens = append(lens, len(c))
		list = append(list, Chunk{testID(c), len(c)})
	}
	return AppendFrame(nil, bytes.Join(chunks, nil), lens), list
}

// testPack makes a pack with one frame for each list of chunks.
func testPack(t testing.TB, frames ...[][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	for _, chunks := range frames {
		if _, err := w.Append(testFrame(chunks...)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Size() != int64(b.Len()) {
		t.Errorf("the writer says %d bytes, but wrote %d", w.Size(), b.Len())
	}
	return b.Bytes()
}

// samples is two frames: one that compresses and one that does not.
func samples() [][][]byte {
	noise := make([]byte, 300)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	return [][][]byte{
		{bytes.Repeat([]byte("satchel "), 100), []byte("x"), bytes.Repeat([]byte{0}, 5000)},
		{noise[:100], noise[100:]},
	}
}

// wantFrames checks that a pack holds the frames.
func wantFrames(t testing.TB, b []byte, want [][][]byte) {
	t.Helper()
	r := bytes.NewReader(b)
	frames, err := ReadDirectory(r, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if len(frames) != len(want) {
		t.Fatalf("%d frames, want %d", len(frames), len(want))
	}
	var buf []byte
	for i, f := range frames {
		var c Content
		if c, buf, err = ReadFrame(r, f.Offset, f.Len, buf); err != nil || c.Damage != nil {
			t.Fatalf("frame %d: %v, %v", i, err, c.Damage)
		}
		if !bytes.Equal(c.Data, bytes.Join(want[i], nil)) {
			t.Errorf("frame %d decodes to other bytes", i)
		}
		for j, chunk := range want[i] {
			if c.Lens[j] != len(chunk) || f.Chunks[j] != (Chunk{testID(chunk), len(chunk)}) {
				t.Errorf("frame %d: chunk %d is %v of %d bytes", i, j, f.Chunks[j], c.Lens[j])
			}
		}
	}
}

func TestRoundTrip(t *testing.T) {
	wantFrames(t, testPack(t), nil)
	wantFrames(t, testPack(t, samples()...), samples())
	big := [][]byte{bytes.Repeat([]byte("big"), store.MaxChunk/3)}
	wantFrames(t, testPack(t, big), [][][]byte{big})
}

// TestGolden reads packs that were written when their versions were fixed.
func TestGolden(t *testing.T) {
	program := programBytes(2000)
	for name, want := range map[string][][][]byte{
		"testdata/v1.pack": samples(),
		"testdata/v2.pack": append(samples(), [][]byte{program[:700], program[700:]}),
	} {
		if *update && name == "testdata/v2.pack" {
			if err := os.WriteFile(name, testPack(t, want...), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		wantFrames(t, b, want)
		// The bytes that do not depend on the compressor.
		header := "5341544348454c70" + hex.EncodeToString([]byte{name[len("testdata/v")] - '0', 0, 0, 0})
		if got := hex.EncodeToString(b[:headerSize]); got[:len(header)] != header {
			t.Errorf("%s: header %s, want %s…", name, got, header)
		}
	}
}

func TestIncompressibleIsStoredAsItIs(t *testing.T) {
	chunks := samples()[1]
	frame, _ := testFrame(chunks...)
	if want := frameFixed + 4*len(chunks) + 300; len(frame) != want {
		t.Errorf("frame of %d bytes, want %d", len(frame), want)
	}
}

// TestEveryByteIsCovered flips each bit of a pack: the directory, or the frame
// it lies in, must say so.
func TestEveryByteIsCovered(t *testing.T) {
	whole := testPack(t, samples()...)
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			if !damaged(b) {
				t.Errorf("bit %d of byte %d of %d flips unnoticed", bit, i, len(b))
			}
		}
	}
}

func damaged(b []byte) bool {
	r := bytes.NewReader(b)
	frames, err := ReadDirectory(r, int64(len(b)))
	if err != nil {
		return errors.Is(err, store.ErrCorrupt)
	}
	for _, f := range frames {
		c, _, err := ReadFrame(r, f.Offset, f.Len, nil)
		if err != nil {
			return errors.Is(err, store.ErrCorrupt)
		}
		if c.Damage != nil {
			return true
		}
	}
	return false
}

func TestTruncated(t *testing.T) {
	whole := testPack(t, samples()...)
	for n := range whole {
		if _, err := ReadDirectory(bytes.NewReader(whole[:n]), int64(n)); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%d of %d bytes: %v, want %v", n, len(whole), err, store.ErrCorrupt)
		}
	}
}

func TestNewerVersion(t *testing.T) {
	b := le.AppendUint32([]byte(headerMagic), Version+1)
	b = le.AppendUint32(b, checksum(b))
	b = append(b, "in a form not known yet, but long enough"...)
	_, err := ReadDirectory(bytes.NewReader(b), int64(len(b)))
	if !errors.Is(err, store.ErrNewer) {
		t.Errorf("pack of a newer version: %v, want %v", err, store.ErrNewer)
	}
}

// TestDamagedPayload keeps what comes before the damage.
func TestDamagedPayload(t *testing.T) {
	chunks := samples()[1]
	frame, _ := testFrame(chunks...)
	frame[len(frame)-1] ^= 1
	c, err := DecodeFrame(frame, nil)
	if err != nil || !errors.Is(c.Damage, store.ErrCorrupt) {
		t.Fatalf("damage is told as %v, %v", err, c.Damage)
	}
	if !bytes.Equal(c.Data[:len(chunks[0])], chunks[0]) {
		t.Error("the chunk before the damage is lost")
	}
}

// salvaged lists the chunks that can be had without the directory.
func salvaged(t testing.TB, b []byte) (found []string) {
	t.Helper()
	err := Salvage(bytes.NewReader(b), int64(len(b)), func(_ int64, _ int, c Content) error {
		if c.Damage != nil {
			return nil
		}
		for _, n := range c.Lens {
			found = append(found, string(c.Data[:n]))
			c.Data = c.Data[n:]
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestSalvage(t *testing.T) {
	var all, second []string
	for i, frame := range samples() {
		for _, c := range frame {
			all = append(all, string(c))
			if i == 1 {
				second = append(second, string(c))
			}
		}
	}
	whole := testPack(t, samples()...)
	if got := salvaged(t, whole[:len(whole)-footerSize-1]); !slices.Equal(got, all) {
		t.Errorf("without footer: %d chunks, want %d", len(got), len(all))
	}
	noHeader := bytes.Clone(whole)
	copy(noHeader, make([]byte, headerSize+frameFixed)) // of the first frame, too
	if got := salvaged(t, noHeader); !slices.Equal(got, second) {
		t.Errorf("without the first frame's header: %d chunks, want %d", len(got), len(second))
	}
	shifted := append([]byte("inserted"), whole...)
	if got := salvaged(t, append([]byte("SFRMSFRM"), shifted...)); !slices.Equal(got, all) {
		t.Errorf("moved: %d chunks, want %d", len(got), len(all))
	}
}

// failingWriter fails after some bytes.
type failingWriter struct{ left int }

var errFull = errors.New("full")

func (w *failingWriter) Write(b []byte) (int, error) {
	if len(b) > w.left {
		n := w.left
		w.left = 0
		return n, errFull
	}
	w.left -= len(b)
	return len(b), nil
}

func TestWriterKeepsItsError(t *testing.T) {
	w, err := NewWriter(&failingWriter{left: headerSize + 10})
	if err != nil {
		t.Fatal(err)
	}
	frame, chunks := testFrame([]byte("some bytes"))
	if _, err := w.Append(frame, chunks); !errors.Is(err, errFull) {
		t.Errorf("append: %v, want %v", err, errFull)
	}
	if _, err := w.Append(nil, nil); !errors.Is(err, errFull) {
		t.Errorf("append again: %v, want %v", err, errFull)
	}
	if err := w.Close(); !errors.Is(err, errFull) {
		t.Errorf("close: %v, want %v", err, errFull)
	}
}

func FuzzReadDirectory(f *testing.F) {
	whole := testPack(f, samples()...)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(testPack(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		frames, err := ReadDirectory(bytes.NewReader(b), int64(len(b)))
		if err != nil && !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrNewer) {
			t.Errorf("error of no kind: %v", err)
		}
		for _, f := range frames {
			ReadFrame(bytes.NewReader(b), f.Offset, f.Len, nil)
		}
		salvaged(t, b)
	})
}

// FuzzParseDirectory gets past the checksum, which a fuzzer does not.
func FuzzParseDirectory(f *testing.F) {
	whole := testPack(f, samples()...)
	n := int(le.Uint32(whole[len(whole)-footerSize:]))
	end := len(whole) - footerSize - n
	f.Add(whole[end:len(whole)-footerSize], uint32(2), int64(end))
	f.Fuzz(func(t *testing.T, dir []byte, count uint32, end int64) {
		frames, err := parseDirectory(dir, count, end)
		if err == nil && len(frames) != int(count) {
			t.Errorf("%d frames, want %d", len(frames), count)
		}
		if err != nil && !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("error of no kind: %v", err)
		}
	})
}

// FuzzDecodeFrame makes the checksums right, so that what lies behind them is
// reached.
func FuzzDecodeFrame(f *testing.F) {
	for _, chunks := range append(samples(), [][]byte{programBytes(3000)}) {
		frame, _ := testFrame(chunks...)
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= frameFixed {
			b = bytes.Clone(b)
			copy(b, frameMagic)
			if n := frameFixed + 4*int(le.Uint16(b[6:])); n <= len(b) {
				le.PutUint32(b[12:], checksum(b[n:]))
				le.PutUint32(b[16:], headerSum(b[:n]))
			}
		}
		c, err := DecodeFrame(b, nil)
		if err != nil && !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("error of no kind: %v", err)
		}
		total := 0
		for _, n := range c.Lens {
			total += n
		}
		if err == nil && c.Damage == nil && total != len(c.Data) {
			t.Errorf("%d bytes of chunks in %d bytes", total, len(c.Data))
		}
		if len(c.Data) > MaxFrameData {
			t.Errorf("frame decodes to %d bytes: more than the limit", len(c.Data))
		}
	})
}

func TestWriterRefusesFramesThatNobodyReads(t *testing.T) {
	w, err := NewWriter(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, MaxFrameChunks + 1} {
		if _, err := w.Append([]byte("frame"), make([]Chunk, n)); err == nil {
			t.Errorf("a frame of %d chunks is taken", n)
		}
	}
}
