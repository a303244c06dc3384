package merge

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Statuses of an alternative group.
const (
	auto   = "auto"   // the choice of highest priority holds
	manual = "manual" // somebody chose
)

// An alternative is one group of update-alternatives, as the administrative
// file var/lib/dpkg/alternatives/NAME describes it. Format, line by line:
//
//	auto or manual
//	the group's link
//	for each slave: its name, then its link
//	an empty line
//	for each choice: its path, its priority, then its path for each slave in
//	the order above, an empty line where it has none
//	an empty line
//
// Source of the format: dpkg, utils/update-alternatives.c,
// alternative_save and alternative_load.
type alternative struct {
	status  string
	link    string
	slaves  map[string]string // name to link
	choices map[string]choice // by path
}

type choice struct {
	priority int
	slaves   map[string]string // name to path; slaves it lacks are absent
}

// parseAlternative reads an administrative file. No content is no alternative.
func parseAlternative(data string) (*alternative, error) {
	if data == "" {
		return nil, nil
	}
	rest := strings.Split(strings.TrimSuffix(data, "\n"), "\n")
	next := func() (line string, ok bool) {
		if len(rest) == 0 {
			return "", false
		}
		line, rest = rest[0], rest[1:]
		return line, true
	}
	a := &alternative{slaves: map[string]string{}, choices: map[string]choice{}}
	a.status, _ = next()
	a.link, _ = next()
	if a.status != auto && a.status != manual {
		return nil, fmt.Errorf("%w: status %.20q is neither auto nor manual", ErrMalformed, a.status)
	}
	if a.link == "" {
		return nil, fmt.Errorf("%w: no link", ErrMalformed)
	}
	var order []string
	for {
		name, ok := next()
		if !ok || name == "" {
			break
		}
		link, ok := next()
		if _, twice := a.slaves[name]; !ok || link == "" || twice {
			return nil, fmt.Errorf("%w: slave %.60q has no link or two", ErrMalformed, name)
		}
		a.slaves[name] = link
		order = append(order, name)
	}
	for {
		path, ok := next()
		if !ok || path == "" {
			return a, nil
		}
		c, err := parseChoice(path, order, next)
		if err != nil {
			return nil, err
		}
		if _, twice := a.choices[path]; twice {
			return nil, fmt.Errorf("%w: choice %.60q twice", ErrMalformed, path)
		}
		a.choices[path] = c
	}
}

func parseChoice(path string, slaves []string, next func() (string, bool)) (choice, error) {
	line, _ := next()
	priority, err := strconv.Atoi(line)
	if err != nil {
		return choice{}, fmt.Errorf("%w: choice %.60q has priority %.20q", ErrMalformed, path, line)
	}
	c := choice{priority, map[string]string{}}
	for _, name := range slaves {
		target, ok := next()
		if !ok {
			return choice{}, fmt.Errorf("%w: choice %.60q ends early", ErrMalformed, path)
		}
		if target != "" {
			c.slaves[name] = target
		}
	}
	return c, nil
}

// String is the inverse of parseAlternative, with slaves and choices sorted by
// name, as update-alternatives sorts them.
func (a *alternative) String() string {
	var b strings.Builder
	put := func(lines ...string) {
		for _, line := range lines {
			b.WriteString(line)
			b.WriteByte('\n')
		}
	}
	put(a.status, a.link)
	order := slices.Sorted(maps.Keys(a.slaves))
	for _, name := range order {
		put(name, a.slaves[name])
	}
	put("")
	for _, path := range a.paths() {
		c := a.choices[path]
		put(path, strconv.Itoa(c.priority))
		for _, name := range order {
			put(c.slaves[name])
		}
	}
	put("")
	return b.String()
}

// paths returns the choices in the order of their paths.
func (a *alternative) paths() []string { return slices.Sorted(maps.Keys(a.choices)) }

// best returns the choice of highest priority, the first of equals.
func (a *alternative) best() string {
	best := ""
	for _, path := range a.paths() {
		if best == "" || a.choices[path].priority > a.choices[best].priority {
			best = path
		}
	}
	return best
}
