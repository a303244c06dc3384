package merge

import (
	"cmp"
	"fmt"
	"strings"
)

// alternatives merges the administrative files of update-alternatives. A group
// that is left without choices is absent.
var alternatives Driver = alternativesDriver{}

type alternativesDriver struct{}

func (alternativesDriver) Name() string { return "alternatives" }

func (alternativesDriver) Merge(in Input) (Output, error) {
	if data, ok := oneSided(in); ok {
		return Output{Data: data}, nil
	}
	var sides [3]table
	var link string // of the topmost side that has the group
	for i, data := range [][]byte{in.Base, in.Lower, in.Upper} {
		a, err := parseAlternative(string(data))
		if err != nil {
			return Output{}, fmt.Errorf("merge %s as alternatives: %w", in.Path, err)
		}
		if sides[i] = a.facts(); a != nil {
			link = a.link
		}
	}
	name := in.Path[strings.LastIndexByte(in.Path, '/')+1:]
	var out Output
	t, reasons := threeWay(sides[0], sides[1], sides[2], settleFact)
	for _, reason := range reasons {
		out.Conflicts = append(out.Conflicts, Conflict{Path: in.Path, Reason: fmt.Sprintf("alternative %s: %s", name, reason)})
	}
	if a := fromFacts(t); len(a.choices) > 0 {
		a.link = cmp.Or(a.link, link)
		out.Data = []byte(a.String())
	}
	return out, nil
}

// What a group says, as facts that change each for itself. The parts of a key
// are separated by NUL, which no path holds.
const (
	factStatus = "status"
	factLink   = "link"
	factSlave  = "slave"  // and the slave's name
	factChoice = "choice" // and the choice's path
	factTarget = "target" // and the choice's path, and the slave's name
)

// facts returns an alternative as a table of facts.
func (a *alternative) facts() table {
	if a == nil {
		return nil
	}
	t := table{{factStatus, a.status}, {factLink, a.link}}
	for name, link := range a.slaves {
		t = append(t, record{factSlave + "\x00" + name, link})
	}
	for path, c := range a.choices {
		t = append(t, record{factChoice + "\x00" + path, fmt.Sprint(c.priority)})
		for name, target := range c.slaves {
			t = append(t, record{factTarget + "\x00" + path + "\x00" + name, target})
		}
	}
	return t.sorted()
}

// fromFacts is the inverse of facts. What hangs on a choice or a slave that is
// gone goes with it. A status that one side removed together with the group,
// while the other added to it, is automatic.
func fromFacts(t table) *alternative {
	a := &alternative{status: auto, slaves: map[string]string{}, choices: map[string]choice{}}
	for _, r := range t {
		part := strings.Split(r.key, "\x00")
		switch part[0] {
		case factStatus:
			a.status = r.text
		case factLink:
			a.link = r.text
		case factSlave:
			a.slaves[part[1]] = r.text
		case factChoice:
			c := choice{slaves: map[string]string{}}
			_, _ = fmt.Sscan(r.text, &c.priority) // parse has checked it
			a.choices[part[1]] = c
		}
	}
	for _, r := range t {
		if part := strings.Split(r.key, "\x00"); part[0] == factTarget {
			_, slave := a.slaves[part[2]]
			if c, ok := a.choices[part[1]]; ok && slave {
				c.slaves[part[2]] = r.text
			}
		}
	}
	return a
}

func settleFact(c change) (*string, string) {
	part := strings.Split(c.key, "\x00")
	value := func(s *string) string {
		if s == nil {
			return "nothing"
		}
		return fmt.Sprintf("%q", *s)
	}
	return c.upper, fmt.Sprintf("%s is %s below and %s here; kept as it is here",
		strings.Join(part, " "), value(c.lower), value(c.upper))
}
