package merge

import (
	"fmt"
	"strings"
)

// debconf merges the databases of package configuration: questions, their
// answers and owners, in stanzas by name. Both sides' owners and flags are
// merged as sets, other fields each for itself. Format: debconf-devel(7), as
// written by its "822" format.
var debconf = stanzaDriver("debconf database", func(s stanza) string { return s.get("Name") }, settleQuestion)

func settleQuestion(c change) (*string, string) {
	if c.lower == nil || c.upper == nil {
		return keepUpper("question")(c)
	}
	b, l, u := mustStanza(c.base).fields(), mustStanza(c.lower).fields(), mustStanza(c.upper).fields()
	var clash []string
	t, _ := threeWay(b, l, u, func(f change) (*string, string) {
		if f.key == "Owners" || f.key == "Flags" {
			return mergeList(f), ""
		}
		clash = append(clash, f.key)
		return f.upper, ""
	})
	text := strings.TrimSuffix(t.format(), "\n")
	if clash == nil {
		return &text, ""
	}
	return &text, fmt.Sprintf("question %s: %s set differently here and below; kept as it is here",
		c.key, strings.Join(clash, ", "))
}

// fields returns a stanza as a table of its fields.
func (s stanza) fields() table {
	var t table
	for _, f := range s {
		t = append(t, record{f.name, f.name + ":" + f.value})
	}
	return t.unique()
}

// mergeList merges a field that lists members, separated by commas.
func mergeList(f change) *string {
	members := func(text *string) []string {
		if text == nil {
			return nil
		}
		_, value, _ := strings.Cut(*text, ":")
		return splitList(strings.TrimSpace(value), ", ")
	}
	all := mergeSets(members(f.base), members(f.lower), members(f.upper))
	if len(all) == 0 {
		return nil
	}
	text := f.key + ": " + strings.Join(all, ", ")
	return &text
}
