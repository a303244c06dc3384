package x86

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// code draws bytes among which there are many that look like references.
func code(t *rapid.T) []byte {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	frequent := []byte{0xe8, 0xe9, 0x0f, 0x84, 0x8b, 0x05, 0x0d, 0x00, 0xff}
	most := rapid.SampledFrom([]int{400, 3*area + 100}).Draw(t, "most")
	b := make([]byte, rapid.IntRange(0, most).Draw(t, "length"))
	for i := range b {
		b[i] = byte(r.Uint32())
		if r.IntN(2) == 0 {
			b[i] = frequent[r.IntN(len(frequent))]
		}
	}
	return b
}

// opcodes may have a relative operand.
var opcodes, _ = hex.DecodeString("030f1011282b38393a3b54575859636e6f7e80838588898a8b8db6b7c6c7d6dbebeff6ff")

// specified finds operands by the letter of docs/format/delta-codec.md.
func specified(b []byte) (at []int) {
	for i := 0; i+6 <= len(b); i++ {
		switch c := b[i]; {
		case c == 0xe8 || c == 0xe9:
			at = append(at, i+1)
		case c == 0x0f && b[i+1] >= 0x80 && b[i+1] <= 0x8f, b[i+1]&0xc7 == 0x05 && bytes.IndexByte(opcodes, c) >= 0:
			at = append(at, i+2)
		default:
			continue
		}
		i = at[len(at)-1] + Size - 1
	}
	return at
}

func TestNextFindsWhatIsSpecified(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := code(t)
		var got []int
		for at := Next(b, 0); at < len(b); at = Next(b, at+Size) {
			got = append(got, at)
		}
		if want := specified(b); !slices.Equal(got, want) {
			t.Fatalf("operands at %d, want %d, in % x", got, want, b)
		}
	})
}

// TestOperandsAreThoseOfNext turns what it finds before it goes on.
func TestOperandsAreThoseOfNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := code(t)
		want := specified(b)
		var got []int
		for from := 0; from < len(b); {
			var at places
			n, next := operands(b, from, &at)
			for _, i := range at[:n] {
				got = append(got, i)
				be.PutUint32(b[i:], ^le.Uint32(b[i:]))
			}
			from = next
		}
		if !slices.Equal(got, want) {
			t.Fatalf("operands at %d, want %d", got, want)
		}
	})
}

// TestEveryPairOfBytes has each pair of bytes where vectors look for opcodes.
func TestEveryPairOfBytes(t *testing.T) {
	for pair := range 1 << 16 {
		b := bytes.Repeat([]byte{0x90}, area+100)
		i := pair % area
		b[i], b[i+1] = byte(pair), byte(pair>>8)
		var at places
		n, _ := operands(b, 0, &at)
		if want := specified(b[:i+50]); !slices.Equal(at[:n], want) {
			t.Fatalf("% x at %d: operands at %d, want %d", b[i:i+2], i, at[:n], want)
		}
	}
}

func TestAddressesTurnBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := code(t)
		offset := rapid.Int64().Draw(t, "offset")
		turned := bytes.Clone(b)
		ToAddresses(turned, offset)
		ToDistances(turned, offset)
		if !bytes.Equal(turned, b) {
			t.Fatalf("turned back: % x, want % x", turned, b)
		}
	})
}

// TestCutOffRunSpoilsFourBytes: what is missing at the end of a run spoils no more
// than the last four bytes before that.
func TestCutOffRunSpoilsFourBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := code(t)
		turned := bytes.Clone(b)
		ToAddresses(turned, 0)
		n := rapid.IntRange(0, len(b)).Draw(t, "bytes that are left")
		ToDistances(turned[:n], 0)
		if sure := max(0, n-Size); n < len(b) && !bytes.Equal(turned[:sure], b[:sure]) {
			t.Fatalf("of %d bytes the first %d turned back: % x, want % x", len(b), n, turned[:sure], b[:sure])
		}
	})
}

func TestAddressIsOneToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pc := rapid.Int32Range(0, addresses-1).Draw(t, "pc")
		near := rapid.SampledFrom([]int32{0, -pc, addresses - pc, addresses}).Draw(t, "bound")
		for _, d := range []int32{near - 1, near, near + 1, rapid.Int32().Draw(t, "distance")} {
			if got := distance(address(d, pc), pc); got != d {
				t.Fatalf("distance %d from %d came back as %d", d, pc, got)
			}
		}
	})
}

// TestCallsOfOnePlaceBecomeEqual moves calls and jumps of one function.
func TestCallsOfOnePlaceBecomeEqual(t *testing.T) {
	const to = 0x123456
	for _, opcode := range [][]byte{{0xe8}, {0xe9}, {0x0f, 0x84}, {0x8d, 0x05}} {
		for _, at := range []int64{0x1000, 0x777777} {
			b := append(bytes.Clone(opcode), 0, 0, 0, 0, 0, 0)
			le.PutUint32(b[len(opcode):], uint32(to-(at+int64(len(opcode))+4)))
			ToAddresses(b, at)
			if got := be.Uint32(b[len(opcode):]); got != to {
				t.Errorf("opcode % x at %#x: address %#x, want %#x", opcode, at, got, to)
			}
		}
	}
}

func FuzzAddresses(f *testing.F) {
	f.Add([]byte("\xe8\x00\x10\x00\x00\x0f\x85\x00\x00\x00\x10"), int64(5))
	f.Fuzz(func(t *testing.T, b []byte, offset int64) {
		turned := bytes.Clone(b)
		ToAddresses(turned, offset)
		ToDistances(turned, offset)
		if !bytes.Equal(turned, b) {
			t.Error("bytes did not come back")
		}
	})
}
