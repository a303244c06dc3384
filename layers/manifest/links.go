package manifest

import (
	"context"
	"slices"
	"sort"

	"satchel/layers"
	"satchel/store"
)

// How many targets of hard links are gathered before they are looked up
// together, so that each node is opened once for many.
const (
	maxLinks     = 1 << 15
	maxLinkBytes = 4 << 20
)

// links gathers targets of hard links.
type links struct {
	targets []string
	bytes   int
}

// add reports whether it is time to take what was gathered.
func (l *links) add(target string) bool {
	l.targets = append(l.targets, target)
	l.bytes += len(target)
	return len(l.targets) >= maxLinks || l.bytes >= maxLinkBytes
}

// take returns the targets in order, each once, and starts over.
func (l *links) take() []string {
	slices.SortFunc(l.targets, layers.ComparePaths)
	targets := slices.Compact(l.targets)
	*l = links{}
	return targets
}

// resolveLinks checks that each target, in order, is a file below the node that
// c stands for.
func resolveLinks(ctx context.Context, g store.Getter, c child, level int, targets []string) error {
	n, err := readNode(ctx, g, c, level)
	if err != nil {
		return err
	}
	if n.level == 0 {
		return n.resolve(targets)
	}
	for i, below := range n.children {
		end := len(targets)
		if i+1 < len(n.children) {
			next := n.children[i+1].first
			end = sort.Search(len(targets), func(j int) bool { return layers.ComparePaths(targets[j], next) >= 0 })
		}
		if end > 0 {
			if err := resolveLinks(ctx, g, below, int(n.level)-1, targets[:end]); err != nil {
				return err
			}
		}
		targets = targets[end:]
	}
	return nil
}

// resolve checks that each target is a file of the leaf.
func (n *node) resolve(targets []string) error {
	for _, target := range targets {
		i, ok := slices.BinarySearchFunc(n.records, target, func(r record, p string) int { return layers.ComparePaths(r.Path, p) })
		if !ok {
			return corrupt("hard link to %.200q, which is not there", target)
		}
		switch n.records[i].Type {
		case layers.Hardlink, layers.Whiteout, layers.Dir:
			return corrupt("hard link to %.200q, which is not a file", target)
		}
	}
	return nil
}
