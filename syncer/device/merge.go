package device

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"satchel/layers/manifest"
	"satchel/layers/merge/trees"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/syncer"
)

// merge joins both lines in a version of which both heads are parents, and
// moves the local head to it.
func (m *meeting) merge(ctx context.Context) (store.ID, error) {
	if err := m.fetch(ctx, m.remote); err != nil {
		return store.ID{}, err
	}
	commit, out, err := m.mergeDisks(ctx)
	if err == nil && commit == nil {
		commit, out, err = m.mergeTrees(ctx)
	}
	if err != nil {
		return store.ID{}, err
	}
	message, err := m.mergeMessage(ctx)
	if err != nil {
		return store.ID{}, err
	}
	commit.Head, commit.Message, commit.Parents = m.head, message, []store.ID{m.local, m.remote}
	staged, err := m.opt.Repo.Stage(ctx, m.w, *commit)
	if err != nil {
		return store.ID{}, err
	}
	merged := staged.Versions[0]
	if err := m.opt.Store.Heads().CompareAndSwap(ctx, m.moveTo(merged)); err != nil {
		return store.ID{}, err
	}
	m.report.Merged, m.report.Conflicts = merged, out.Conflicts
	return merged, nil
}

// mergeTrees merges the two heads three ways.
func (m *meeting) mergeTrees(ctx context.Context) (*repo.Commit, trees.Output, error) {
	if err := m.fetchBase(ctx); err != nil {
		return nil, trees.Output{}, err
	}
	var sides [3]trees.Side
	for i, version := range []store.ID{m.base, m.local, m.remote} {
		var err error
		if sides[i], err = m.opt.Repo.Side(ctx, version); err != nil {
			return nil, trees.Output{}, err
		}
	}
	mine, err := manifest.ReadVersion(ctx, m.opt.Store, m.local)
	if err != nil {
		return nil, trees.Output{}, err
	}
	out, err := m.opt.Repo.Merge(ctx, m.w, sides[0], sides[1], sides[2])
	if err != nil {
		return nil, out, fmt.Errorf("merge %s with %s: %w", m.local.Short(), m.remote.Short(), err)
	}
	return &repo.Commit{Kind: mine.Kind, Tree: out.Tree, Base: out.Base}, out, nil
}

// fetchBase brings the contents of the base, if they are not here.
func (m *meeting) fetchBase(ctx context.Context) error {
	lacking, err := m.lacking(ctx, m.base)
	if err != nil || !lacking {
		return err
	}
	return m.complete(ctx, m.base)
}

// mergeMessage says whose work is merged.
func (m *meeting) mergeMessage(ctx context.Context) (string, error) {
	var devices []string
	for _, id := range m.theirs {
		v, err := manifest.ReadVersion(ctx, m.opt.Store, id)
		if err != nil {
			return "", err
		}
		if i, found := slices.BinarySearch(devices, v.Device); !found {
			devices = slices.Insert(devices, i, v.Device)
		}
	}
	const most = 5
	if len(devices) > most {
		devices = append(devices[:most], "others")
	}
	return "merge with what " + strings.Join(devices, ", ") + " did", nil
}

// yield makes way for the server where this device may only read. What was done
// here is kept as a layer of its own.
func (m *meeting) yield(ctx context.Context) error {
	if m.remote.IsZero() {
		m.report.Note = fmt.Sprintf("the server has no version of %s yet, and this device may not send one", m.head.Name)
		return nil
	}
	if m.published() {
		return m.goBack(ctx)
	}
	if m.relation == syncer.Ahead && m.local == m.agreed() {
		m.report.Note = fmt.Sprintf("the server went back to an older version of %s; the newer one stays here", m.head.Name)
		return nil
	}
	if err := m.bring(ctx); err != nil {
		return err
	}
	mine, err := m.emptyLayer(ctx, m.head.Name+"+mine")
	if err != nil {
		return err
	}
	kept, err := m.keep(ctx, mine)
	if err != nil {
		return err
	}
	err = m.opt.Store.Heads().CompareAndSwap(ctx, store.Move{Layer: mine.Layer, To: kept}, m.moveTo(m.remote))
	if err != nil {
		return err
	}
	m.report.Pulled = m.remote
	m.report.Note = fmt.Sprintf("only others may change %s; what was changed here is kept as layer %s", m.head.Name, mine.Name)
	m.agree(m.remote)
	return nil
}

// bring sees to it that the server's version is whole here.
func (m *meeting) bring(ctx context.Context) error {
	if m.relation == syncer.Diverged {
		return m.fetch(ctx, m.remote)
	}
	return m.whole(ctx)
}

// keep makes a version of another layer of what the local head has.
func (m *meeting) keep(ctx context.Context, as store.Head) (store.ID, error) {
	v, err := manifest.ReadVersion(ctx, m.opt.Store, m.local)
	if err != nil {
		return store.ID{}, err
	}
	v.Layer, v.Parents = as.Layer, []store.ID{m.local}
	v.Time, v.Device = time.Now().UTC(), m.membership().Device
	v.Message = "keep what was changed in " + m.head.Name + " here"
	id, err := manifest.WriteVersion(ctx, m.w, v)
	if err != nil {
		return store.ID{}, err
	}
	return id, m.w.Flush(ctx)
}
