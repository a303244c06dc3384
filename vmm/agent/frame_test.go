package agent

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

// golden are the frames of docs/format/agent.md, in the order of
// testdata/frames.txt.
var golden = []Frame{
	{TypeHello, 0, []byte(`{"protocol":1,"nonce":"N"}`)},
	{TypeWelcome, 0, []byte(`{"protocol":1,"nonce":"N","info":{"kernel":"6.1.0","hostname":"spruce","os":"Debian","uptime_ns":5}}`)},
	{TypeRequest, 1, []byte(`{"op":"exec","exec":{"argv":["true"]}}`)},
	{TypeStdin, 1, nil},
	{TypeStdout, 1, []byte("hi\n")},
	{TypeStderr, 1, []byte{0xA5, 'S', 1}},
	{TypeCredit, 1, []byte{0, 0, 1, 0}},
	{TypeSignal, 1, []byte{2, 0, 0, 0}},
	{TypeResize, 1, []byte{24, 0, 80, 0}},
	{TypeReply, 1, []byte(`{"code":7}`)},
	{TypeClose, 0xFFFFFFFF, nil},
}

func TestGoldenFrames(t *testing.T) {
	text, err := os.ReadFile("testdata/frames.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != len(golden) {
		t.Fatalf("%d lines for %d frames", len(lines), len(golden))
	}
	for i, f := range golden {
		if got := hex.EncodeToString(AppendFrame(nil, f)); got != lines[i] {
			t.Errorf("frame %d:\n got %s\nwant %s", i, got, lines[i])
		}
	}
}

func equal(a, b Frame) bool {
	return a.Type == b.Type && a.Stream == b.Stream && bytes.Equal(a.Payload, b.Payload)
}

// encoded are all golden frames, with between after each.
func encoded(between []byte) []byte {
	var b []byte
	for _, f := range golden {
		b = append(AppendFrame(b, f), between...)
	}
	return b
}

func TestReaderFindsFrames(t *testing.T) {
	half := AppendFrame(nil, Frame{TypeStdin, 9, bytes.Repeat([]byte("x"), MaxPayload)})[:1000]
	tooLong := []byte{magic0, magic1, version, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0}
	for name, tt := range map[string]struct{ before, between []byte }{
		"nothing else":        {},
		"garbage before":      {before: []byte("GRUB loading.\xA5\xA5S")},
		"garbage between":     {between: []byte{magic0, magic1, version, 0xA5}},
		"length out of range": {between: tooLong},
		"half a frame":        {before: append(half, preamble()...)},
		"bad checksum":        {before: append(AppendFrame(nil, golden[0])[:20], '!')},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(iotest.HalfReader(io.MultiReader(bytes.NewReader(tt.before), bytes.NewReader(encoded(tt.between)), bytes.NewReader(preamble()))))
			for i, want := range golden {
				got, err := r.Next()
				if err != nil || !equal(got, want) {
					t.Fatalf("frame %d: %.100v, %v; want %v", i, got, err, want)
				}
			}
			if f, err := r.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("after the last frame: %v, %v", f, err)
			}
		})
	}
}

func TestReaderStrict(t *testing.T) {
	r := NewReader(bytes.NewReader(append(AppendFrame(nil, golden[0]), "junk"...)))
	r.Strict = true
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); !errors.Is(err, ErrGarbled) {
		t.Errorf("junk: %v, want ErrGarbled", err)
	}
}

func TestReaderNamesVersions(t *testing.T) {
	b := AppendFrame(nil, Frame{TypeHello, 0, nil})
	b[2] = 9
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[:12], castagnoli))
	_, err := NewReader(bytes.NewReader(b)).Next()
	if err == nil || !strings.Contains(err.Error(), "version 9: this build reads version 1") {
		t.Errorf("got %v", err)
	}
}

// FuzzReader checks that any bytes give frames that encode to what was read,
// and never more than was there.
func FuzzReader(f *testing.F) {
	f.Add(encoded(nil))
	f.Add(encoded([]byte{magic0}))
	f.Add(append(preamble(), encoded([]byte("x"))...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		for {
			frame, err := r.Next()
			if err != nil {
				return
			}
			if !bytes.Contains(b, AppendFrame(nil, frame)) {
				t.Fatalf("frame %v is not in the input", frame)
			}
		}
	})
}
