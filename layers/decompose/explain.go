package decompose

import (
	"fmt"
	"strings"

	"satchel/layers"
)

// Explain says in a paragraph what became of a path: by the decision about it,
// or about a directory that went with it, or else by what the rules say of a
// path that no package owns.
func (r Rules) Explain(path string, decisions []Decision) string {
	for at := path; ; at = parent(at) {
		for i := range decisions {
			d := &decisions[i]
			if d.Path == at && (at == path || d.Action == Removed) {
				return d.String()
			}
		}
		if at == "" {
			break
		}
	}
	v, ok := r.own(path)
	if !ok {
		v = builtin.verdict(path)
	}
	return fmt.Sprintf("%s did not change. A change to it that no package accounts for %s: %s. Rule: %s.",
		shown(path), destiny(v.kind), v.reason, v.rule)
}

// String states the decision in a paragraph.
func (d Decision) String() string {
	return fmt.Sprintf("%s was %s, and that %s: %s. Rule: %s.", shown(d.Path), d.Action, destiny(d.Kind), d.Reason, d.Rule)
}

func destiny(kind layers.Kind) string {
	if kind == Discard {
		return "is discarded"
	}
	return "goes to the " + string(kind) + " layer"
}

func shown(path string) string { return "/" + strings.ToValidUTF8(path, "?") }
