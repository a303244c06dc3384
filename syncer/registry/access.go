package registry

import (
	"fmt"
	"slices"
	"strings"

	"satchel/store"
	"satchel/syncer"
)

// A holder is whom rights are looked up for: a user, on one device or on any.
type holder struct {
	user   string
	device string // "": on any
}

// access is where all rights are decided. An owner may do all, but write what
// publishers write only while being one.
func (r *Registry) access(h holder, l *syncer.LayerInfo) syncer.Access {
	var best syncer.Access
	if l.Owner == h.user {
		best = syncer.Write
		if published(l.Kind) && !r.users.rows[h.user].Publisher {
			best = syncer.Read
		}
	}
	for _, g := range l.Grants {
		if best != syncer.Write && r.means(g.To, h) {
			best = g.Access
		}
	}
	return best
}

// means reports whether a principal takes a holder in.
func (r *Registry) means(p syncer.Principal, h holder) bool {
	kind, name, _ := strings.Cut(string(p), ":")
	switch kind {
	case "all":
		return true
	case "user":
		return name == h.user
	case "group":
		_, in := slices.BinarySearch(r.groups.rows[name].Members, h.user)
		return in
	default:
		return name != "" && name == h.device
	}
}

// holder finds out who a device is now, or fails with [syncer.ErrRevoked] or
// [syncer.ErrCertificate].
func (r *Registry) holder(d syncer.Device) (holder, error) {
	row, ok := r.devices.rows[d.Name]
	switch {
	case !ok || row.User != d.User:
		return holder{}, fmt.Errorf("device %.80q: %w", d.Name, syncer.ErrCertificate)
	case row.Revoked:
		return holder{}, fmt.Errorf("device %s: %w", d.Name, syncer.ErrRevoked)
	}
	return holder{row.User, row.Name}, nil
}

// Access says what a device may do with a layer: "" is nothing, as with a layer
// that is not there, or a device that was revoked or removed meanwhile.
func (r *Registry) Access(d syncer.Device, id store.LayerID) (syncer.Access, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	h, err := r.holder(d)
	l, ok := r.layers.rows[layerKey(id)]
	if err != nil || !ok {
		return "", nil //nolint:nilerr // who is not let in may do nothing
	}
	return r.access(h, &l), nil
}

// View returns what a device may see: its layers, without heads, and its user's
// workspaces, from one moment. Revision is left empty. It fails with
// [syncer.ErrRevoked] or [syncer.ErrCertificate]. Only the first call after a
// change looks at all layers.
func (r *Registry) View(d syncer.Device) (syncer.State, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	h, err := r.holder(d)
	if err != nil {
		return syncer.State{}, err
	}
	made, ok := r.views.Load(d.Name)
	if !ok {
		made = r.view(h)
		r.views.Store(d.Name, made)
	}
	s := made.(syncer.State)
	s.Layers = append([]syncer.Layer{}, s.Layers...)
	s.Workspaces = append([]syncer.Workspace{}, s.Workspaces...)
	for i := range s.Workspaces {
		s.Workspaces[i] = copyWorkspace(s.Workspaces[i])
	}
	return s, nil
}

func (r *Registry) view(h holder) syncer.State {
	s := syncer.State{
		Server: r.meta.Server, Device: h.device, User: h.user,
		Publisher: r.users.rows[h.user].Publisher,
		Published: r.log.Seq,
	}
	if r.log.Seq > 0 {
		s.PublishedHead = r.log.Head.String()
	}
	mine := r.assigned(h)
	s.Assignments, s.Rollouts = assignmentIDs(mine), r.rolledOut(h)
	for _, l := range r.layers.rows {
		if access := r.access(h, &l); access != "" {
			s.Layers = append(s.Layers, syncer.Layer{ID: l.ID, Name: l.Name, Kind: l.Kind, Owner: l.Owner, Access: access})
		}
	}
	slices.SortFunc(s.Layers, func(a, b syncer.Layer) int { return strings.Compare(a.Name, b.Name) })
	for _, w := range r.works.rows {
		if w.Owner == h.user && r.visible(&w, mine) {
			s.Workspaces = append(s.Workspaces, w)
		}
	}
	slices.SortFunc(s.Workspaces, func(a, b syncer.Workspace) int { return strings.Compare(a.Name, b.Name) })
	return s
}
