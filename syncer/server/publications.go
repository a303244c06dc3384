package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"satchel/layers/repo"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/publication"
)

// publications answers with the log from a number on, as far as the device may
// see it.
func (s *Server) publications(w http.ResponseWriter, r *http.Request, d caller) error {
	from, err := fromNumber(r)
	if err != nil {
		return err
	}
	all, last, err := s.registry.Statements(d.Device, from, publication.MaxPage)
	if err != nil {
		return err
	}
	writeJSON(w, publication.Page{Statements: paged(all), Last: last})
	return nil
}

func fromNumber(r *http.Request) (uint64, error) {
	from, err := strconv.ParseUint(r.URL.Query().Get("from"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("from %.40q: want a number: %w", r.URL.Query().Get("from"), syncer.ErrMalformed)
	}
	return from, nil
}

// paged is as many statements as one message holds.
func paged(all []publication.Statement) []publication.Statement {
	size := 0
	for i, s := range all {
		if size += 2 * (len(s.Record) + len(s.Content)); size > syncer.MaxJSON-publication.MaxContent*2 {
			return all[:i]
		}
	}
	return all
}

// publish appends what a publisher's device has signed.
func (s *Server) publish(w http.ResponseWriter, r *http.Request, d caller) error {
	u, err := s.registry.User(d.User)
	if err != nil {
		return err
	}
	if !u.Publisher {
		return fmt.Errorf("%s is no publisher: %w", d.User, syncer.ErrForbidden)
	}
	var said publication.Statement
	if err := readJSON(r, &said); err != nil {
		return err
	}
	if err := s.accept(r.Context(), said); err != nil {
		return err
	}
	writeJSON(w, struct{}{})
	return nil
}

// accept appends a statement whose version the layer really has.
func (s *Server) accept(ctx context.Context, said publication.Statement) error {
	_, c, err := said.Open()
	if err != nil {
		return err
	}
	if c != nil && c.Publish != nil {
		if err := s.checkPublish(ctx, c.Publish); err != nil {
			return err
		}
	}
	return s.registry.Publish(said)
}

// checkPublish reports a version that is not in the layer's history, or not at
// the place in it that is claimed.
func (s *Server) checkPublish(ctx context.Context, p *publication.Publish) error {
	head, err := s.store.Heads().Head(ctx, p.Layer)
	if err != nil {
		return fmt.Errorf("publish a version of layer %s: %w", p.Layer, err)
	}
	known, err := repo.Descends(ctx, s.store, head.Version, p.Version)
	if err != nil && !errors.Is(err, store.ErrNotExist) {
		return err
	}
	if !known || head.Version.IsZero() {
		return fmt.Errorf("version %s is not in the history of layer %s here: sync it first: %w", p.Version.Short(), head.Name, store.ErrNotExist)
	}
	number, err := s.repo.Number(ctx, p.Version)
	if err != nil {
		return err
	}
	if number != p.Number {
		return fmt.Errorf("version %s is number %d of layer %s, not %d: %w", p.Version.Short(), number, head.Name, p.Number, syncer.ErrMalformed)
	}
	return nil
}

// report takes in what a device says of its workspaces.
func (s *Server) report(w http.ResponseWriter, r *http.Request, d caller) error {
	var said syncer.Report
	if err := readJSON(r, &said); err != nil {
		return err
	}
	if err := s.registry.Report(d.Device, said); err != nil {
		return err
	}
	writeJSON(w, struct{}{})
	return nil
}

// deliver sees to it that a device's user has the workspaces that are assigned
// to the device, as they are assigned, and that waves which are due are open.
func (s *Server) deliver(ctx context.Context, d syncer.Device) error {
	if s.registry.Due() {
		if err := s.registry.Advance(); err != nil {
			return err
		}
	}
	assigned, err := s.registry.Assigned(d)
	if err != nil {
		return err
	}
	done := map[string]bool{}
	for _, a := range assigned { // the newest of a name counts
		if done[a.Workspace] {
			continue
		}
		done[a.Workspace] = true
		if err := s.realise(ctx, d.User, &a.Assignment); err != nil {
			return fmt.Errorf("workspace %s that is assigned to %s: %w", a.Workspace, a.To, err)
		}
	}
	return nil
}

// realise makes or changes the workspace of an assignment for a user. One of
// that name that the user has already becomes the assigned one, with the user's
// own layers as they are.
func (s *Server) realise(ctx context.Context, user string, a *publication.Assignment) error {
	all, err := s.registry.Workspaces()
	if err != nil {
		return err
	}
	w := syncer.Workspace{Owner: user, Name: a.Workspace}
	if i := slices.IndexFunc(all, func(o syncer.Workspace) bool { return o.Owner == user && o.Name == a.Workspace }); i >= 0 {
		w = all[i]
	}
	before := w
	w.Assignment, w.OS, w.Options, w.Groups = a.ID, a.OS.Layer, a.Options, []store.LayerID{}
	for _, g := range a.Groups {
		w.Groups = append(w.Groups, g.Layer)
	}
	if before.Revision > 0 && before.Assigned(&w) {
		return nil
	}
	made, err := s.ownLayers(ctx, &w)
	if err == nil {
		_, err = s.registry.PutWorkspace(w)
	}
	if err != nil {
		err = s.drop(ctx, made, err)
	}
	if errors.Is(err, store.ErrMoved) || errors.Is(err, store.ErrExist) {
		return nil // another device of the user was faster
	}
	return err
}

// drop removes layers that were made for a workspace that there will not be.
func (s *Server) drop(ctx context.Context, made []store.LayerID, err error) error {
	undo := context.WithoutCancel(ctx)
	for _, id := range made {
		err = errors.Join(err, s.registry.RemoveLayer(id), s.removeHead(undo, id))
	}
	return err
}

// adminDelivery adds what is asked of publications, waves and reports.
func (s *Server) adminDelivery(mux *http.ServeMux) {
	mux.Handle("GET /v1/admin/publications", answer(func(r *http.Request) (publication.Page, error) {
		from, err := fromNumber(r)
		if err != nil {
			return publication.Page{}, err
		}
		all, last := s.registry.AllStatements(from, publication.MaxPage)
		return publication.Page{Statements: paged(all), Last: last}, nil
	}))
	mux.Handle("GET /v1/admin/rollouts", answer(func(*http.Request) ([]syncer.RolloutInfo, error) { return s.registry.Rollouts(), nil }))
	mux.Handle("GET /v1/admin/reports", answer(func(*http.Request) ([]syncer.Report, error) { return s.registry.Reports(), nil }))
	mux.Handle("POST /v1/admin/plan", answerTo(s.plan))
}
