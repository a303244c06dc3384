package pack

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
)

func randomBytes(n int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), 3))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// deflated returns compressed text, which is less even than random bytes.
func deflated(t *testing.T, n int) []byte {
	t.Helper()
	var text strings.Builder
	r := rand.New(rand.NewPCG(1, 1))
	for text.Len() < 8*n {
		text.WriteString([]string{"store ", "chunk ", "frame ", "pack ", "index\n"}[r.IntN(5)])
		text.WriteString(hex.EncodeToString([]byte{byte(r.Uint32())}))
	}
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text.String())); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()[:n]
}

func TestDense(t *testing.T) {
	half := append(randomBytes(32<<10), make([]byte, 32<<10)...)
	for _, c := range []struct {
		name string
		data []byte
		want bool
	}{
		{"nothing", nil, false},
		{"random, but short", randomBytes(denseLeast - 1), false},
		{"random, just long enough", randomBytes(denseLeast), true},
		{"random, a byte more than the sample", randomBytes(denseSample + 1), true},
		{"random, the longest chunk", randomBytes(4 << 20), true},
		{"compressed text", deflated(t, 64<<10), true},
		{"random in hexadecimal", []byte(hex.EncodeToString(randomBytes(32 << 10))), false},
		{"random without the top bit", maskTop(randomBytes(64 << 10)), false},
		{"half of it zeros", half, false},
		{"text", bytes.Repeat([]byte("the quick brown fox"), 1000), false},
	} {
		if got := Dense(c.data); got != c.want {
			t.Errorf("%s: dense %v, want %v", c.name, got, c.want)
		}
	}
}

func maskTop(b []byte) []byte {
	for i := range b {
		b[i] &= 0x7F
	}
	return b
}
