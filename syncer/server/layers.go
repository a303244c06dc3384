package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"satchel/layers"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/syncer"
)

// newLayer adds a layer that was made on a device. Asking again for what is
// there already is no error.
func (s *Server) newLayer(w http.ResponseWriter, r *http.Request, d caller) error {
	var req syncer.NewLayer
	if err := readJSON(r, &req); err != nil {
		return err
	}
	info, err := s.named(d, req)
	if err != nil {
		return err
	}
	have, err := s.registry.Layer(info.ID)
	switch {
	case errors.Is(err, store.ErrNotExist):
		have, err = s.addLayer(r.Context(), info)
	case err == nil && (have.Owner != info.Owner || have.Kind != info.Kind || have.Name != info.Name):
		err = fmt.Errorf("layer %s: %w", info.ID, syncer.ErrForbidden)
	case err == nil:
		err = s.ensureHead(r.Context(), have)
	}
	if err != nil {
		return err
	}
	return s.writeLayer(w, r, d, have)
}

// named checks a request for a layer and says what it is called here.
func (s *Server) named(d caller, req syncer.NewLayer) (syncer.LayerInfo, error) {
	info := syncer.LayerInfo{ID: req.ID, Name: req.Name, Kind: req.Kind, Owner: d.User}
	switch req.Kind {
	case layers.OS, layers.Group:
		u, err := s.registry.User(d.User)
		if err != nil {
			return info, fmt.Errorf("new layer: %w", err)
		}
		if !u.Publisher {
			return info, fmt.Errorf("new layer of kind %s: %s is no publisher: %w", req.Kind, d.User, syncer.ErrForbidden)
		}
		// Names below a user's are for that user's own layers.
		if below, _, ok := strings.Cut(req.Name, "/"); ok && below != d.User {
			if _, err := s.registry.User(below); err == nil {
				return info, fmt.Errorf("new layer %q, a name below another user's: %w", req.Name, syncer.ErrForbidden)
			}
		}
	case layers.Personal, layers.System, layers.Data:
		info.Name = d.User + "/" + req.Name
	default:
		return info, fmt.Errorf("new layer of kind %.20q: %w", req.Kind, syncer.ErrMalformed)
	}
	if req.ID.IsZero() {
		return info, fmt.Errorf("new layer without an ID: %w", syncer.ErrMalformed)
	}
	if err := errors.Join(repo.CheckName(req.Name), repo.CheckName(info.Name)); err != nil {
		return info, fmt.Errorf("new layer: %w: %w", err, syncer.ErrMalformed)
	}
	return info, nil
}

// addLayer adds a layer to the registry and gives it a head without a version.
// It fails with [store.ErrExist].
func (s *Server) addLayer(ctx context.Context, info syncer.LayerInfo) (syncer.LayerInfo, error) {
	info, err := s.registry.AddLayer(info)
	if err != nil {
		return info, err
	}
	return info, s.ensureHead(ctx, info)
}

// ensureHead gives a layer of the registry a head, if a crash kept it from one.
// A head of that name which no layer of the registry has is what the removal of
// one left behind, and goes.
func (s *Server) ensureHead(ctx context.Context, info syncer.LayerInfo) error {
	heads := s.store.Heads()
	if _, err := heads.Head(ctx, info.ID); !errors.Is(err, store.ErrNotExist) {
		return err
	}
	if left, err := heads.Lookup(ctx, info.Name); err == nil {
		if _, err := s.registry.Layer(left.Layer); errors.Is(err, store.ErrNotExist) {
			if err := heads.Remove(ctx, left.Layer, left.Version); err != nil {
				return fmt.Errorf("layer %q: %w", info.Name, err)
			}
		}
	}
	s.reach.forget(info.ID)
	if _, err := heads.Add(ctx, info.ID, info.Name); err != nil && !errors.Is(err, store.ErrExist) {
		return fmt.Errorf("layer %q: %w", info.Name, err)
	}
	return nil
}

// writeLayer answers with a layer as the device sees it.
func (s *Server) writeLayer(w http.ResponseWriter, r *http.Request, d caller, info syncer.LayerInfo) error {
	access, err := s.registry.Access(d.Device, info.ID)
	if err != nil {
		return fmt.Errorf("layer %s: %w", info.ID, err)
	}
	head, err := s.store.Heads().Head(r.Context(), info.ID)
	if err != nil {
		return fmt.Errorf("layer %s: %w", info.ID, err)
	}
	writeJSON(w, syncer.Layer{
		ID: info.ID, Name: info.Name, Kind: info.Kind, Owner: info.Owner, Version: head.Version, Access: access,
	})
	return nil
}

// putWorkspace adds or changes a workspace of the device's user.
func (s *Server) putWorkspace(w http.ResponseWriter, r *http.Request, d caller) error {
	var req syncer.Workspace
	if err := readJSON(r, &req); err != nil {
		return err
	}
	if req.ID != r.PathValue("id") {
		return fmt.Errorf("workspace %.40q at the place of another: %w", req.ID, syncer.ErrMalformed)
	}
	if req.Owner == "" {
		req.Owner = d.User
	}
	have, err := s.registry.Workspace(req.ID)
	if err != nil && !errors.Is(err, store.ErrNotExist) {
		return fmt.Errorf("workspace %.40q: %w", req.ID, err)
	}
	if req.Owner != d.User || err == nil && have.Owner != d.User {
		return fmt.Errorf("workspace %.40q: %w", req.ID, syncer.ErrForbidden)
	}
	if req.Assignment = have.Assignment; have.Assignment != "" && !have.Assigned(&req) {
		return fmt.Errorf("workspace %s is assigned, and changes only with its assignment: %w", have.Name, syncer.ErrForbidden)
	}
	put, err := s.registry.PutWorkspace(req)
	if errors.Is(err, store.ErrNotExist) {
		// It names a layer, or changes a workspace, that is not there: it is
		// told no more than if it were another's.
		err = fmt.Errorf("workspace %.40q: %w", req.ID, syncer.ErrForbidden)
	}
	if err != nil {
		return err
	}
	writeJSON(w, put)
	return nil
}
