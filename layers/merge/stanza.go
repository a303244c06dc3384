package merge

import (
	"fmt"
	"strings"
)

// A stanza is a paragraph of "Field: value" lines, values going on in lines
// that start with a blank. Format: deb822(5).
type stanza []field

type field struct {
	name  string
	value string // what follows the colon, further lines included
}

// parseStanza reads one paragraph.
func parseStanza(text string) (stanza, error) {
	var s stanza
	for _, line := range strings.Split(text, "\n") {
		if line[0] == ' ' || line[0] == '\t' {
			if len(s) == 0 {
				return nil, fmt.Errorf("%w: continuation %.40q without a field", ErrMalformed, line)
			}
			s[len(s)-1].value += "\n" + line
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("%w: line %.40q is no field", ErrMalformed, line)
		}
		s = append(s, field{name, value})
	}
	return s, nil
}

// get returns a field's value without surrounding blanks, or "".
func (s stanza) get(name string) string {
	for _, f := range s {
		if strings.EqualFold(f.name, name) {
			return strings.TrimSpace(f.value)
		}
	}
	return ""
}

// with returns the stanza with one field's value replaced.
func (s stanza) with(name, value string) stanza {
	out := make(stanza, len(s))
	copy(out, s)
	for i := range out {
		if strings.EqualFold(out[i].name, name) {
			out[i].value = value
		}
	}
	return out
}

func (s stanza) String() string {
	text := make([]string, len(s))
	for i, f := range s {
		text[i] = f.name + ":" + f.value
	}
	return strings.Join(text, "\n")
}

// paragraphs splits a file at its blank lines.
func paragraphs(data string) []string {
	var out []string
	var cur []string
	flush := func() {
		if len(cur) > 0 {
			out = append(out, strings.Join(cur, "\n"))
			cur = nil
		}
	}
	for _, line := range lines(data) {
		if strings.TrimSpace(line) == "" {
			flush()
			continue
		}
		cur = append(cur, line)
	}
	flush()
	return out
}

// stanzas reads a file of stanzas, giving each the key that name makes of it.
func stanzas(data string, name func(stanza) string) (table, error) {
	var t table
	for _, text := range paragraphs(data) {
		s, err := parseStanza(text)
		if err != nil {
			return nil, err
		}
		key := name(s)
		if key == "" {
			return nil, fmt.Errorf("%w: stanza %.40q has no name", ErrMalformed, text)
		}
		t = append(t, record{key, text})
	}
	return t.unique(), nil
}

// formatStanzas writes each stanza followed by a blank line, as dpkg, apt and
// debconf do.
func formatStanzas(t table) string {
	var b strings.Builder
	for _, r := range t {
		b.WriteString(r.text)
		b.WriteString("\n\n")
	}
	return b.String()
}

// mustStanza reads a stanza that was read before.
func mustStanza(text *string) stanza {
	if text == nil {
		return nil
	}
	s, err := parseStanza(*text)
	if err != nil {
		return nil
	}
	return s
}

// stanzaDriver returns a driver of files of stanzas.
func stanzaDriver(name string, key func(stanza) string, decide settle) *codec {
	return &codec{name, func(base, lower, upper string) (string, []string, error) {
		var sides [3]table
		for i, data := range []string{base, lower, upper} {
			t, err := stanzas(data, key)
			if err != nil {
				return "", nil, err
			}
			sides[i] = t
		}
		t, reasons := threeWay(sides[0], sides[1], sides[2], decide)
		return formatStanzas(t), reasons, nil
	}}
}
