package session

import (
	"context"
	"fmt"
	"strings"

	"satchel/layers"
	"satchel/layers/compose"
	"satchel/layers/decompose"
	"satchel/store"
)

// An Explanation tells where a path of a workspace comes from.
type Explanation struct {
	Path string `json:"path"`
	// Providers are the layers that have the path, the one that is seen first.
	Providers []Provider `json:"providers"`
	// Captured is what the last capture decided about the path, if it did.
	Captured *decompose.Decision `json:"captured,omitempty"`
	// Next is what a capture would decide about a change of it.
	Next decompose.Decision `json:"next"`
	// Conflicts and Shadowed are what composing had to say about the path.
	Conflicts []string `json:"conflicts,omitempty"`
}

// A Provider is a layer that has a path.
type Provider struct {
	Kind    layers.Kind `json:"kind"`
	Layer   string      `json:"layer"`
	Version store.ID    `json:"version"`
	Type    string      `json:"type"`
	Size    int64       `json:"size"`
}

// Explain tells which layers of the workspace provide the path, at their
// heads, and why it is where it is. The path may begin with a slash.
func (h *Host) Explain(ctx context.Context, name, path string) (Explanation, error) {
	path = strings.Trim(path, "/")
	out := Explanation{Path: path}
	if err := layers.CheckPath(path); err != nil {
		return out, err
	}
	def, err := h.Workspaces.Load(name)
	if err != nil {
		return out, err
	}
	versions, err := h.current(ctx, def)
	if err != nil {
		return out, err
	}
	s, err := h.load(ctx, def, versions)
	if err != nil {
		return out, err
	}
	for i := len(s.layers) - 1; i >= 0; i-- {
		if e := s.layers[i].Tree.Find(path); e != nil {
			out.Providers = append(out.Providers, Provider{s.layers[i].Kind, s.layers[i].Name, versions[i].Version, e.Type.String(), e.Size})
		}
	}
	decisions, err := h.loadDecisions(name)
	if err != nil {
		return out, err
	}
	for i := range decisions {
		if decisions[i].Path == path {
			out.Captured = &decisions[i]
		}
	}
	out.remark(s.whole)
	in, err := s.input(ctx, nil, "")
	if err != nil {
		return out, err
	}
	out.Next, err = decompose.Explain(ctx, in, path)
	return out, err
}

// remark copies what composing had to say about the path.
func (x *Explanation) remark(r *compose.Result) {
	for _, c := range r.Conflicts {
		if c.Path == x.Path {
			x.Conflicts = append(x.Conflicts, fmt.Sprintf("conflict in layer %s: %s", c.Layer, c.Reason))
		}
	}
	for _, c := range r.Shadowed {
		if c.Path == x.Path {
			x.Conflicts = append(x.Conflicts, fmt.Sprintf("layer %s: %s", c.Layer, c.Reason))
		}
	}
}

// Lines tells it to people.
func (x *Explanation) Lines() []string {
	lines := []string{"/" + x.Path}
	for i, p := range x.Providers {
		how := "seen, from"
		if i > 0 {
			how = "hidden, from"
		}
		lines = append(lines, fmt.Sprintf("  %s the %s layer %s (%s, %d bytes)", how, p.Kind, p.Layer, p.Type, p.Size))
	}
	if len(x.Providers) == 0 {
		lines = append(lines, "  in no layer of this workspace")
	}
	if x.Captured != nil {
		lines = append(lines, "  last capture: "+x.Captured.String())
	}
	lines = append(lines, fmt.Sprintf("  a change of it would go to %s: %s (%s)", x.Next.Kind, x.Next.Reason, x.Next.Rule))
	return append(lines, x.Conflicts...)
}
