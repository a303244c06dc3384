package delta

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
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

// TestAddressesTurnBack also checks that a view shows what toAddresses makes.
func TestAddressesTurnBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := code(t)
		offset := rapid.Int64().Draw(t, "offset")
		turned := bytes.Clone(b)
		toAddresses(turned, offset)

		var v view
		v.reset(Span{Data: b, Offset: offset}, true)
		from := rapid.IntRange(0, len(b)).Draw(t, "from")
		shown := make([]byte, rapid.IntRange(0, len(b)-from).Draw(t, "bytes"))
		v.read(shown, from)
		if !bytes.Equal(shown, turned[from:from+len(shown)]) {
			t.Fatalf("view shows % x, want % x", shown, turned[from:from+len(shown)])
		}

		toDistances(turned, offset)
		if !bytes.Equal(turned, b) {
			t.Fatalf("turned back: % x, want % x", turned, b)
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
			toAddresses(b, at)
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
		toAddresses(turned, offset)
		toDistances(turned, offset)
		if !bytes.Equal(turned, b) {
			t.Error("bytes did not come back")
		}
	})
}

func TestNumberComesThrough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Uint32Max(1<<28-1), 1, 200).Draw(t, "values")
		for _, v := range values[:len(values):len(values)] {
			values = append(values, v>>(v%28)) // small ones too
		}
		var c coder
		var m number
		m.reset()
		c.reset(false, nil)
		for _, v := range values {
			m.code(&c, v)
			c.bits(1+uint(v%12), v&1)
		}
		in := c.finish()
		m.reset()
		c.reset(true, in)
		for i, v := range values {
			if got := m.code(&c, 0); got != v {
				t.Fatalf("number %d is %d, want %d", i, got, v)
			}
			if got := c.bits(1+uint(v%12), 0); got != v&1 {
				t.Fatalf("bits after number %d are %d, want %d", i, got, v&1)
			}
		}
		if c.pos != len(in) {
			t.Fatalf("read %d of %d bytes", c.pos, len(in))
		}
	})
}
