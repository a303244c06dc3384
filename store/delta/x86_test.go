package delta

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"satchel/store/x86"
)

// code draws bytes among which there are many that look like references.
func code(t *rapid.T) []byte {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	frequent := []byte{0xe8, 0xe9, 0x0f, 0x84, 0x8b, 0x05, 0x0d, 0x00, 0xff}
	b := make([]byte, rapid.IntRange(0, 400).Draw(t, "length"))
	for i := range b {
		b[i] = byte(r.Uint32())
		if r.IntN(2) == 0 {
			b[i] = frequent[r.IntN(len(frequent))]
		}
	}
	return b
}

// TestViewShowsAddresses: a view shows what x86.ToAddresses makes.
func TestViewShowsAddresses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := code(t)
		offset := rapid.Int64().Draw(t, "offset")
		turned := bytes.Clone(b)
		x86.ToAddresses(turned, offset)

		var v view
		v.reset(Span{Data: b, Offset: offset}, true)
		from := rapid.IntRange(0, len(b)).Draw(t, "from")
		shown := make([]byte, rapid.IntRange(0, len(b)-from).Draw(t, "bytes"))
		v.read(shown, from)
		if !bytes.Equal(shown, turned[from:from+len(shown)]) {
			t.Fatalf("view shows % x, want % x", shown, turned[from:from+len(shown)])
		}
	})
}
