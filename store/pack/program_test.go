package pack

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"satchel/store/zstd"
)

// programBytes returns calls of a few places with other instructions between
// them, as programs have them.
func programBytes(n int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), 4))
	var b []byte
	for len(b) < n {
		b = append(b, 0xe8)
		b = le.AppendUint32(b, uint32(0x400*(1+r.IntN(40))-len(b)-4)) // of a place, from here
		b = append(b, 0x48, 0x89, byte(0xc0+r.IntN(64)), 0x8b, 0x05)
		b = le.AppendUint32(b, uint32(0x200000+8*r.IntN(40)-len(b)-4))
	}
	return b[:n]
}

func TestProgram(t *testing.T) {
	code := programBytes(64 << 10)
	for _, c := range []struct {
		name string
		data []byte
		want bool
	}{
		{"nothing", nil, false},
		{"a program", code, true},
		{"as long as the sample, and a byte more", code[:programSample+1], true},
		{"the least", code[:programLeast], true},
		{"too short", code[:programLeast-1], false},
		{"half of it zeros", append(bytes.Clone(code), make([]byte, len(code))...), true},
		{"zeros", make([]byte, 64<<10), false},
		{"random", randomBytes(64 << 10), false},
		{"text", []byte(strings.Repeat("the quick brown fox", 1000)), false},
		{"e8 alone", bytes.Repeat([]byte{0xe8}, 1<<16), false},
	} {
		if got := program(c.data); got != c.want {
			t.Errorf("%s: program %v, want %v", c.name, got, c.want)
		}
	}
}

// TestProgramsCompressBetter also makes sure that the other tests' programs are
// taken for such.
func TestProgramsCompressBetter(t *testing.T) {
	code := programBytes(100_000)
	frame := AppendFrame(nil, code, []int{len(code)})
	plain := zstd.Append(nil, code)
	if frame[4] != codecX86 || len(frame) > len(plain)*3/4 {
		t.Errorf("codec %d, %d bytes; want codec %d and much less than %d bytes", frame[4], len(frame), codecX86, len(plain))
	}
	c, err := DecodeFrame(frame, nil)
	if err != nil || c.Damage != nil || !bytes.Equal(c.Data, code) {
		t.Errorf("decoded: %v, %v, or other bytes", err, c.Damage)
	}
}

// TestCutOffProgramIsRight: of a frame that was cut off, what comes is right.
func TestCutOffProgramIsRight(t *testing.T) {
	code := programBytes(300_000)
	frame := AppendFrame(nil, code, []int{100_000, 200_000})
	some := 0
	for n := len(frame) - 1; n > frameFixed+8; n -= 997 {
		cut := bytes.Clone(frame[:n])
		le.PutUint32(cut[8:], uint32(n-frameFixed-8)) // the header fits again, the frame does not
		le.PutUint32(cut[16:], headerSum(cut[:frameFixed+8]))
		c, err := DecodeFrame(cut, nil)
		if err != nil || c.Damage == nil {
			t.Fatalf("%d bytes: %v, damage %v; want damage", n, err, c.Damage)
		}
		if !bytes.HasPrefix(code, c.Data) {
			t.Fatalf("%d bytes decode to what never was", n)
		}
		some = max(some, len(c.Data))
	}
	if some < len(code)/2 {
		t.Errorf("at most %d bytes came of %d", some, len(code))
	}
}
