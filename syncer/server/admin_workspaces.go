package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"

	"satchel/layers"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/registry"
)

// createWorkspace adds a workspace, and those of its layers personal, system
// and data that it does not name. When it fails they go again.
func (s *Server) createWorkspace(r *http.Request, w syncer.Workspace) (syncer.Workspace, error) {
	if w.Revision != 0 {
		return w, fmt.Errorf("a new workspace has no revision: %w", syncer.ErrMalformed)
	}
	made, err := s.ownLayers(r.Context(), &w)
	if err == nil {
		w, err = s.registry.PutWorkspace(w)
	}
	if err == nil {
		return w, nil
	}
	undo := context.WithoutCancel(r.Context())
	for _, id := range made {
		err = errors.Join(err, s.registry.RemoveLayer(id), s.removeHead(undo, id))
	}
	return w, s.explain(err)
}

// ownLayers makes the layers that a workspace lacks, named after it, and
// returns which.
func (s *Server) ownLayers(ctx context.Context, w *syncer.Workspace) (made []store.LayerID, err error) {
	for kind, id := range map[layers.Kind]*store.LayerID{
		layers.Personal: &w.Personal, layers.System: &w.System, layers.Data: &w.Data,
	} {
		if !id.IsZero() {
			continue
		}
		rand.Read(id[:]) // never fails
		_, err := s.addLayer(ctx, syncer.LayerInfo{
			ID: *id, Name: fmt.Sprintf("%s/%s/%s", w.Owner, w.Name, kind), Kind: kind, Owner: w.Owner,
		})
		if err != nil {
			return made, fmt.Errorf("%s layer of the workspace: %w", kind, err)
		}
		made = append(made, *id)
	}
	return made, nil
}

// changeWorkspace changes a workspace, whose owner stays.
func (s *Server) changeWorkspace(r *http.Request, w syncer.Workspace) (syncer.Workspace, error) {
	if err := sameName(r, "id", &w.ID); err != nil {
		return w, err
	}
	old, err := s.registry.Workspace(w.ID)
	if err != nil {
		return w, err
	}
	if w.Owner == "" {
		w.Owner = old.Owner
	}
	if w.Owner != old.Owner {
		return w, fmt.Errorf("workspace %s belongs to %s and not to %.80q: %w", w.ID, old.Owner, w.Owner, syncer.ErrMalformed)
	}
	w, err = s.registry.PutWorkspace(w)
	return w, s.explain(err)
}

// explain tells an administrator, who may know it, what a device is not told:
// which layer a workspace's owner has no right to, and how to give it.
func (s *Server) explain(err error) error {
	var rights *registry.RightsError
	if !errors.As(err, &rights) {
		return err
	}
	l, found := s.registry.Layer(rights.Layer)
	if found != nil {
		return fmt.Errorf("%s layer of the workspace: %w", rights.Kind, found)
	}
	return fmt.Errorf("%s may not %s layer %s: grant that with: satchel admin layer grant %s %s user:%s: %w",
		rights.Owner, rights.Need, l.Name, l.Name, rights.Need, rights.Owner, syncer.ErrForbidden)
}
