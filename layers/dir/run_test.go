package dir

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestRunGoesOnAfterAShortWrite takes a run off piece by piece, as a file system
// may that writes less than it was asked to.
func TestRunGoesOnAfterAShortWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chunks := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 5), 1, 5).Draw(t, "chunks")
		rest := bytes.Join(chunks, nil)
		total := len(rest)
		r := run{chunks: chunks, size: total}
		for len(rest) > 0 {
			n := rapid.IntRange(0, len(rest)).Draw(t, "written")
			r.written(n)
			rest = rest[n:]
			if got := bytes.Join(r.chunks, nil); !bytes.Equal(got, rest) || r.size != len(rest) || r.off != int64(total-len(rest)) {
				t.Fatalf("left %x, %d bytes at %d; want %x", got, r.size, r.off, rest)
			}
		}
		if len(r.chunks) > 0 {
			t.Fatalf("left %x, want none", r.chunks)
		}
	})
}
