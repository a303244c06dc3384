package compose

import (
	"bytes"
	"slices"

	"satchel/layers"
)

// copyAttrs gives e the attributes of from.
func copyAttrs(e, from *layers.Entry) {
	e.Mode, e.UID, e.GID, e.ModTime, e.Xattrs = from.Mode, from.UID, from.GID, from.ModTime, from.Xattrs
}

// mergeAttrs gives e, which has the attributes from below, those in which
// upper differs from its base. Extended attributes count as one.
func mergeAttrs(e, base, upper *layers.Entry) {
	e.Mode = changed(e.Mode, base.Mode, upper.Mode)
	e.UID = changed(e.UID, base.UID, upper.UID)
	e.GID = changed(e.GID, base.GID, upper.GID)
	e.ModTime = changed(e.ModTime, base.ModTime, upper.ModTime)
	if !slices.EqualFunc(base.Xattrs, upper.Xattrs, func(a, b layers.Xattr) bool {
		return a.Name == b.Name && bytes.Equal(a.Value, b.Value)
	}) {
		e.Xattrs = upper.Xattrs
	}
}

func changed[T comparable](lower, base, upper T) T {
	if upper == base {
		return lower
	}
	return upper
}
