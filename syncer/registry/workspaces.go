package registry

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"satchel/layers"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/syncer"
)

// A place is a layer of a workspace and the kind that it has there.
type place struct {
	id   store.LayerID
	kind layers.Kind
}

// layersOf lists the layers of a workspace, lowest first.
func layersOf(w *syncer.Workspace) []place {
	all := []place{{w.OS, layers.OS}}
	for _, g := range w.Groups {
		all = append(all, place{g, layers.Group})
	}
	return append(all, place{w.Personal, layers.Personal}, place{w.System, layers.System}, place{w.Data, layers.Data})
}

func copyWorkspace(w syncer.Workspace) syncer.Workspace {
	w.Groups = append([]store.LayerID{}, w.Groups...)
	w.Options.Rules = append([]string(nil), w.Options.Rules...) // nil for none, as when read from the file
	w.Options.Reset = maps.Clone(w.Options.Reset)
	return w
}

// A RightsError reports a workspace with a layer that its owner may not use so.
// It is [syncer.ErrForbidden], and does not say whether the layer is there.
type RightsError struct {
	Layer store.LayerID
	Kind  layers.Kind // that the workspace has it as
	Owner string
	Need  syncer.Access
}

func (e *RightsError) Error() string {
	return fmt.Sprintf("%s layer %s of the workspace: %s needs the right to %s it: %v", e.Kind, e.Layer, e.Owner, e.Need, syncer.ErrForbidden)
}

// Unwrap returns [syncer.ErrForbidden].
func (e *RightsError) Unwrap() error { return syncer.ErrForbidden }

// Workspaces lists all workspaces, by owner and name.
func (r *Registry) Workspaces() ([]syncer.Workspace, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]syncer.Workspace, 0, len(r.works.rows))
	for _, w := range r.works.rows {
		all = append(all, copyWorkspace(w))
	}
	slices.SortFunc(all, func(a, b syncer.Workspace) int {
		return cmp.Or(strings.Compare(a.Owner, b.Owner), strings.Compare(a.Name, b.Name))
	})
	return all, nil
}

// Workspace finds one by ID, or fails with [store.ErrNotExist].
func (r *Registry) Workspace(id string) (syncer.Workspace, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	w, ok := r.works.rows[id]
	if !ok {
		return syncer.Workspace{}, notExist("workspace", id)
	}
	return copyWorkspace(w), nil
}

// PutWorkspace adds a workspace, when its revision is 0, or changes the one with
// that revision. It fails with [store.ErrMoved] when the revision is another,
// [store.ErrExist] when its owner has another of that name,
// [syncer.ErrTooLarge] when it is too large, or the owner has too many, and
// [syncer.ErrForbidden] when the owner may not read all layers or write those
// of the kinds personal, system and data, then with a [*RightsError]; or when
// the workspace is another's or not there. A new one without an ID is given one.
//
// To put again what was put, with the same revision, changes nothing.
func (r *Registry) PutWorkspace(w syncer.Workspace) (syncer.Workspace, error) {
	w = copyWorkspace(w)
	err := r.change(func(c *change) error {
		if w.ID == "" && w.Revision == 0 {
			w.ID = newID(16)
		}
		if err := checkWorkspace(&w); err != nil {
			return err
		}
		old, is := r.works.rows[w.ID]
		w.Revision++
		switch {
		case is && old.Owner != w.Owner, !is && w.Revision > 1:
			return fmt.Errorf("workspace %s: %w", w.ID, syncer.ErrForbidden)
		case is && reflect.DeepEqual(copyWorkspace(old), w):
			return nil
		case is && old.Revision != w.Revision-1:
			return fmt.Errorf("workspace %s is at revision %d, not at %d: %w", w.Name, old.Revision, w.Revision-1, store.ErrMoved)
		}
		if err := r.checkStack(&w); err != nil {
			return err
		}
		return r.works.put(c, w.ID, copyWorkspace(w))
	})
	return w, err
}

// checkWorkspace reports what is wrong with a workspace by itself.
func checkWorkspace(w *syncer.Workspace) error {
	if _, err := store.ParseLayerID(w.ID); err != nil || w.ID != strings.ToLower(w.ID) {
		return malformed("workspace ID %.80q: want 32 lower-case hexadecimal digits", w.ID)
	}
	def := workspace.Definition{Name: w.Name, Options: w.Options}
	rand.Read(def.Local.ID[:]) // never fails; each device adds a local layer of its own
	for _, p := range layersOf(w) {
		l := workspace.Layer{ID: p.id, Name: p.id.String()}
		switch p.kind {
		case layers.OS:
			def.OS = l
		case layers.Group:
			def.Groups = append(def.Groups, l)
		case layers.Personal:
			def.Personal = l
		case layers.System:
			def.System = l
		default:
			def.Data = l
		}
	}
	if err := def.Check(); err != nil {
		return malformed("%w", err)
	}
	b, err := json.Marshal(w)
	if err != nil {
		return malformed("%w", err)
	}
	if len(b) > maxWorkspace {
		return fmt.Errorf("workspace %s of %d bytes, want at most %d: %w", w.Name, len(b), maxWorkspace, syncer.ErrTooLarge)
	}
	return nil
}

// checkStack reports what a workspace's owner may not, or another of its name.
func (r *Registry) checkStack(w *syncer.Workspace) error {
	if _, ok := r.users.rows[w.Owner]; !ok {
		return notExist("user", w.Owner)
	}
	for _, other := range r.works.rows {
		if other.Owner == w.Owner && other.Name == w.Name && other.ID != w.ID {
			return fmt.Errorf("workspace %s of %s: %w", w.Name, w.Owner, store.ErrExist)
		}
	}
	if _, is := r.works.rows[w.ID]; !is &&
		countOf(r.works.rows, func(o syncer.Workspace) bool { return o.Owner == w.Owner }) >= maxWorkspaces {
		return fmt.Errorf("more than %d workspaces of %s: %w", maxWorkspaces, w.Owner, syncer.ErrTooLarge)
	}
	for _, p := range layersOf(w) {
		need := syncer.Write
		if published(p.kind) {
			need = syncer.Read
		}
		l, ok := r.layers.rows[layerKey(p.id)]
		var have syncer.Access
		if ok {
			have = r.access(holder{user: w.Owner}, &l)
		}
		if have == "" || need == syncer.Write && have != syncer.Write {
			return &RightsError{Layer: p.id, Kind: p.kind, Owner: w.Owner, Need: need}
		}
		if l.Kind != p.kind {
			return malformed("layer %s is of the kind %s, not %s", l.Name, l.Kind, p.kind)
		}
	}
	return nil
}

// RemoveWorkspace forgets a workspace, but not its layers.
func (r *Registry) RemoveWorkspace(id string) error {
	return r.change(func(c *change) error {
		if _, ok := r.works.rows[id]; !ok {
			return notExist("workspace", id)
		}
		r.works.remove(c, id)
		return nil
	})
}
