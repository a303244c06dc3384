package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/wire"
)

// readIDs reads a body that is a stream of one record of IDs.
func readIDs(r *http.Request) ([]store.ID, error) {
	stream := wire.NewReader(r.Body)
	rec, err := stream.Next()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, streamError(err)
	}
	if err != nil || rec.Type != wire.IDs {
		return nil, fmt.Errorf("a stream without a record of IDs: %w", syncer.ErrMalformed)
	}
	ids := rec.IDs()
	switch _, err := stream.Next(); {
	case err == nil:
		return nil, fmt.Errorf("a stream of more than one record of IDs: %w", syncer.ErrMalformed)
	case !errors.Is(err, io.EOF):
		return nil, streamError(err)
	}
	return ids, nil
}

// streamError makes a stream that was cut off an error of who sent it.
func streamError(err error) error {
	if e, _ := syncer.ToError(err); e.Code == "internal" {
		return cutOff(err)
	}
	return err
}

// answer writes a stream as the answer to a request: what send hands to it, and
// its end. An error of send before the first record is returned, as nothing of
// the answer was written; a later one ends the stream.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, send func(*wire.Writer) error) error {
	w.Header().Set("Content-Type", wire.MediaType)
	lazy := &begun{w: w}
	stream := wire.NewWriter(lazy)
	err := send(stream)
	if err == nil {
		err = stream.Close()
	}
	if err == nil {
		return nil
	}
	if cause := context.Cause(r.Context()); cause != nil {
		err = cause
	}
	if !lazy.yes {
		return err
	}
	if c, ok := w.(*conn); ok {
		c.last()
	}
	noteError(r, err)
	_ = stream.Fail(err) // if the client is there, it hears why
	return nil
}

// begun tells whether anything was written.
type begun struct {
	w   io.Writer
	yes bool
}

func (b *begun) Write(p []byte) (int, error) {
	b.yes = true
	return b.w.Write(p)
}

// fetch answers with chunks of a layer.
func (s *Server) fetch(w http.ResponseWriter, r *http.Request, d caller) error {
	layer, err := s.layer(r, d, syncer.Read)
	if err != nil {
		return err
	}
	ids, err := readIDs(r)
	if err != nil {
		return err
	}
	own, err := s.reached(r.Context(), layer)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !own.has(id) {
			return fmt.Errorf("fetch chunk %s of layer %s: %w", id.Short(), layer, syncer.ErrForbidden)
		}
	}
	return s.sendChunks(w, r, d, layer, ids)
}

// sendChunks answers with chunks that the device may see.
func (s *Server) sendChunks(w http.ResponseWriter, r *http.Request, d caller, layer store.LayerID, ids []store.ID) error {
	done, err := s.transfers.begin(r.Context(), d.Name)
	if err != nil {
		return err
	}
	defer done()
	defer s.guard(r, d, layer, syncer.Read)()
	return s.answer(w, r, func(stream *wire.Writer) error {
		err := s.store.Frames(r.Context(), ids, func(frame []byte) error {
			s.metrics.moved(out, len(frame))
			return stream.Frame(frame)
		})
		if errors.Is(err, store.ErrNotExist) || errors.Is(err, store.ErrCorrupt) {
			return damaged(err)
		}
		if err == nil {
			s.metrics.chunks.WithLabelValues(out).Add(float64(len(ids)))
		}
		return err
	})
}

// offer tells a device which chunks it should send. The store is asked only
// about chunks that the device may see.
func (s *Server) offer(w http.ResponseWriter, r *http.Request, d caller) error {
	layer, err := s.layer(r, d, syncer.Write)
	if err != nil {
		return err
	}
	ids, err := readIDs(r)
	if err != nil {
		return err
	}
	v, err := s.view(r.Context(), d, layer)
	if err != nil {
		return err
	}
	sees, _, err := v.sees(r.Context(), anything, ids)
	if err != nil {
		return err
	}
	wants, err := s.lacks(r.Context(), ids, sees)
	if err != nil {
		return err
	}
	return s.answer(w, r, func(stream *wire.Writer) error { return stream.Wants(wants) })
}

// lacks answers for each ID whether the device does not see the chunk or the
// store has it no more.
func (s *Server) lacks(ctx context.Context, ids []store.ID, sees []bool) ([]bool, error) {
	var ask []store.ID
	for i, id := range ids {
		if sees[i] {
			ask = append(ask, id)
		}
	}
	has, err := s.store.Has(ctx, ask)
	if err != nil {
		return nil, damaged(err)
	}
	lacks := make([]bool, len(ids))
	for i := range ids {
		lacks[i] = true
		if sees[i] {
			lacks[i], has = !has[0], has[1:]
		}
	}
	return lacks, nil
}
