package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"

	"satchel/store"
	"satchel/syncer"
)

// adminThings adds what is asked of layers, workspaces and hand-outs.
func (s *Server) adminThings(mux *http.ServeMux) {
	mux.Handle("GET /v1/admin/layers", answer(s.listLayers))
	mux.Handle("POST /v1/admin/layers", answerTo(s.createLayer))
	mux.Handle("DELETE /v1/admin/layers/{layer}", obey(s.removeLayer))
	mux.Handle("PUT /v1/admin/layers/{layer}/grants/{principal}", answerTo(s.setGrant))
	mux.Handle("DELETE /v1/admin/layers/{layer}/grants/{principal}", answer(func(r *http.Request) (syncer.LayerInfo, error) {
		return s.grant(r, "")
	}))

	mux.Handle("GET /v1/admin/workspaces", answer(func(*http.Request) ([]syncer.Workspace, error) { return s.registry.Workspaces() }))
	mux.Handle("POST /v1/admin/workspaces", answerTo(s.createWorkspace))
	mux.Handle("PUT /v1/admin/workspaces/{id}", answerTo(s.changeWorkspace))
	mux.Handle("DELETE /v1/admin/workspaces/{id}", obey(func(r *http.Request) error {
		return s.registry.RemoveWorkspace(r.PathValue("id"))
	}))

	mux.Handle("POST /v1/admin/handouts", answer(s.handout))
}

// layerInfo finds the layer that a request names by ID or by name, without its
// head. A layer that is called as another's ID gives way to that.
func (s *Server) layerInfo(r *http.Request) (syncer.LayerInfo, error) {
	name := r.PathValue("layer")
	if id, err := store.ParseLayerID(name); err == nil {
		if l, err := s.registry.Layer(id); !errors.Is(err, store.ErrNotExist) {
			return l, err
		}
	}
	return s.registry.LayerByName(name)
}

// withHead fills in the head of a layer.
func (s *Server) withHead(ctx context.Context, l syncer.LayerInfo) (syncer.LayerInfo, error) {
	head, err := s.store.Heads().Head(ctx, l.ID)
	if errors.Is(err, store.ErrNotExist) { // a crash kept it from one; a device that uses it mends that
		return l, nil
	}
	l.Version = head.Version
	return l, err
}

func (s *Server) listLayers(r *http.Request) ([]syncer.LayerInfo, error) {
	all, err := s.registry.Layers()
	if err != nil {
		return nil, err
	}
	heads, err := s.store.Heads().List(r.Context())
	if err != nil {
		return nil, fmt.Errorf("list layers: %w", err)
	}
	versions := make(map[store.LayerID]store.ID, len(heads))
	for _, h := range heads {
		versions[h.Layer] = h.Version
	}
	for i := range all {
		all[i].Version = versions[all[i].ID]
	}
	return all, nil
}

// createLayer adds an empty layer.
func (s *Server) createLayer(r *http.Request, l syncer.LayerInfo) (syncer.LayerInfo, error) {
	if !l.Version.IsZero() {
		return l, fmt.Errorf("a new layer has no version: %w", syncer.ErrMalformed)
	}
	if l.ID.IsZero() {
		rand.Read(l.ID[:]) // never fails
	}
	return s.addLayer(r.Context(), l)
}

// removeLayer forgets a layer: first in the registry, which says whether it may
// go, and then its head. What a crash in between leaves goes when the name is
// used again.
func (s *Server) removeLayer(r *http.Request) error {
	l, err := s.layerInfo(r)
	if err != nil {
		return err
	}
	if err := s.registry.RemoveLayer(l.ID); err != nil {
		return err
	}
	return s.removeHead(r.Context(), l.ID)
}

func (s *Server) removeHead(ctx context.Context, id store.LayerID) error {
	heads := s.store.Heads()
	for {
		head, err := heads.Head(ctx, id)
		if err == nil {
			err = heads.Remove(ctx, id, head.Version)
		}
		switch {
		case errors.Is(err, store.ErrNotExist):
			return nil
		case errors.Is(err, store.ErrMoved): // by a push that had begun before
			continue
		case err != nil:
			return fmt.Errorf("remove layer %s: %w", id, err)
		}
	}
}

func (s *Server) setGrant(r *http.Request, g syncer.Grant) (syncer.LayerInfo, error) {
	to := string(g.To)
	if err := sameName(r, "principal", &to); err != nil {
		return syncer.LayerInfo{}, err
	}
	if g.Access == "" {
		return syncer.LayerInfo{}, fmt.Errorf("a grant without access: %w", syncer.ErrMalformed)
	}
	return s.grant(r, g.Access)
}

// grant gives the principal in a request's path access to the layer in it.
func (s *Server) grant(r *http.Request, access syncer.Access) (syncer.LayerInfo, error) {
	l, err := s.layerInfo(r)
	if err != nil {
		return l, err
	}
	l, err = s.registry.SetGrant(l.ID, syncer.Grant{To: syncer.Principal(r.PathValue("principal")), Access: access})
	if err != nil {
		return l, err
	}
	return s.withHead(r.Context(), l)
}
