package dir

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestRestOfAShortWrite takes chunks off piece by piece, as a file system may that
// writes less than it was asked to.
func TestRestOfAShortWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chunks := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 5), 1, 5).Draw(t, "chunks")
		want := bytes.Join(chunks, nil)
		for len(want) > 0 {
			n := rapid.IntRange(0, len(want)).Draw(t, "written")
			chunks, want = rest(chunks, n), want[n:]
			if got := bytes.Join(chunks, nil); !bytes.Equal(got, want) {
				t.Fatalf("left %x, want %x", got, want)
			}
		}
		if len(chunks) > 0 {
			t.Fatalf("left %x, want none", chunks)
		}
	})
}
