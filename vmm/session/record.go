package session

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"satchel/layers"
	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/vmm/delta"
)

// Record boots the workspace's os and group layers alone, calls install with
// the running session, and keeps what that changed as a version of the group
// layer called layer, which it makes if there is none. The workspace's own
// layers take no part. When anything fails nothing is kept.
func (h *Host) Record(ctx context.Context, name, layer string, opt Options, install func(context.Context, *Session) error) (got Captured, err error) {
	release, _, err := h.idle(ctx, name)
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, release()) }()
	def, err := h.Workspaces.Load(name)
	if err != nil {
		return got, err
	}
	s := h.newSession(name, func() error { return nil })
	s.delta = filepath.Join(h.Workspaces.Dir(name), recordFile)
	all, unhold, err := h.hold(ctx, def)
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, unhold()) }()
	if err := s.start(ctx, def, published(all, layer), opt); err != nil {
		return got, errors.Join(err, s.abandon())
	}
	defer func() { err = errors.Join(err, sweep(s.delta)) }()
	if err := s.install(ctx, install); err != nil {
		s.Stop(context.WithoutCancel(ctx), true) //nolint:errcheck // what failed first is told
		return got, err
	}
	if _, err := s.Stop(ctx, false); err != nil {
		s.Wait(context.WithoutCancel(ctx)) //nolint:errcheck // what failed first is told
		return got, err
	}
	return h.keepRecording(ctx, s, layer)
}

// recordFile is the delta disk of a recording, beside that of sessions. One
// that a crash left is of no use.
const recordFile = "record.img"

// published picks the os and group layers, but for the group layer that is
// being recorded anew.
func published(all []workspace.Pin, without string) []workspace.Pin {
	var out []workspace.Pin
	for _, v := range all {
		if !v.Kind.Writable() && v.Name != without {
			out = append(out, v)
		}
	}
	return out
}

func (s *Session) install(ctx context.Context, install func(context.Context, *Session) error) error {
	if _, err := s.Ready(ctx); err != nil {
		return err
	}
	return install(ctx, s)
}

func (h *Host) keepRecording(ctx context.Context, s *Session, layer string) (got Captured, err error) {
	state, err := delta.State(s.delta)
	if err != nil {
		return got, err
	}
	if state.Condition != delta.Clean {
		return got, fmt.Errorf("the guest did not end cleanly (%s): nothing was recorded, try again", s.end.How)
	}
	w, err := h.Store.Begin(ctx, "record "+layer)
	if err != nil {
		return got, err
	}
	defer w.Close()
	out, notes, err := h.sort(ctx, w, s.stack, s.delta, layers.Group)
	if err != nil {
		return got, err
	}
	head, err := h.Store.Heads().Lookup(ctx, layer)
	if errors.Is(err, store.ErrNotExist) {
		head, err = h.Repo.Create(ctx, layer)
	}
	if err != nil {
		return got, err
	}
	result := out.Layers[layers.Group]
	ids, err := h.Repo.Commit(ctx, w, repo.Commit{
		Head: head, Kind: layers.Group, Tree: result.Tree, Base: result.Base, Message: "recorded in " + s.name,
	})
	if err != nil {
		return got, err
	}
	return Captured{
		Workspace: s.name, Decisions: out.Decisions, Notes: notes,
		Layers: []CapturedLayer{{layers.Group, layer, ids[0], countKind(out.Decisions, layers.Group)}},
	}, nil
}
