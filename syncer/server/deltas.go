package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/wire"
)

// readPairs reads a body that is a stream of pairs.
func readPairs(r *http.Request) ([]syncer.Pair, error) {
	var pairs []syncer.Pair
	stream := wire.NewReader(r.Body)
	for ids := 0; ; {
		rec, err := stream.Next()
		switch {
		case errors.Is(err, io.EOF):
			return pairs, nil
		case err != nil:
			return nil, streamError(err)
		case rec.Type != wire.Pair:
			return nil, fmt.Errorf("record of type %d among pairs: %w", rec.Type, syncer.ErrMalformed)
		}
		p, err := rec.Pair()
		if err != nil {
			return nil, err
		}
		if ids += p.Chunks(); ids > syncer.MaxIDs {
			return nil, fmt.Errorf("pairs of more than %d chunks: %w", syncer.MaxIDs, syncer.ErrTooLarge)
		}
		pairs = append(pairs, p)
	}
}

// getDeltas answers with the deltas of pairs, or sketches. It leaves out those of
// which it cannot tell the device that it has the base and the others.
func (s *Server) getDeltas(w http.ResponseWriter, r *http.Request, d caller) error {
	layer, err := s.layer(r, d, syncer.Read)
	if err != nil {
		return err
	}
	pairs, err := readPairs(r)
	if err != nil {
		return err
	}
	v, err := s.view(r.Context(), d, layer)
	if err != nil {
		return err
	}
	for i := range pairs {
		for _, id := range pairs[i].Target {
			if !v.own.has(id) {
				return fmt.Errorf("fetch chunk %s of layer %s: %w", id.Short(), layer, syncer.ErrForbidden)
			}
		}
	}
	done, err := s.transfers.begin(r.Context(), d.Name)
	if err != nil {
		return err
	}
	defer done()
	defer s.guard(r, d, layer, syncer.Read)()
	return s.answer(w, r, func(stream *wire.Writer) error {
		for i := range pairs {
			if err := s.answerPair(r, v, stream, i, &pairs[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// present fails with [store.ErrNotExist] unless the store has all the chunks. What
// a device has uploaded, but never pushed, gc takes.
func (s *Server) present(ctx context.Context, ids []store.ID) error {
	has, err := s.store.Has(ctx, ids)
	if err != nil {
		return damaged(err)
	}
	if i := slices.Index(has, false); i >= 0 {
		return fmt.Errorf("chunk %s: %w", ids[i].Short(), store.ErrNotExist)
	}
	return nil
}

// answerPair answers with a pair's sketch, if that will do and is long enough,
// else with its delta.
func (s *Server) answerPair(r *http.Request, v *view, stream *wire.Writer, i int, p *syncer.Pair) error {
	err := v.holds(r.Context(), p.Sources())
	if err == nil {
		err = s.present(r.Context(), p.Sources())
	}
	if errors.Is(err, store.ErrNotExist) {
		return nil
	}
	if err == nil && p.Sketch {
		var sketch syncer.Sketch
		if sketch, err = s.sketch(r.Context(), p); len(sketch) >= syncer.LeastMarks {
			return stream.Sketch(i, sketch)
		}
	}
	if err == nil {
		err = s.sendDelta(r, stream, i, p)
	}
	switch {
	case errors.Is(err, syncer.ErrTooLarge):
		return nil // the chunks are longer than the device knew
	case errors.Is(err, store.ErrNotExist), errors.Is(err, store.ErrCorrupt):
		return damaged(err)
	}
	return err
}

// sketch returns the sketch of a pair, made now if it was not before.
func (s *Server) sketch(ctx context.Context, p *syncer.Pair) (syncer.Sketch, error) {
	data, _, err := s.deltas.get(ctx, s.keyOf(aSketch, p), func() ([]byte, error) {
		sketch, err := s.codec.Sketch(ctx, p)
		return sketch.Append(nil), err
	})
	return syncer.ParseSketch(data), err
}

// sendDelta answers with one delta, made now if it was not before.
func (s *Server) sendDelta(r *http.Request, stream *wire.Writer, i int, p *syncer.Pair) error {
	coded, made, err := s.deltas.get(r.Context(), s.keyOf(aDelta, p), func() ([]byte, error) {
		d, err := s.codec.Make(r.Context(), p)
		return d.Append(nil), err
	})
	var d syncer.Delta
	if err == nil {
		d, err = syncer.ParseDelta(coded)
	}
	if err != nil {
		return err
	}
	s.metrics.delta(made, len(d.Data))
	s.metrics.chunks.WithLabelValues(out).Add(float64(len(p.Target)))
	return stream.Delta(i, d)
}
