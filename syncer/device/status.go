package device

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"satchel/layers"
	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/exchange"
)

// patience is how long Status waits for the server.
const patience = 10 * time.Second

// Status tells how the home stands. When the server cannot be reached it goes
// by what was last heard from it. It changes nothing but what the store knows
// of the histories of others.
func (d *Device) Status(ctx context.Context) (Status, error) {
	m := d.membership()
	p := &pass{Device: d, memo: d.loadMemo()}
	st := Status{Config: m.Config, LastSync: p.memo.Synced, Workspaces: []WorkspaceStatus{}}
	cert, err := x509.ParseCertificate(m.Certificate)
	if err != nil {
		return st, fmt.Errorf("the certificate of this device: %w", err)
	}
	st.Expires = cert.NotAfter
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := p.refresh(asking); err != nil {
		if ctx.Err() != nil {
			return st, ctx.Err()
		}
		p.state, st.Reason = p.memo.State, err.Error()
	} else {
		st.Online = true
	}
	if st.Disk, err = DiskOf(d.opt.Home); err != nil {
		return st, err
	}
	if short := p.memo.Short; short != nil {
		st.Disk.Lacking, st.Disk.Reason = short.Lacking, short.Reason
	}
	here, errs := p.definitions()
	for i := range here {
		ws, err := p.workspaceStatus(ctx, &here[i], &st)
		if err != nil {
			errs = append(errs, fmt.Errorf("workspace %s: %w", here[i].Name, err))
			continue
		}
		st.Workspaces = append(st.Workspaces, ws)
	}
	return st, errors.Join(errs...)
}

func (p *pass) workspaceStatus(ctx context.Context, def *workspace.Definition, st *Status) (WorkspaceStatus, error) {
	ws := WorkspaceStatus{Name: def.Name, Ready: true}
	if rec, err := p.opt.Workspaces.LoadSession(def.Name); err == nil {
		ws.Suspended = rec.State == workspace.Suspended
	}
	for _, place := range def.Stack() {
		if place.Kind == layers.Local {
			continue // it is of this device alone
		}
		l, err := p.layerStatus(ctx, place, st)
		if err != nil {
			return ws, fmt.Errorf("layer %s: %w", place.Name, err)
		}
		ws.Layers = append(ws.Layers, l)
		if l.Local.IsZero() && (!l.Remote.IsZero() || place.Kind == layers.OS) || l.Left.Chunks > 0 {
			ws.Ready = false
		}
		ws.fill.add(&l)
	}
	ws.Fill = ws.fill.told(p.pace())
	return ws, nil
}

func (p *pass) layerStatus(ctx context.Context, place workspace.Place, st *Status) (LayerStatus, error) {
	head, err := p.opt.Store.Heads().Head(ctx, place.ID)
	if err != nil {
		return LayerStatus{}, err
	}
	l := LayerStatus{Layer: head.Layer, Name: head.Name, Kind: string(place.Kind), Local: head.Version, Ready: true}
	if l.All, l.Left, err = p.left(ctx, head.Version); err != nil {
		return l, err
	}
	remote, known := p.find(head.Layer)
	if !known {
		return l, nil
	}
	l.Remote = remote.Version
	t := &task{pass: p, head: head}
	err = t.measure(ctx, &l, st.Online)
	if fatal(err) && ctx.Err() == nil { // the connection was lost meanwhile
		st.Online, st.Reason = false, err.Error()
		err = t.measure(ctx, &l, false)
	}
	l.Ready = (l.Relation == syncer.Equal || l.Relation == syncer.Ahead) && l.Left.Chunks == 0
	return l, err
}

// measure finds out how a layer stands, and how much there is to move.
func (t *task) measure(ctx context.Context, l *LayerStatus, online bool) (err error) {
	st := t.opt.Store
	var base store.ID
	switch known, err := descends(ctx, st, l.Local, l.Remote); {
	case err != nil:
		return err
	case l.Local == l.Remote:
		l.Relation = syncer.Equal
		return nil
	case known:
		base = l.Remote
	case online:
		if base, err = t.measureDown(ctx, l); err != nil {
			return err
		}
	default:
		base = t.guessBase(ctx, l)
	}
	l.Relation = syncer.Reconcile(base, l.Local, l.Remote)
	if l.Relation == syncer.Ahead || l.Relation == syncer.Diverged {
		l.Up, err = exchange.Unsent(ctx, st, base, l.Local)
		if errors.Is(err, store.ErrNotExist) || errors.Is(err, repo.ErrPartial) {
			err = nil // the base is partial: it cannot be told
		}
	}
	return err
}

// guessBase returns a base without the server's help: that of the records that
// are here, or else the head that both had after the last sync.
func (t *task) guessBase(ctx context.Context, l *LayerStatus) store.ID {
	base, err := repo.Base(ctx, t.opt.Store, l.Local, l.Remote)
	if err != nil {
		return t.agreed()
	}
	return base
}

// measureDown asks the server for records and manifests, and adds up what a
// pull would fetch. It returns the base.
func (t *task) measureDown(ctx context.Context, l *LayerStatus) (base store.ID, err error) {
	w, err := t.opt.Store.Begin(ctx, "status of layer "+l.Name)
	if err != nil {
		return base, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	m := meeting{task: t, w: w, head: t.head, local: l.Local, remote: l.Remote}
	if err := m.compare(ctx); err != nil {
		return base, err
	}
	held, err := m.held(ctx, l.Remote, l.Local)
	if err != nil {
		return base, err
	}
	l.Down, err = exchange.Measure(ctx, t.opt.Store, w, t.server(), l.Layer, l.Remote, held, exchange.Options{})
	return m.base, err
}
