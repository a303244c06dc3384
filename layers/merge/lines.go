package merge

import (
	"slices"
	"strings"
)

// lines returns the lines of a file, a last one without its line end included.
func lines(data string) []string {
	if data == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(data, "\n"), "\n")
}

// keyed reads a file of one record a line.
func keyed(data string, key func(line string) string) table {
	var t table
	for _, line := range lines(data) {
		t = append(t, record{key(line), line})
	}
	return t.unique()
}

// format is the inverse of keyed.
func (t table) format() string {
	var b strings.Builder
	for _, r := range t {
		b.WriteString(r.text)
		b.WriteByte('\n')
	}
	return b.String()
}

// lineDriver returns a driver of files of one record a line.
func lineDriver(name string, key func(line string) string, decide settle) *codec {
	return &codec{name, func(base, lower, upper string) (string, []string, error) {
		t, reasons := threeWay(keyed(base, key), keyed(lower, key), keyed(upper, key), decide)
		return t.format(), reasons, nil
	}}
}

// lineSet merges files whose lines are members of a set: login shells, the
// interests of packages in a trigger, the links that a service was enabled by.
var lineSet = lineDriver("line set", func(line string) string { return line }, keepUpper("line"))

// statoverride merges dpkg's list of modes and owners: "user group mode path".
// Format: dpkg, lib/dpkg/db-fsys-override.c.
var statoverride = lineDriver("dpkg statoverride", func(line string) string {
	if f := strings.SplitN(line, " ", 4); len(f) == 4 {
		return f[3]
	}
	return line
}, keepUpper("override of"))

// ucf merges the registries of the configuration file handler: a package or a
// checksum, blanks, and a path. Format: ucf(1), files section.
var ucf = lineDriver("ucf registry", func(line string) string {
	if i := strings.IndexAny(line, " \t"); i > 0 {
		return strings.TrimLeft(line[i:], " \t")
	}
	return line
}, keepUpper("configuration file"))

// unincorp merges triggers that were activated but not yet handed to the
// packages that await them: "trigger package...". Format: deb-triggers(5),
// dpkg doc/triggers.txt.
var unincorp = lineDriver("dpkg unincorporated triggers", func(line string) string {
	name, _, _ := strings.Cut(line, " ")
	return name
}, func(c change) (*string, string) {
	words := func(s *string) []string {
		if s == nil {
			return nil
		}
		return strings.Fields(*s)
	}
	// An activation is only a reminder: one too many does no harm.
	all := words(c.lower)
	for _, w := range words(c.upper) {
		if !slices.Contains(all, w) {
			all = append(all, w)
		}
	}
	text := strings.Join(all, " ")
	return &text, ""
})
