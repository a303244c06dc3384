package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"satchel/store"
	"satchel/syncer"
)

// push moves the head of a layer.
func (s *Server) push(w http.ResponseWriter, r *http.Request, d caller) (err error) {
	defer func() { s.metrics.pushed(err) }()
	layer, err := s.layer(r, d, syncer.Write)
	if err != nil {
		return err
	}
	var req syncer.PushRequest
	if err := readJSON(r, &req); err != nil {
		return err
	}
	if req.To.IsZero() {
		return fmt.Errorf("push of no version: %w", syncer.ErrMalformed)
	}
	defer s.guard(r, d, layer, syncer.Write)()
	info, err := s.registry.Layer(layer)
	if err != nil {
		return fmt.Errorf("push to layer %s: %w", layer, err)
	}
	if err := s.ensureHead(r.Context(), info); err != nil {
		return err
	}
	if err := s.advance(r.Context(), d, info, req); err != nil {
		return fmt.Errorf("push %s to layer %s: %w", req.To.Short(), layer, err)
	}
	return s.writeLayer(w, r, d, info)
}

// advance moves a head after having looked at everything, under a lease that
// keeps what it saw until the head has moved.
func (s *Server) advance(ctx context.Context, d caller, info syncer.LayerInfo, req syncer.PushRequest) error {
	w, err := s.store.Begin(ctx, "push from "+d.Name)
	if err != nil {
		return err
	}
	defer w.Close()
	head, err := s.store.Heads().Head(ctx, info.ID)
	if err != nil {
		return damaged(err)
	}
	if head.Version == req.To {
		return nil
	}
	own, err := s.reach.of(ctx, head)
	if err != nil {
		return err
	}
	switch {
	case own.versions.has(req.To):
		return syncer.ErrReplayed
	case head.Version != req.From:
		return store.ErrMoved
	}
	c := &check{
		server: s, info: info, writer: w,
		view:      &view{server: s, device: d, layer: info.ID, own: own},
		manifests: map[prefix]store.ID{},
	}
	if err := c.push(ctx, req); err != nil {
		return err
	}
	if err := s.allow(d, info.ID, syncer.Write); err != nil { // it may have taken long
		return err
	}
	if err := s.store.Heads().CompareAndSwap(ctx, store.Move{Layer: info.ID, From: req.From, To: req.To}); err != nil {
		return err
	}
	s.advanced(context.WithoutCancel(ctx), d, store.Head{Layer: info.ID, Version: req.To}, c.uploaded)
	return nil
}

// advanced does what follows from the move of a head. The move itself is done,
// so that nothing of this may fail it.
func (s *Server) advanced(ctx context.Context, d caller, head store.Head, uploaded []store.ID) {
	s.registry.Touch()
	_, reachErr := s.reach.of(ctx, head)
	err := errors.Join(reachErr, s.registry.ForgetUploads(ctx, d.Name, uploaded))
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "after a push", slog.String("device", d.Name),
			slog.String("layer", head.Layer.String()), slog.Any("error", err))
	}
}
