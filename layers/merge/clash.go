package merge

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A span is the numbers that a record gives to a name.
type span struct {
	name       string
	first, end uint64 // first included, end not
}

// clashes reports numbers that the merged table gives to two names, unless one
// of the sides alone did so already: sharing on purpose is allowed.
func (f accountFile) clashes(merged, lower, upper table) []string {
	known := map[[2]string]bool{}
	for _, side := range []table{lower, upper} {
		f.overlaps(side, func(a, b span) { known[[2]string{a.name, b.name}] = true })
	}
	var reasons []string
	f.overlaps(merged, func(a, b span) {
		if known[[2]string{a.name, b.name}] || known[[2]string{b.name, a.name}] {
			return
		}
		reasons = append(reasons, fmt.Sprintf("%s %s is given to both %s and %s; both kept",
			f.fields[f.id], strconv.FormatUint(max(a.first, b.first), 10), a.name, b.name))
	})
	return reasons
}

// overlaps calls pair for any two records of different names whose numbers
// overlap, within the limit of maxSharers.
func (f accountFile) overlaps(t table, pair func(a, b span)) {
	spans := f.spans(t)
	for i, b := range spans {
		for _, a := range spans[max(0, i-maxSharers):i] {
			if a.end > b.first && a.name != b.name {
				pair(a, b)
			}
		}
	}
}

// maxSharers bounds how many records before one are compared with it, so that
// a file of equal numbers does not take quadratic time.
const maxSharers = 64

func (f accountFile) spans(t table) []span {
	var spans []span
	for _, r := range t {
		fields := strings.Split(r.text, ":")
		if len(fields) != len(f.fields) {
			continue
		}
		first, err := strconv.ParseUint(fields[f.id], 10, 32)
		if err != nil {
			continue
		}
		count := uint64(1)
		if f.length > 0 {
			if count, err = strconv.ParseUint(fields[f.length], 10, 32); err != nil {
				continue
			}
		}
		spans = append(spans, span{fields[0], first, first + count})
	}
	slices.SortStableFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	return spans
}
