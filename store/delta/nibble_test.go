package delta

import (
	"testing"

	"pgregory.net/rapid"
)

// TestMixedComesThrough codes values by models that know much, little or wrong,
// and wants them back, and chances that are chances after each.
func TestMixedComesThrough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Uint32Max(15), 1, 500).Draw(t, "values")
		for _, v := range values[:len(values):len(values)] {
			for range v * 4 { // runs make the models sure
				values = append(values, v)
			}
		}
		models := func(code func(i int, m []nibble, w *weights)) {
			m := evenNibbles(nil, 7)
			w := weights{allWeights / 3, allWeights / 3, allWeights / 3}
			for i := range values {
				code(i, m[:], &w)
				if sum := w[0] + w[1] + w[2]; sum > allWeights || min(w[0], w[1], w[2]) < leastWeight {
					t.Fatalf("weights %v after value %d", w, i)
				}
				checkNibble(t, &m[i%4])
			}
		}
		var c coder
		c.reset(false, nil)
		models(func(i int, m []nibble, w *weights) {
			codeMixed(&c, values[i], &m[i%4], &m[4+i%2], &m[6], w)
		})
		in := c.finish()
		c.reset(true, in)
		models(func(i int, m []nibble, w *weights) {
			if got := codeMixed(&c, 0, &m[i%4], &m[4+i%2], &m[6], w); got != values[i] {
				t.Fatalf("value %d is %d, want %d", i, got, values[i])
			}
		})
		if c.pos != len(in) {
			t.Fatalf("read %d of %d bytes", c.pos, len(in))
		}
	})
}

// checkNibble wants chances that add up.
func checkNibble(t *rapid.T, n *nibble) {
	sum := uint64(0)
	for v := range uint32(16) {
		p := n.chance(v)
		if p > nibbleOne {
			t.Fatalf("chance of %d is %d", v, p)
		}
		sum += p
	}
	if sum != nibbleOne {
		t.Fatalf("chances add up to %d, want %d", sum, nibbleOne)
	}
}

// TestNibbleLearns wants a value that comes often to be likely.
func TestNibbleLearns(t *testing.T) {
	for v := range uint32(16) {
		n := evenNibble
		for range 100 {
			n.learn(v)
		}
		if p := n.chance(v); p < nibbleOne/100*95 {
			t.Errorf("after 100 times %d its chance is %d of %d", v, p, nibbleOne)
		}
	}
}

// TestStoredComesThrough stores bytes between other values.
func TestStoredComesThrough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		runs := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 40), 1, 20).Draw(t, "runs")
		var m model
		m.reset(0, 1000)
		m.c.reset(false, nil)
		for _, b := range runs {
			m.store(b)
			m.isMatch(0, len(b)%2 == 0)
		}
		in := m.c.finish()
		m.reset(0, 1000)
		m.c.reset(true, in)
		for i, want := range runs {
			got := make([]byte, len(want))
			m.store(got)
			if string(got) != string(want) {
				t.Fatalf("run %d is % x, want % x", i, got, want)
			}
			if m.isMatch(0, false) != (len(want)%2 == 0) {
				t.Fatalf("the decision after run %d is another", i)
			}
		}
	})
}
