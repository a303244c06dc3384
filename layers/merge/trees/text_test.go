package trees

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMergeText(t *testing.T) {
	tests := []struct{ name, base, ours, theirs, want string }{
		{"far apart", "a b c d", "A b c d", "a b c D", "A b c D"},
		{"next to each other", "a b c d", "a B c d", "a b C d", ""},
		{"the same", "a b c", "a x c", "a x c", "a x c"},
		{"the same and more", "a b c d e", "a x c d e", "a x c d E", "a x c d E"},
		{"removed and added", "a b c d e", "b c d e", "a b c d e f", "b c d e f"},
		{"added at one place", "a b", "a x b", "a y b", ""},
		{"removed and changed", "a b c", "a c", "a B c", ""},
		{"emptied", "a b c", "", "a b c d", ""},
		{"from nothing", "", "a", "", "a"},
		{"repeated lines", "a a a b a a", "a a a b a a x", "y a a a b a a", "y a a a b a a x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, end := range []string{"\n", "\r\n"} {
				text := func(s string) []byte { return []byte(strings.Join(strings.Fields(s), end)) }
				for range 2 {
					got, ok := mergeText(text(tt.base), text(tt.ours), text(tt.theirs))
					if ok != (tt.want != "") || ok && end == "\n" && strings.Join(strings.Fields(string(got)), " ") != tt.want {
						t.Errorf("got %q %v, want %q", got, ok, tt.want)
					}
					tt.ours, tt.theirs = tt.theirs, tt.ours
				}
			}
		})
	}
	if _, ok := mergeText([]byte("a\n"), []byte("a\nb\x00"), []byte("c\na\n")); ok {
		t.Error("merged what is no text")
	}
	if _, ok := mergeText(nil, []byte("a\n"), []byte("a\n")); ok {
		t.Error("merged without an ancestor")
	}
}

// Texts that differ in more than the bound are not merged, and soon.
func TestMergeTextGivesUp(t *testing.T) {
	text := func(n int, of string) []byte { return []byte(strings.Repeat(of+"\n", n)) }
	if _, ok := mergeText(text(maxEdits, "a"), text(maxEdits, "b"), text(maxEdits+1, "a")); ok {
		t.Error("merged texts that have nothing in common")
	}
	if _, ok := mergeText(text(maxEdits/2, "a"), text(maxEdits/2, "b"), text(maxEdits/2, "a")); !ok {
		t.Error("did not merge what only one side changed")
	}
}

// matches finds the longest common subsequence.
func TestMatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 12)
		a, b := line.Draw(t, "a"), line.Draw(t, "b")
		to, ok := matches(a, b)
		if !ok {
			t.Fatal("gave up")
		}
		n, last := 0, -1
		for i, j := range to {
			if j < 0 {
				continue
			}
			if j <= last || a[i] != b[j] {
				t.Fatalf("%v and %v: %v", a, b, to)
			}
			n, last = n+1, j
		}
		if want := longest(a, b); n != want {
			t.Fatalf("%v and %v have %d lines in common: %v", a, b, want, to)
		}
	})
}

// longest is the length of the longest common subsequence, by the book.
func longest(a, b []int) int {
	row := make([]int, len(b)+1)
	for _, x := range a {
		corner := 0
		for j, y := range b {
			above := row[j+1]
			if x == y {
				row[j+1] = corner + 1
			} else {
				row[j+1] = max(above, row[j])
			}
			corner = above
		}
	}
	return row[len(b)]
}

func FuzzMergeText(f *testing.F) {
	f.Add([]byte("a\nb\nc\n"), []byte("a\nb\nC\n"), []byte("x\na\nb\nc\n"))
	f.Add([]byte("a"), []byte("a\nb"), []byte("b\na"))
	f.Fuzz(func(t *testing.T, base, ours, theirs []byte) {
		if base == nil {
			base = []byte{}
		}
		got, ok := mergeText(base, ours, theirs)
		back, okBack := mergeText(base, theirs, ours)
		if ok != okBack || !bytes.Equal(got, back) {
			t.Fatalf("merged %q, and the other way round %q", got, back)
		}
		if !ok {
			return
		}
		was := splitLines(base)
		for _, side := range [][]byte{ours, theirs} {
			for _, line := range splitLines(side) {
				if !slices.Contains(was, line) && !slices.Contains(splitLines(got), line) {
					t.Fatalf("line %q is lost in %q", line, got)
				}
			}
			if same, ok := mergeText(base, side, base); ok && !bytes.Equal(same, side) {
				t.Fatalf("merged with what did not change, %q is %q", side, same)
			}
		}
	})
}

func splitLines(b []byte) []string { return strings.SplitAfter(string(b), "\n") }

func TestKeptNames(t *testing.T) {
	long := strings.Repeat("ä", 127)
	tests := []struct{ path, device, want string }{
		{"a", "b", "a (from b, 0001-01-01)"},
		{"d/a.b.c", "b", "d/a.b (from b, 0001-01-01).c"},
		{"d.e/.bashrc", "b", "d.e/.bashrc (from b, 0001-01-01)"},
		{"a.", "b", "a (from b, 0001-01-01)."},
		{"a. no extension, too long", "b", "a. no extension, too long (from b, 0001-01-01)"},
		{"a", "x/y\n", "a (from x-y-, 0001-01-01)"},
		{"a", "", "a (from elsewhere, 0001-01-01)"},
		{long, "b", long[:234] + " (from b, 0001-01-01)"},
		{long[:250] + ".odt", "b", long[:230] + " (from b, 0001-01-01).odt"},
		{strings.Repeat("\x80", 255), "b", strings.Repeat("\x80", 234) + " (from b, 0001-01-01)"},
	}
	for _, tt := range tests {
		k := kept{path: tt.path, from: &version{Side: &Side{Device: tt.device}}}
		if got := k.name(1); got != tt.want {
			t.Errorf("%q is kept as %q (%d bytes), want %q (%d)", tt.path, got, len(got), tt.want, len(tt.want))
		}
		if got := k.name(12); !strings.Contains(got, ") 12") {
			t.Errorf("the twelfth name is %q", got)
		}
	}
}
