package device

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"satchel/layers"
	"satchel/store"
	"satchel/store/durable"
	"satchel/syncer"
	"satchel/syncer/publication"
)

// A pinned log is what a device knows of what publishers say. Unlike the memo it
// must not be lost: it says whom the device believes, and what it has seen.
type pinnedLog struct {
	durable.Header
	publication.Log
}

const logFormat = "satchel publications"

var logHeader = durable.Header{Format: logFormat, Version: formatVersion}

// loadLog reads the log, or returns nil when there is none.
func (d *Device) loadLog() (*publication.Log, error) {
	var kept pinnedLog
	err := durable.ReadJSON(d.path(logFile), logHeader, &kept)
	if errors.Is(err, store.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("what publishers have said: %w", err)
	}
	return &kept.Log, nil
}

func (d *Device) saveLog(l *publication.Log) error {
	return durable.WriteJSON(d.path(logFile), pinnedLog{logHeader, *l})
}

// hear takes in a state of the server. What publishers say decides which
// versions of their layers count: where the server shows anything else, those
// layers stay as they are, and all others are synced.
func (p *pass) hear(ctx context.Context, state syncer.State) error {
	log, err := p.follow(ctx, state)
	if fatal(err) {
		return err
	}
	if err != nil {
		p.unheard = fmt.Errorf("os and group layers stay as they are: %w", err)
	} else {
		p.unheard = nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log, p.state, p.stays = log, state, map[store.LayerID]bool{}
	if log == nil && err == nil {
		return nil
	}
	if p.signs() {
		return nil
	}
	p.state.Layers = slices.Clone(state.Layers)
	theirs := p.publishersLayers()
	for i := range p.state.Layers {
		if l := &p.state.Layers[i]; published(l.Kind) || theirs[l.ID] {
			l.Access = syncer.Read // whatever the server says
			if err := p.aim(ctx, l); err != nil {
				return err
			}
		}
	}
	return nil
}

// signs reports whether this home holds a publisher's key, and so may have
// versions of its own of what publishers publish.
func (p *pass) signs() bool {
	_, err := os.Lstat(p.path(signerFile))
	return err == nil
}

// publishersLayers are the layers of which publishers say which version counts,
// whatever the server says of them: those that they have spoken of, and those
// that lie in an os or group place here.
func (p *pass) publishersLayers() map[store.LayerID]bool {
	theirs := map[store.LayerID]bool{}
	if p.log != nil {
		for id := range p.log.Published {
			theirs[id] = true
		}
		for id := range p.log.Hidden {
			theirs[id] = true
		}
	}
	here, _ := p.definitions() // what cannot be read is an error of the sync
	for i := range here {
		for _, place := range here[i].Stack() {
			if published(place.Kind) {
				theirs[place.ID] = true
			}
		}
	}
	return theirs
}

func published(k layers.Kind) bool { return k == layers.OS || k == layers.Group }

// aim sets a layer's version to the one that this device shall have.
func (p *pass) aim(ctx context.Context, l *syncer.Layer) error {
	have, err := p.versionHere(ctx, l.ID)
	if err != nil {
		return err
	}
	l.Version = have // until something better is found
	heard := p.unheard == nil
	p.stays[l.ID] = !heard || !p.aimAt(l, have)
	return nil
}

// aimAt is aim for a layer of which this device has a version, or none. It reports
// whether there is one to aim at.
func (p *pass) aimAt(l *syncer.Layer, have store.ID) bool {
	source, by := p.log.For(l.ID, p.state.Assignments)
	target, err := p.log.Target(source, publication.Reader{
		Device: p.state.Device, Have: have, Rollouts: p.state.Rollouts,
	})
	switch {
	case err == nil && target.Version != have && p.wait(by.Start(&target, p.state.Device)):
	case err == nil:
		l.Version = target.Version
		return true
	case errors.Is(err, publication.ErrUnpublished) && have.IsZero(): // it is not for this device yet
	default:
		p.add(fmt.Sprintf("layer %s stays at %s: %v", l.Name, have.Short(), err))
	}
	return false
}

// versionHere is the local head of a layer; zero: it is not here.
func (p *pass) versionHere(ctx context.Context, id store.LayerID) (store.ID, error) {
	head, err := p.opt.Store.Heads().Head(ctx, id)
	if errors.Is(err, store.ErrNotExist) {
		return store.ID{}, nil
	}
	return head.Version, err
}

// wait reports whether what may begin then has to wait. Who syncs by hand does
// not want to.
func (p *pass) wait(begin time.Time) bool {
	if !p.patient || !time.Now().Before(begin) {
		return false
	}
	if p.due.IsZero() || begin.Before(p.due) {
		p.due = begin
	}
	return true
}

// follow brings the log up to the server's, and keeps it.
func (p *pass) follow(ctx context.Context, state syncer.State) (*publication.Log, error) {
	log, err := p.loadLog()
	if err != nil {
		return nil, err
	}
	if log == nil {
		if state.Published == 0 {
			return nil, nil
		}
		log = &publication.Log{}
	}
	if err := log.Reached(state.Published); err != nil {
		return log, err
	}
	if log.Seq == state.Published && log.Head.String() == state.PublishedHead && withheld(log, state) == nil {
		return log, nil
	}
	next, err := p.extend(ctx, log.Clone())
	if err == nil && withheld(next, state) != nil {
		// It was shown less before than it may see now.
		if next, err = p.extend(ctx, log.Anew()); err == nil {
			err = withheld(next, state)
		}
	}
	if err != nil {
		return log, err
	}
	if !p.keeps {
		return next, nil
	}
	return next, p.saveLog(next)
}

// extend asks for what follows in a log.
func (p *pass) extend(ctx context.Context, log *publication.Log) (*publication.Log, error) {
	for {
		page, err := p.server().Publications(ctx, max(log.Seq, 1))
		if err != nil {
			return nil, err
		}
		if err := log.Reached(page.Last); err != nil {
			return nil, err
		}
		before := log.Seq
		refused, err := log.Extend(page.Statements)
		if err != nil {
			return nil, err
		}
		for _, err := range refused {
			p.note("%v", err)
		}
		if log.Seq >= page.Last {
			return log, nil
		}
		if log.Seq == before {
			return nil, fmt.Errorf("the server has %d publications and shows %d: %w", page.Last, before, syncer.ErrMalformed)
		}
	}
}

// withheld reports what the device may know of and was not shown.
func withheld(log *publication.Log, state syncer.State) error {
	for i := range state.Layers {
		if l := &state.Layers[i]; published(l.Kind) && log.Hidden[l.ID] > 0 {
			return fmt.Errorf("the server does not show what was said of layer %s: %w", l.Name, publication.ErrForged)
		}
	}
	for _, id := range state.Assignments {
		if _, shown := log.Assignments[id]; !shown {
			return fmt.Errorf("the server does not show assignment %s: %w", id, publication.ErrForged)
		}
	}
	return nil
}

// assigned fails unless a workspace that the server says was assigned is as
// publishers have signed it.
func (p *pass) assigned(w *syncer.Workspace) error {
	if w.Assignment == "" {
		return nil
	}
	if p.unheard != nil {
		return p.unheard
	}
	if p.log != nil {
		if a, ok := p.log.Assignments[w.Assignment]; ok {
			signed := syncer.Workspace{Name: a.Workspace, Assignment: a.ID, OS: a.OS.Layer, Options: a.Options}
			for _, g := range a.Groups {
				signed.Groups = append(signed.Groups, g.Layer)
			}
			if w.Assigned(&signed) {
				return nil
			}
		} else if p.log.Seq > 0 && !slices.Contains(p.state.Assignments, w.Assignment) {
			return nil // it was unassigned: the workspace stays as it is
		}
	}
	return fmt.Errorf("workspace %s is not as it was assigned: %w", w.Name, publication.ErrForged)
}

// published reports whether the local version of a layer is one that publishers
// have published, and not anything that was done here.
func (m *meeting) published() bool {
	if m.log == nil || m.unheard != nil {
		return false
	}
	return slices.ContainsFunc(m.log.Published[m.head.Layer], func(p publication.Published) bool { return p.Version == m.local })
}

// goBack moves the local head to an older version than it is at.
func (m *meeting) goBack(ctx context.Context) error {
	if err := m.bring(ctx); err != nil {
		return err
	}
	if err := m.opt.Store.Heads().CompareAndSwap(ctx, m.moveTo(m.remote)); err != nil {
		return err
	}
	m.report.Pulled = m.remote
	m.report.Note = fmt.Sprintf("layer %s went back to %s", m.head.Name, m.remote.Short())
	m.agree(m.remote)
	return nil
}
