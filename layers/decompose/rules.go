package decompose

import (
	_ "embed"
	"fmt"
	"path"
	"strconv"
	"strings"

	"satchel/layers"
)

//go:embed rules.txt
var table string

// builtin is the table that comes with the program.
var builtin = mustParse("built-in rules", table)

// Rules give paths their kinds. The zero value is the built-in table; rules of
// one's own come before it, and before what dpkg knows.
type Rules struct {
	rules []rule
}

// A rule is one line of a table.
type rule struct {
	kind    layers.Kind
	pattern string
	names   []string // the pattern, name by name
	deep    bool     // the pattern began with **/: it matches at any depth
	inside  bool     // the pattern ended in a slash: not the path itself
	why     string
	where   string // table and line
}

// MaxRules bounds the rules of one table.
const MaxRules = 10000

// ParseRules reads rules of one's own, one a line: a kind or "discard", a
// pattern, and after a # why. Empty lines are skipped. The first rule that
// matches decides. name says where the lines come from, for explanations.
//
// A pattern matches a path and everything under it; with a slash at its end
// only what is under it. Each name of it may hold the wildcards of
// [path.Match]. A leading **/ lets it begin at any depth. A pattern with blanks
// is written in double quotes, as a Go string.
func ParseRules(name string, lines []string) (Rules, error) {
	var out Rules
	if len(lines) > MaxRules {
		return out, fmt.Errorf("%s: more than %d rules", name, MaxRules)
	}
	for i, line := range lines {
		where := fmt.Sprintf("%s, line %d", name, i+1)
		r, ok, err := parseRule(line)
		if err != nil {
			return Rules{}, fmt.Errorf("%s: %w", where, err)
		}
		if ok {
			r.where = where
			out.rules = append(out.rules, r)
		}
	}
	return out, nil
}

func mustParse(name, text string) Rules {
	r, err := ParseRules(name, strings.Split(text, "\n"))
	if err != nil {
		panic(err) // the table is part of the program, and tested
	}
	return r
}

func parseRule(line string) (r rule, ok bool, err error) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return r, false, nil
	}
	kind, rest, _ := strings.Cut(line, " ")
	if r.kind = layers.Kind(kind); r.kind != Discard {
		if _, err := layers.ParseKind(kind); err != nil || !r.kind.Writable() {
			return r, false, fmt.Errorf("kind %.20q: want personal, system, local, data or discard", kind)
		}
	}
	rest = strings.TrimSpace(rest)
	if strings.HasPrefix(rest, `"`) {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return r, false, fmt.Errorf("pattern %.60q: %w", rest, err)
		}
		rest = strings.TrimPrefix(rest, quoted)
		if r.pattern, err = strconv.Unquote(quoted); err != nil {
			return r, false, fmt.Errorf("pattern %.60q: %w", quoted, err)
		}
	} else if r.pattern, rest, _ = strings.Cut(rest, " "); r.pattern == "" {
		return r, false, fmt.Errorf("rule %.60q has no pattern", line)
	}
	rest = strings.TrimSpace(rest)
	if rest != "" && rest[0] != '#' {
		return r, false, fmt.Errorf("rule %.60q: %.40q after the pattern is no comment", line, rest)
	}
	r.why = strings.TrimSpace(strings.TrimPrefix(rest, "#"))
	return r, true, r.compile()
}

// compile takes the pattern apart.
func (r *rule) compile() error {
	p, deep := strings.CutPrefix(r.pattern, "**/")
	p, inside := strings.CutSuffix(strings.TrimPrefix(p, "/"), "/")
	r.deep, r.inside = deep, inside
	if err := layers.CheckPath(p); err != nil || p == "" {
		return fmt.Errorf("pattern %.60q is no relative path", r.pattern)
	}
	r.names = strings.Split(p, "/")
	for _, name := range r.names {
		if _, err := path.Match(name, ""); err != nil {
			return fmt.Errorf("pattern %.60q: %w", r.pattern, err)
		}
	}
	return nil
}

// matches reports whether the rule is for a path.
func (r *rule) matches(names []string) bool {
	last := 0
	if r.deep {
		last = len(names) - len(r.names)
	}
	for at := 0; at <= last; at++ {
		if r.matchesAt(names[at:]) {
			return true
		}
	}
	return false
}

func (r *rule) matchesAt(names []string) bool {
	if len(names) < len(r.names) || r.inside && len(names) == len(r.names) {
		return false
	}
	for i, pattern := range r.names {
		if ok, _ := path.Match(pattern, names[i]); !ok {
			return false
		}
	}
	return true
}

// own returns the verdict of rules of one's own, if there is one.
func (r Rules) own(p string) (verdict, bool) {
	names := strings.Split(p, "/")
	for i := range r.rules {
		if x := &r.rules[i]; x.matches(names) {
			reason := x.why
			if reason == "" {
				reason = "as the rule says"
			}
			return verdict{x.kind, fmt.Sprintf("%s %s (%s)", x.kind, x.pattern, x.where), reason}, true
		}
	}
	return verdict{}, false
}

// verdict returns the verdict of a table whose last resort is system.
func (r Rules) verdict(p string) verdict {
	if v, ok := r.own(p); ok {
		return v
	}
	return verdict{layers.System, "no rule", "no rule is for it, and what belongs to nobody is the machine's"}
}
