package decompose

import (
	"fmt"
	"slices"

	"satchel/layers"
)

// A verdict is what is to become of a change.
type verdict struct {
	kind   layers.Kind // as decided; after apply the layer it went to
	rule   string
	reason string
}

func sortChanges(c []change) {
	slices.SortFunc(c, func(a, b change) int { return layers.ComparePaths(a.path, b.path) })
}

// judge gives each change its kind: by the rules of the workspace, then by what
// dpkg knows, then by the built-in table.
func (in *Input) judge(changes []change) ([]verdict, error) {
	pkgs, err := in.packages(changes)
	if err != nil {
		return nil, err
	}
	out := make([]verdict, len(changes))
	for i := range changes {
		c := &changes[i]
		v, ok := in.Rules.own(c.path)
		if !ok {
			if v, ok, err = in.judgePackage(c, pkgs); err != nil {
				return nil, err
			}
		}
		if !ok {
			v = builtin.verdict(c.path)
		}
		out[i] = in.direct(v)
	}
	keepParents(changes, out)
	return out, nil
}

// direct applies Into.
func (in *Input) direct(v verdict) verdict {
	switch {
	case in.Into == "" || v.kind == Discard:
	case v.kind == layers.Local && in.Into != layers.Local:
		v.kind, v.reason = Discard, v.reason+"; it belongs to the device, not to a layer for others"
	case v.kind != in.Into:
		v.reason += fmt.Sprintf("; not to %s, since everything of this session goes to %s", v.kind, in.Into)
		v.kind = in.Into
	}
	if in.Into == "" && v.kind != Discard && in.missing(v.kind) {
		v.reason += fmt.Sprintf("; the stack has no %s layer", v.kind)
		v.kind = in.nearest(v.kind)
	}
	return v
}

// missing reports whether the stack lacks a layer of a kind.
func (in *Input) missing(kind layers.Kind) bool {
	_, ok := in.Layers[kind]
	return !ok
}

// nearest returns the layer that stands in for a missing one: the next higher,
// or the topmost.
func (in *Input) nearest(kind layers.Kind) layers.Kind {
	kinds := in.kinds()
	for _, k := range kinds {
		if k.Rank() > kind.Rank() {
			return k
		}
	}
	if len(kinds) == 0 {
		return Discard
	}
	return kinds[len(kinds)-1]
}

// keepParents keeps new directories that hold something that is kept.
func keepParents(changes []change, verdicts []verdict) {
	holds := map[string]int{} // directory to a kept change in it
	for i := len(changes) - 1; i >= 0; i-- {
		c, v := &changes[i], &verdicts[i]
		if j, ok := holds[c.path]; ok && v.kind == Discard && c.newDir() {
			v.kind = verdicts[j].kind
			v.reason += "; but kept, for " + changes[j].path + " in it"
		}
		if v.kind == Discard {
			continue
		}
		for dir := c.path; dir != ""; {
			dir = parent(dir)
			if _, ok := holds[dir]; ok {
				break
			}
			holds[dir] = i
		}
	}
}

// parent returns the directory that a path is in.
func parent(path string) string {
	dir, _ := layers.SplitPath(path)
	return dir
}

// decision states the verdict on a change for people.
func (in *Input) decision(c *change, v *verdict) Decision {
	d := Decision{Path: c.path, Action: c.action(), Kind: v.kind, Rule: v.rule, Reason: v.reason}
	if c.old != nil && in.Owner != nil {
		if owner := in.Owner(c.path); owner != "" && owner != v.kind {
			d.Reason += fmt.Sprintf("; until now %s provided it", owner)
		}
	}
	if c.under > 0 {
		d.Reason += fmt.Sprintf(" (with %d paths under it)", c.under)
	}
	return d
}
