package delta

import (
	"testing"

	"pgregory.net/rapid"
)

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
