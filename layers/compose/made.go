package compose

import "satchel/layers"

// Made reports whether the content of a regular entry was made by composing,
// by the merge of a registry, so that only the result holds it and no store.
func (r *Result) Made(e *layers.Entry) bool {
	if len(e.Extents) == 0 {
		return false
	}
	_, ok := r.made[e.Extents[0].ID]
	return ok
}
