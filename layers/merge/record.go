package merge

import (
	"fmt"
	"slices"
	"strings"
)

// A record is one entry of a registry.
type record struct {
	key  string
	text string // as it stands in the file, without the line end
}

// A table is a registry's records in the order of the file. Keys are unique:
// see unique.
type table []record

// unique numbers repeated keys, so that no record is lost and the nth of one
// file pairs with the nth of another.
func (t table) unique() table {
	seen := make(map[string]int, len(t))
	for i := range t {
		key := t[i].key
		seen[key]++
		if n := seen[key]; n > 1 {
			t[i].key = fmt.Sprintf("%s\x00%d", key, n)
		}
	}
	return t
}

func (t table) index() map[string]string {
	m := make(map[string]string, len(t))
	for _, r := range t {
		m[r.key] = r.text
	}
	return m
}

// A change is a record as it stands on the three sides. A nil text says that
// the record is absent there.
type change struct {
	key                string
	base, lower, upper *string
}

// settle decides a record that both sides changed differently. A nil text
// drops the record. A reason other than "" makes it a conflict.
type settle func(c change) (text *string, reason string)

// threeWay merges tables record by record, in the lower's order followed by
// what only the upper has.
func threeWay(base, lower, upper table, decide settle) (table, []string) {
	b, l, u := base.index(), lower.index(), upper.index()
	var out table
	var reasons []string
	add := func(key string) {
		c := change{key: key, base: lookup(b, key), lower: lookup(l, key), upper: lookup(u, key)}
		text, reason := c.resolve(decide)
		if reason != "" {
			reasons = append(reasons, reason)
		}
		if text != nil {
			out = append(out, record{key, *text})
		}
	}
	for _, r := range lower {
		add(r.key)
	}
	for _, r := range upper {
		if _, ok := l[r.key]; !ok {
			add(r.key)
		}
	}
	return out, reasons
}

func lookup(m map[string]string, key string) *string {
	if text, ok := m[key]; ok {
		return &text
	}
	return nil
}

func (c change) resolve(decide settle) (*string, string) {
	switch {
	case same(c.lower, c.upper), same(c.base, c.lower):
		return c.upper, ""
	case same(c.base, c.upper):
		return c.lower, ""
	}
	return decide(c)
}

func same(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// mergeSets merges sets three ways: the lower's members in their order without
// what the upper took away, then what the upper added, in its order.
func mergeSets(base, lower, upper []string) []string {
	var out []string
	for _, m := range lower {
		if slices.Contains(upper, m) || !slices.Contains(base, m) {
			out = append(out, m)
		}
	}
	for _, m := range upper {
		if !slices.Contains(lower, m) && !slices.Contains(base, m) {
			out = append(out, m)
		}
	}
	return out
}

// splitList splits at sep; the empty string is the empty list.
func splitList(s, sep string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, sep)
}

// keepUpper settles a record as a whole.
func keepUpper(what string) settle {
	return func(c change) (*string, string) {
		name, _, _ := strings.Cut(c.key, "\x00")
		return c.upper, fmt.Sprintf("%s %s: %s", what, name, c.verdict())
	}
}

// verdict says in words what happened to a record that was settled in favour
// of the upper.
func (c change) verdict() string {
	switch {
	case c.upper == nil:
		return "removed here, but changed below; kept removed"
	case c.lower == nil:
		return "changed here, but removed below; kept as it is here"
	case c.base == nil:
		return "added both here and below, with different contents; kept as it is here"
	default:
		return "changed both here and below, in different ways; kept as it is here"
	}
}

// sorted puts a table in the order of its keys.
func (t table) sorted() table {
	slices.SortFunc(t, func(a, b record) int { return strings.Compare(a.key, b.key) })
	return t
}
