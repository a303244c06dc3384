package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"satchel/layers"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/syncer"
)

func layerKey(id store.LayerID) string { return string(id[:]) }

func copyLayer(l syncer.LayerInfo) syncer.LayerInfo {
	l.Grants = append([]syncer.Grant{}, l.Grants...)
	return l
}

// Layers lists all layers, without their heads, ordered by name.
func (r *Registry) Layers() ([]syncer.LayerInfo, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]syncer.LayerInfo, 0, len(r.layers.rows))
	for _, l := range r.layers.rows {
		all = append(all, copyLayer(l))
	}
	slices.SortFunc(all, func(a, b syncer.LayerInfo) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Layer finds a layer by ID, or fails with [store.ErrNotExist].
func (r *Registry) Layer(id store.LayerID) (syncer.LayerInfo, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	l, ok := r.layers.rows[layerKey(id)]
	if !ok {
		return syncer.LayerInfo{}, notExist("layer", id.String())
	}
	return copyLayer(l), nil
}

// LayerByName finds a layer by its name on the server, or fails with
// [store.ErrNotExist].
func (r *Registry) LayerByName(name string) (syncer.LayerInfo, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	id, ok := r.named[name]
	if !ok {
		return syncer.LayerInfo{}, notExist("layer", name)
	}
	return copyLayer(r.layers.rows[layerKey(id)]), nil
}

// AddLayer adds a layer, with the grants in it. It fails with [store.ErrExist]
// when its ID or name is taken, [store.ErrNotExist] of its owner or whom a grant
// is for, [syncer.ErrForbidden] when the owner of an os or group layer is no
// publisher, [syncer.ErrTooLarge] when the owner has too many, and
// [syncer.ErrMalformed].
func (r *Registry) AddLayer(l syncer.LayerInfo) (syncer.LayerInfo, error) {
	err := r.change(func(c *change) error {
		if err := r.checkLayer(&l); err != nil {
			return err
		}
		if _, ok := r.layers.rows[layerKey(l.ID)]; ok {
			return exist("layer", l.ID.String())
		}
		if _, ok := r.named[l.Name]; ok {
			return exist("layer", l.Name)
		}
		if countOf(r.layers.rows, func(o syncer.LayerInfo) bool { return o.Owner == l.Owner }) >= maxLayers {
			return fmt.Errorf("more than %d layers of %s: %w", maxLayers, l.Owner, syncer.ErrTooLarge)
		}
		grants := l.Grants
		l.Grants, l.Version, l.Created = nil, store.ID{}, r.time()
		for _, g := range grants {
			if err := r.grant(&l, g); err != nil {
				return err
			}
		}
		c.then(func() { r.named[l.Name] = l.ID })
		return r.layers.put(c, layerKey(l.ID), l)
	})
	return copyLayer(l), err
}

func (r *Registry) checkLayer(l *syncer.LayerInfo) error {
	if err := repo.CheckName(l.Name); err != nil {
		return malformed("%w", err)
	}
	if l.ID.IsZero() {
		return malformed("layer %s has no ID", l.Name)
	}
	if _, err := layers.ParseKind(string(l.Kind)); err != nil {
		return malformed("layer %s: %w", l.Name, err)
	}
	if l.Kind == layers.Local {
		return malformed("layer %s: layers of the kind local never leave their device", l.Name)
	}
	owner, ok := r.users.rows[l.Owner]
	if !ok {
		return notExist("user", l.Owner)
	}
	if published(l.Kind) && !owner.Publisher {
		return fmt.Errorf("layer %s is of the kind %s, and user %s is no publisher: %w", l.Name, l.Kind, l.Owner, syncer.ErrForbidden)
	}
	return nil
}

// published reports whether layers of a kind are written by publishers.
func published(k layers.Kind) bool { return k == layers.OS || k == layers.Group }

// RemoveLayer forgets a layer that no workspace uses, or fails with
// [store.ErrBusy], with a [*UseError], or [store.ErrNotExist].
func (r *Registry) RemoveLayer(id store.LayerID) error {
	return r.change(func(c *change) error {
		l, ok := r.layers.rows[layerKey(id)]
		if !ok {
			return notExist("layer", id.String())
		}
		var by []string
		for _, w := range r.works.rows {
			if slices.Contains(layersOf(&w), place{id, l.Kind}) {
				by = append(by, fmt.Sprintf("workspace %s of %s (%s)", w.Name, w.Owner, w.ID))
			}
		}
		if len(by) > 0 {
			slices.Sort(by)
			return &UseError{"layer " + l.Name, by}
		}
		r.layers.remove(c, layerKey(id))
		c.then(func() { delete(r.named, l.Name) })
		return nil
	})
}

// SetGrant gives or changes a grant; with access "" it takes it away. It fails
// with [store.ErrNotExist] of the layer, of whom the grant is for, or of a
// grant that is to be taken away.
func (r *Registry) SetGrant(id store.LayerID, g syncer.Grant) (l syncer.LayerInfo, err error) {
	err = r.change(func(c *change) error {
		var ok bool
		if l, ok = r.layers.rows[layerKey(id)]; !ok {
			return notExist("layer", id.String())
		}
		l = copyLayer(l)
		if err := r.grant(&l, g); err != nil {
			return err
		}
		return r.layers.put(c, layerKey(id), l)
	})
	return copyLayer(l), err
}

// grant changes the grants of a layer, which are ordered by whom they are for.
func (r *Registry) grant(l *syncer.LayerInfo, g syncer.Grant) error {
	if err := r.checkPrincipal(g.To); err != nil {
		return err
	}
	at, is := slices.BinarySearchFunc(l.Grants, g.To, func(g syncer.Grant, to syncer.Principal) int {
		return strings.Compare(string(g.To), string(to))
	})
	switch {
	case g.Access != "" && g.Access != syncer.Read && g.Access != syncer.Write:
		return malformed("access %.20q: want read or write", g.Access)
	case g.Access == "" && !is:
		return notExist("grant to", string(g.To))
	case g.Access == "":
		l.Grants = slices.Delete(l.Grants, at, at+1)
	case is:
		l.Grants[at] = g
	default:
		l.Grants = slices.Insert(l.Grants, at, g)
	}
	return nil
}

// checkPrincipal reports one that is malformed or not there.
func (r *Registry) checkPrincipal(p syncer.Principal) error {
	if err := p.Check(); err != nil {
		return err
	}
	kind, name, _ := strings.Cut(string(p), ":")
	ok := true
	switch kind {
	case "user":
		_, ok = r.users.rows[name]
	case "group":
		_, ok = r.groups.rows[name]
	case "device":
		_, ok = r.devices.rows[name]
	}
	if !ok {
		return notExist(kind, name)
	}
	return nil
}

// dropGrants takes away all grants to one who goes.
func (r *Registry) dropGrants(c *change, to syncer.Principal) error {
	var errs []error
	for key, l := range r.layers.rows {
		kept := slices.DeleteFunc(slices.Clone(l.Grants), func(g syncer.Grant) bool { return g.To == to })
		if len(kept) < len(l.Grants) {
			l.Grants = kept
			errs = append(errs, r.layers.put(c, key, l))
		}
	}
	return errors.Join(errs...)
}
