package pack

import (
	"bytes"
	"strings"
	"testing"
)

// TestBestFrames checks that frames which took longer are frames like all others.
func TestBestFrames(t *testing.T) {
	text := []byte(strings.Repeat("the quick brown fox ", 500) + strings.Repeat("the slow brown dog ", 500))
	for name, c := range map[string]struct {
		data  []byte
		codec byte
	}{
		"text":      {text, codecZstd},
		"a program": {programBytes(100_000), codecX86},
		"random":    {randomBytes(5000), codecRaw},
	} {
		lens := []int{1000, len(c.data) - 1000}
		frame := AppendBestFrame([]byte("before"), c.data, lens)
		frame, ok := bytes.CutPrefix(frame, []byte("before"))
		if !ok || frame[4] != c.codec || Compressed(frame) != (c.codec != codecRaw) {
			t.Fatalf("%s: codec %d, want %d; what was there is kept: %v", name, frame[4], c.codec, ok)
		}
		if n := len(AppendFrame(nil, c.data, lens)); len(frame) > n {
			t.Errorf("%s: %d bytes; AppendFrame makes %d", name, len(frame), n)
		}
		got, err := DecodeFrame(frame, nil)
		if err != nil || got.Damage != nil || !bytes.Equal(got.Data, c.data) {
			t.Errorf("%s comes back as %d bytes, error %v, damage %v", name, len(got.Data), err, got.Damage)
		}
		if _, err := CheckFrame(frame); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if Compressed(nil) {
		t.Error("nothing is no compressed frame")
	}
}
