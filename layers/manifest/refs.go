package manifest

import (
	"context"

	"satchel/layers"
	"satchel/store"
)

// Refs are the chunks that one manifest chunk names, in the order in which it
// does, as often as it does.
type Refs struct {
	Parents  []store.ID // versions, of a version
	Below    []store.ID // manifest chunks: the roots of a version's trees, nodes, lists
	Contents []store.ID // chunks of files' contents, holes left out
	Sizes    []int64    // bytes of each of those, as their extents say
}

// ParseRefs reads a manifest chunk of whatever kind and returns what it names.
// It checks the chunk by itself, not whether it is what is wanted in its place.
// It fails with [store.ErrCorrupt] or [store.ErrNewer].
func ParseRefs(chunk []byte) (Refs, error) {
	var kind byte
	if len(chunk) > headerLen {
		kind = chunk[len(Magic)]
	}
	switch kind {
	case kindVersion:
		v, err := decodeVersion(chunk)
		if err != nil {
			return Refs{}, err
		}
		return versionRefs(&v), nil
	case kindList:
		l, _, _, err := parseList(chunk, chunk[headerLen])
		if err != nil {
			return Refs{}, err
		}
		var refs Refs
		refs.content(l.extents, l.refs)
		return refs, nil
	default: // what is none of the three is reported as no node
		n, err := decodeNode(chunk)
		if err != nil {
			return Refs{}, err
		}
		return nodeRefs(n), nil
	}
}

func versionRefs(v *layers.Version) Refs {
	refs := Refs{Parents: v.Parents}
	for _, root := range []layers.Root{v.Tree, v.Base} {
		if root.Entries > 0 {
			refs.Below = append(refs.Below, root.ID)
		}
	}
	return refs
}

func nodeRefs(n *node) Refs {
	var refs Refs
	for _, c := range n.children {
		refs.Below = append(refs.Below, c.id)
	}
	for i := range n.records {
		refs.content(n.records[i].Extents, n.records[i].lists)
	}
	return refs
}

func (r *Refs) content(xs []layers.Extent, lists []listRef) {
	for _, x := range xs {
		if !x.ID.IsZero() {
			r.Contents = append(r.Contents, x.ID)
			r.Sizes = append(r.Sizes, x.Len)
		}
	}
	for _, l := range lists {
		r.Below = append(r.Below, l.id)
	}
}

// Nodes calls visit with the ID of each node of a stored tree and its level,
// those above before those below; 0 is a leaf. It does not look below a node
// for which visit returns false. Apart from the root it reads only inner nodes,
// since leaves are named by them: about one chunk in a hundred. Lists of extents
// are named by leaves, and therefore not visited.
func Nodes(ctx context.Context, g store.Getter, root layers.Root, visit func(id store.ID, level int) bool) error {
	if root.Entries == 0 {
		return nil
	}
	c := child{id: root.ID, entries: root.Entries}
	n, err := readNode(ctx, g, c, -1)
	if err != nil || !visit(root.ID, int(n.level)) {
		return err
	}
	return visitBelow(ctx, g, n, visit)
}

// visitBelow visits what lies below a node. Levels go down, so it ends.
func visitBelow(ctx context.Context, g store.Getter, n *node, visit func(id store.ID, level int) bool) error {
	level := int(n.level) - 1
	for _, c := range n.children {
		if !visit(c.id, level) || level == 0 {
			continue
		}
		below, err := readNode(ctx, g, c, level)
		if err != nil {
			return err
		}
		if err := visitBelow(ctx, g, below, visit); err != nil {
			return err
		}
	}
	return nil
}
