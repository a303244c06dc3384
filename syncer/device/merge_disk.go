package device

import (
	"bytes"
	"context"
	"fmt"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/layers/merge/trees"
	"satchel/layers/repo"
	"satchel/store"
)

// mergeDisks joins two lines of which one at least ends in a disk. Disks cannot
// be merged, nor a disk with files: the version made last is taken whole, on all
// devices the same one, and the other one stays in the history. It returns no
// commit when neither is a disk.
func (m *meeting) mergeDisks(ctx context.Context) (*repo.Commit, trees.Output, error) {
	var v [2]layers.Version
	for i, id := range []store.ID{m.local, m.remote} {
		var err error
		if v[i], err = manifest.ReadVersion(ctx, m.opt.Store, id); err != nil {
			return nil, trees.Output{}, err
		}
	}
	if v[0].Form != layers.Disk && v[1].Form != layers.Disk {
		return nil, trees.Output{}, nil
	}
	newest, other := v[0], m.remote
	if c := v[1].Time.Compare(v[0].Time); c > 0 || c == 0 && bytes.Compare(m.remote[:], m.local[:]) > 0 {
		newest, other = v[1], m.local
	}
	tree, err := manifest.ReadTree(ctx, m.opt.Store, newest.Tree)
	if err != nil {
		return nil, trees.Output{}, err
	}
	out := trees.Output{Tree: tree, Conflicts: []trees.Conflict{{
		Path:   layers.DiskPath,
		Reason: fmt.Sprintf("disks cannot be merged: the one that %s captured last was taken; version %s has the other one", newest.Device, other.Short()),
	}}}
	return &repo.Commit{Kind: newest.Kind, Form: newest.Form, On: newest.On, Tree: tree}, out, nil
}
