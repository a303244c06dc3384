package merge

import (
	"fmt"
	"slices"
	"strings"
)

// An accountFile describes one of the files of users and groups: one record a
// line, fields between colons, the first of them the name. Formats: passwd(5),
// group(5), shadow(5), gshadow(5), subuid(5), subgid(5).
type accountFile struct {
	record string   // what a record is, for people
	fields []string // the fields' names, for people; the first is the key
	sets   []int    // fields that are sets of names, separated by commas
	id     int      // field that two names may not share; 0: none
	length int      // field that says how many numbers from id on; 0: one
}

var (
	passwd = accountDriver("passwd", accountFile{record: "user",
		fields: []string{"name", "password", "uid", "gid", "comment", "home", "shell"}, id: 2})
	group = accountDriver("group", accountFile{record: "group",
		fields: []string{"name", "password", "gid", "members"}, sets: []int{3}, id: 2})
	shadow = accountDriver("shadow", accountFile{record: "user",
		fields: []string{"name", "password", "last change", "minimum age", "maximum age",
			"warning period", "inactivity period", "expiry", "reserved"}})
	gshadow = accountDriver("gshadow", accountFile{record: "group",
		fields: []string{"name", "password", "administrators", "members"}, sets: []int{2, 3}})
	subid = accountDriver("subordinate ids", accountFile{record: "ids of",
		fields: []string{"name", "first", "count"}, id: 1, length: 2})
)

func accountDriver(name string, f accountFile) *codec {
	return &codec{name, f.merge}
}

func (f accountFile) merge(base, lower, upper string) (string, []string, error) {
	b, l, u := f.read(base), f.read(lower), f.read(upper)
	t, reasons := threeWay(b, l, u, f.settle)
	if f.id > 0 {
		reasons = append(reasons, f.clashes(t, l, u)...)
	}
	return t.format(), reasons, nil
}

// read keys records by name; a line that has no name is its own key.
func (f accountFile) read(data string) table {
	return keyed(data, func(line string) string {
		name, _, ok := strings.Cut(line, ":")
		if !ok {
			return line
		}
		return name
	})
}

// settle merges the fields of a record each for itself.
func (f accountFile) settle(c change) (*string, string) {
	whole := keepUpper(f.record)
	if c.lower == nil || c.upper == nil {
		return whole(c)
	}
	l, u := strings.Split(*c.lower, ":"), strings.Split(*c.upper, ":")
	b := make([]string, len(f.fields))
	if c.base != nil {
		b = strings.Split(*c.base, ":")
	}
	if len(l) != len(f.fields) || len(u) != len(l) || len(b) != len(l) {
		return whole(c)
	}
	var clash []string
	for i := range u {
		switch {
		case u[i] == l[i] || c.base != nil && b[i] == l[i]:
		case c.base != nil && b[i] == u[i]:
			u[i] = l[i]
		case slices.Contains(f.sets, i):
			u[i] = strings.Join(mergeSets(splitList(b[i], ","), splitList(l[i], ","), splitList(u[i], ",")), ",")
		default:
			clash = append(clash, f.describe(i, l[i], u[i]))
		}
	}
	text := strings.Join(u, ":")
	if clash == nil {
		return &text, ""
	}
	return &text, fmt.Sprintf("%s %s: %s; kept as it is here", f.record, u[0], strings.Join(clash, ", "))
}

// describe names a field's two values, unless it is a password.
func (f accountFile) describe(i int, lower, upper string) string {
	if f.fields[i] == "password" {
		return "password differs between here and below"
	}
	return fmt.Sprintf("%s is %q below and %q here", f.fields[i], lower, upper)
}
