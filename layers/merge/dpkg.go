package merge

import (
	"fmt"
	"strings"
)

// status merges dpkg's database of packages, var/lib/dpkg/status, and the list
// of available packages, which has the same form. Format: deb822(5), dpkg(1).
var status = &codec{"dpkg status", mergeStatus}

func mergeStatus(base, lower, upper string) (string, []string, error) {
	var sides [3]table
	for i, data := range []string{base, lower, upper} {
		t, err := stanzas(data, instance)
		if err != nil {
			return "", nil, err
		}
		sides[i] = t
	}
	pairInstances(sides[:])
	t, reasons := threeWay(sides[0], sides[1], sides[2], settlePackage)
	return formatStanzas(t), reasons, nil
}

// instance names a package and its architecture.
func instance(s stanza) string {
	name := s.get("Package")
	if name == "" {
		return ""
	}
	return name + ":" + s.get("Architecture")
}

// pairInstances gives all sides' stanzas of a package the same key where it
// has one instance: between versions a package may change from an architecture
// to "all" and back. A package of which two architectures are known keeps one
// key for each.
func pairInstances(sides []table) {
	archs := map[string]string{} // of each package: its only one, or "*"
	for _, t := range sides {
		count := map[string]int{}
		for _, r := range t {
			name, arch, _ := strings.Cut(r.key, ":")
			if count[name]++; count[name] > 1 {
				archs[name] = "*"
			}
			switch known := archs[name]; {
			case known == "" || known == "all":
				archs[name] = arch
			case known != arch && arch != "all" && arch != "":
				archs[name] = "*"
			}
		}
	}
	for _, t := range sides {
		for i := range t {
			if name, _, _ := strings.Cut(t[i].key, ":"); archs[name] != "*" {
				t[i].key = name
			}
		}
	}
}

// settlePackage settles a package that both sides changed. A change of nothing
// but the selection ("apt-mark hold") goes together with anything.
func settlePackage(c change) (*string, string) {
	b, l, u := mustStanza(c.base), mustStanza(c.lower), mustStanza(c.upper)
	if b != nil && l != nil && u != nil {
		switch {
		case selectionOnly(b, u) && selection(b) == selection(l):
			return selected(l, selection(u)), ""
		case selectionOnly(b, l) && selection(b) == selection(u):
			return selected(u, selection(l)), ""
		}
	}
	name, _, _ := strings.Cut(c.key, "\x00")
	return c.upper, fmt.Sprintf("package %s: %s (before: %s, below: %s, here: %s)",
		name, c.verdict(), packageState(b), packageState(l), packageState(u))
}

// selection returns what is wanted of a package, the first word of its status:
// "install", "hold", "deinstall", "purge".
func selection(s stanza) string {
	want, _, _ := strings.Cut(s.get("Status"), " ")
	return want
}

// selected returns the text of a package with another selection.
func selected(s stanza, want string) *string {
	_, rest, _ := strings.Cut(s.get("Status"), " ")
	text := s.with("Status", " "+want+" "+rest).String()
	return &text
}

func selectionOnly(from, to stanza) bool {
	return to.get("Status") != "" && *selected(from, selection(to)) == to.String()
}

// packageState describes a package in a few words.
func packageState(s stanza) string {
	if s == nil {
		return "absent"
	}
	words := []string{}
	if v := s.get("Version"); v != "" {
		words = append(words, v)
	}
	if st := s.get("Status"); st != "" && st != "install ok installed" {
		words = append(words, st)
	}
	if len(words) == 0 {
		return "present"
	}
	return strings.Join(words, ", ")
}

// extendedStates merges what apt knows of each package beyond dpkg: whether it
// was installed automatically.
var extendedStates = stanzaDriver("apt extended states", instance, keepUpper("package"))

// diversions merges dpkg's diversions: groups of three lines, the contested
// path, where it is diverted to, and the package that keeps it. Format: dpkg,
// lib/dpkg/db-fsys-divert.c.
var diversions = &codec{"dpkg diversions", func(base, lower, upper string) (string, []string, error) {
	var sides [3]table
	for i, data := range []string{base, lower, upper} {
		all := lines(data)
		if len(all)%3 != 0 {
			return "", nil, fmt.Errorf("%w: %d lines, not a multiple of 3", ErrMalformed, len(all))
		}
		for ; len(all) > 0; all = all[3:] {
			sides[i] = append(sides[i], record{all[0], strings.Join(all[:3], "\n")})
		}
		sides[i].unique()
	}
	t, reasons := threeWay(sides[0], sides[1], sides[2], keepUpper("diversion of"))
	return t.format(), reasons, nil
}}
