package registry

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"satchel/layers"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/publication"
)

// seqKey orders rows by number.
func seqKey(seq uint64) string { return string(binary.BigEndian.AppendUint64(nil, seq)) }

// readLog takes in the publications of the file.
func (r *Registry) readLog() error {
	for _, key := range r.published.sorted() {
		var refused *publication.RefusedError
		if err := r.log.Append(r.published.rows[key]); err != nil && !errors.As(err, &refused) {
			return fmt.Errorf("publications: %w: %w", store.ErrCorrupt, err)
		}
	}
	return nil
}

// Log returns what the publications say.
func (r *Registry) Log() *publication.Log {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.log.Clone()
}

// Publish appends to the log. It fails with [store.ErrMoved] when others did so
// since it was signed, [store.ErrNotExist] when it names what is not there,
// [syncer.ErrMalformed] when it is not signed by a known key, or says what
// devices would refuse. To append the last one again changes nothing.
//
// A publication in waves opens the first. An assignment gives those whom it is
// for the right to read its layers.
func (r *Registry) Publish(s publication.Statement) error {
	e, said, err := s.Open()
	if err != nil {
		return err
	}
	if said == nil {
		return malformed("publication %d says nothing", e.Seq)
	}
	return r.change(func(c *change) error {
		if e.Seq == r.log.Seq && e.Hash() == r.log.Head {
			return nil
		}
		if e.Seq != r.log.Seq+1 || e.Prev != r.log.Head {
			return fmt.Errorf("publication %d, and there are %d: %w", e.Seq, r.log.Seq, store.ErrMoved)
		}
		next := r.log.Clone()
		if err := next.Append(s); err != nil {
			return malformed("%w", err)
		}
		if err := r.follow(c, next, said); err != nil {
			return err
		}
		c.then(func() { r.log = *next })
		return r.published.put(c, seqKey(e.Seq), s)
	})
}

// follow does what an entry asks of the server.
func (r *Registry) follow(c *change, next *publication.Log, said *publication.Content) error {
	switch {
	case said.Publish != nil:
		p, _ := next.Channel(said.Publish.Layer, said.Publish.Channel)
		if l, ok := r.layers.rows[layerKey(p.Layer)]; !ok || !published(l.Kind) {
			return notExist("os or group layer", p.Layer.String())
		}
		if len(p.Waves) > 0 {
			return r.rollouts.put(c, seqKey(p.Seq), p.First(r.time()))
		}
	case said.Assign != nil:
		return r.assign(c, said.Assign)
	case said.Unassign != nil:
		if _, ok := r.log.Assignments[said.Unassign.ID]; !ok {
			return notExist("assignment", said.Unassign.ID)
		}
	}
	return nil
}

// assign checks an assignment, and grants what it needs.
func (r *Registry) assign(c *change, a *publication.Assignment) error {
	if err := r.checkPrincipal(a.To); err != nil {
		return err
	}
	want := layers.OS
	for _, s := range a.Sources() {
		l, ok := r.layers.rows[layerKey(s.Layer)]
		if !ok || l.Kind != want {
			return notExist(string(want)+" layer", s.Layer.String())
		}
		want = layers.Group
		if slices.ContainsFunc(l.Grants, func(g syncer.Grant) bool { return g.To == a.To }) {
			continue
		}
		l = copyLayer(l)
		if err := r.grant(&l, syncer.Grant{To: a.To, Access: syncer.Read}); err != nil {
			return err
		}
		if err := r.layers.put(c, layerKey(l.ID), l); err != nil {
			return err
		}
	}
	return nil
}

// Statements returns the publications from a number on, at most so many, as a
// device may see them, and how many there are in all. Publishers see all that
// they say.
func (r *Registry) Statements(d syncer.Device, from uint64, most int) ([]publication.Statement, uint64, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	h, err := r.holder(d)
	if err != nil {
		return nil, 0, err
	}
	all := r.statements(from, most)
	if r.users.rows[h.user].Publisher {
		return all, r.log.Seq, nil
	}
	for i := range all {
		shown, err := r.shown(&all[i], h)
		if err != nil {
			return nil, 0, err
		}
		if !shown {
			all[i].Content = nil
		}
	}
	return all, r.log.Seq, nil
}

// AllStatements is Statements for an administrator.
func (r *Registry) AllStatements(from uint64, most int) ([]publication.Statement, uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.statements(from, most), r.log.Seq
}

func (r *Registry) statements(from uint64, most int) []publication.Statement {
	all := []publication.Statement{}
	for seq := max(from, 1); seq <= r.log.Seq && len(all) < most; seq++ {
		all = append(all, r.published.rows[seqKey(seq)])
	}
	return all
}

// shown reports whether a device may know what a statement says.
func (r *Registry) shown(s *publication.Statement, h holder) (bool, error) {
	_, said, err := s.Open()
	if err != nil {
		return false, fmt.Errorf("publications: %w: %w", store.ErrCorrupt, err)
	}
	reads := func(id store.LayerID) bool {
		l, ok := r.layers.rows[layerKey(id)]
		return ok && r.access(h, &l) != ""
	}
	switch {
	case said.Publish != nil:
		return reads(said.Publish.Layer), nil
	case said.Withdraw != nil:
		return reads(said.Withdraw.Layer), nil
	case said.Assign != nil:
		return r.means(said.Assign.To, h), nil
	}
	return true, nil // keys, and assignments that are no more
}

// assigned returns the assignments that are for a device, newest first.
func (r *Registry) assigned(h holder) []publication.Assigned {
	var all []publication.Assigned
	for _, a := range r.log.Assignments {
		if r.means(a.To, h) {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b publication.Assigned) int { return cmp.Compare(b.Seq, a.Seq) })
	return all
}

// Assigned returns the assignments that are for a device, newest first. It fails
// with [syncer.ErrRevoked] or [syncer.ErrCertificate].
func (r *Registry) Assigned(d syncer.Device) ([]publication.Assigned, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	h, err := r.holder(d)
	if err != nil {
		return nil, err
	}
	return r.assigned(h), nil
}

func assignmentIDs(all []publication.Assigned) []string {
	var ids []string
	for _, a := range all {
		ids = append(ids, a.ID)
	}
	return ids
}
