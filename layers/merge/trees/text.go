package trees

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"
)

// mergeText merges texts line by line, and reports whether that went without
// lines that both sides changed, or changed next to each other.
//
// Source: S. Khanna, K. Kunal, B. C. Pierce, "A Formal Investigation of Diff3",
// FSTTCS 2007.
func mergeText(base, ours, theirs []byte) ([]byte, bool) {
	if base == nil || !isText(base) || !isText(ours) || !isText(theirs) {
		return nil, false
	}
	l := lines{numbers: map[string]int{}}
	b, o, t := l.split(base), l.split(ours), l.split(theirs)
	toOurs, ok1 := matches(b, o)
	toTheirs, ok2 := matches(b, t)
	if !ok1 || !ok2 {
		return nil, false
	}
	var out []int
	for i, j, k := 0, 0, 0; i < len(b) || j < len(o) || k < len(t); {
		if i < len(b) && toOurs[i] == j && toTheirs[i] == k {
			out = append(out, b[i])
			i, j, k = i+1, j+1, k+1
			continue
		}
		// The next line that all three have ends what was changed here.
		end, oursEnd, theirsEnd := i, len(o), len(t)
		for end < len(b) && (toOurs[end] < 0 || toTheirs[end] < 0) {
			end++
		}
		if end < len(b) {
			oursEnd, theirsEnd = toOurs[end], toTheirs[end]
		}
		was, our, their := b[i:end], o[j:oursEnd], t[k:theirsEnd]
		switch {
		case slices.Equal(our, was):
			out = append(out, their...)
		case slices.Equal(their, was), slices.Equal(our, their):
			out = append(out, our...)
		default:
			return nil, false
		}
		i, j, k = end, oursEnd, theirsEnd
	}
	return l.join(out), true
}

func isText(b []byte) bool { return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 }

// lines numbers the different lines of texts.
type lines struct {
	numbers map[string]int
	text    []string
}

// split returns the numbers of a text's lines, line ends included.
func (l *lines) split(text []byte) []int {
	var out []int
	for line := range strings.Lines(string(text)) {
		n, ok := l.numbers[line]
		if !ok {
			n = len(l.text)
			l.numbers[line], l.text = n, append(l.text, line)
		}
		out = append(out, n)
	}
	return out
}

func (l *lines) join(numbers []int) []byte {
	var b bytes.Buffer
	for _, n := range numbers {
		b.WriteString(l.text[n])
	}
	return b.Bytes()
}

// maxEdits bounds the lines in which two texts differ, and by that what matches
// costs: this much squared in steps, half of it in numbers kept.
const maxEdits = 2000

// matches returns for each line of a where it is in b, or -1, for as many lines
// as can be, in order. It gives up on texts that differ in too many lines.
//
// Source: E. W. Myers, "An O(ND) Difference Algorithm and Its Variations",
// Algorithmica 1, 1986, the greedy algorithm.
func matches(a, b []int) ([]int, bool) {
	to := make([]int, len(a))
	for i := range to {
		to[i] = -1
	}
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		to[head] = head
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
		to[len(a)-tail] = len(b) - tail
	}
	a, b = a[head:len(a)-tail], b[head:len(b)-tail]
	trace, ok := edits(a, b)
	if !ok {
		return nil, false
	}
	// Back along the furthest reaching paths. In those of d edits, trace[d] has
	// the place in a on the diagonal k at d+k.
	x, y := len(a), len(b)
	for d := len(trace) - 1; d >= 0; d-- {
		k, from, start := x-y, 0, 0
		if d > 0 {
			from, start = step(trace[d-1], d, k)
		}
		for ; x > start; x, y = x-1, y-1 {
			to[head+x-1] = head + y - 1
		}
		if d > 0 {
			x = int(trace[d-1][d-1+from])
			y = x - from
		}
	}
	return to, true
}

// edits returns, for each number of edits d, how far in a one gets with that
// many on each diagonal k, at d+k, until both ends are reached.
func edits(a, b []int) (trace [][]int32, ok bool) {
	for d := 0; d <= min(len(a)+len(b), maxEdits); d++ {
		row := make([]int32, 2*d+1)
		for k := -d; k <= d; k += 2 {
			x := 0
			if d > 0 {
				_, x = step(trace[d-1], d, k)
			}
			for x < len(a) && x-k < len(b) && a[x] == b[x-k] {
				x++
			}
			row[d+k] = int32(x)
			if x >= len(a) && x-k >= len(b) {
				return append(trace, row), true
			}
		}
		trace = append(trace, row)
	}
	return nil, false
}

// step returns from which diagonal the dth edit leads to diagonal k, given the
// places before it, and where in a it ends.
func step(before []int32, d, k int) (from, x int) {
	if k == -d || k != d && before[d+k-2] < before[d+k] {
		return k + 1, int(before[d+k])
	}
	return k - 1, int(before[d+k-2]) + 1
}
