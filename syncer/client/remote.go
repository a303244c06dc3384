package client

import (
	"bytes"
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

// History implements [syncer.Remote].
func (c *Client) History(ctx context.Context, layer store.LayerID, want store.ID, have []store.ID, frame func([]byte) error) error {
	q, err := message(http.MethodPost, layerPath(layer, "history"), syncer.HistoryRequest{Want: want, Have: have})
	if err == nil {
		err = c.records(ctx, q, func(r wire.Record) error { return frame(r.Frame()) }, wire.Frame)
	}
	if err != nil {
		return fmt.Errorf("fetch history: %w", err)
	}
	return nil
}

// Fetch implements [syncer.Remote].
func (c *Client) Fetch(ctx context.Context, layer store.LayerID, ids []store.ID, frame func([]byte) error) error {
	if len(ids) == 0 {
		return nil
	}
	q, err := list(layerPath(layer, "fetch"), ids)
	if err == nil {
		err = c.records(ctx, q, func(r wire.Record) error { return frame(r.Frame()) }, wire.Frame)
	}
	if err != nil {
		return fmt.Errorf("fetch chunks: %w", err)
	}
	return nil
}

// Deltas implements [syncer.Remote].
func (c *Client) Deltas(ctx context.Context, layer store.LayerID, pairs []syncer.Pair, delta func(pair int, d syncer.Delta) error, sketch func(pair int, s syncer.Sketch) error) error {
	if len(pairs) == 0 {
		return nil
	}
	q, err := body(layerPath(layer, "deltas"), func(w *wire.Writer) error {
		for _, p := range pairs {
			if err := w.Pair(p); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = c.records(ctx, q, func(r wire.Record) error { return answerTo(r, pairs, delta, sketch) }, wire.Delta, wire.Sketch)
	}
	if err != nil {
		return fmt.Errorf("fetch deltas: %w", err)
	}
	return nil
}

// answerTo takes what a server says of a pair.
func answerTo(r wire.Record, pairs []syncer.Pair, delta func(int, syncer.Delta) error, sketch func(int, syncer.Sketch) error) error {
	if r.Type == wire.Sketch {
		i, s := r.Sketch()
		if i >= len(pairs) || !pairs[i].Sketch {
			return fmt.Errorf("sketch of pair %d of %d: %w", i, len(pairs), syncer.ErrMalformed)
		}
		return sketch(i, s)
	}
	i, d, err := r.Delta()
	if err != nil {
		return err
	}
	if i >= len(pairs) {
		return fmt.Errorf("delta of pair %d of %d: %w", i, len(pairs), syncer.ErrMalformed)
	}
	return delta(i, d)
}

// Offer implements [syncer.Remote].
func (c *Client) Offer(ctx context.Context, layer store.LayerID, ids []store.ID) (want []bool, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	q, err := list(layerPath(layer, "offer"), ids)
	if err == nil {
		want, err = c.wants(ctx, q, len(ids))
	}
	if err != nil {
		return nil, fmt.Errorf("offer chunks: %w", err)
	}
	return want, nil
}

// Push implements [syncer.Remote].
func (c *Client) Push(ctx context.Context, layer store.LayerID, from, to store.ID) error {
	if err := c.ask(ctx, http.MethodPost, layerPath(layer, "push"), syncer.PushRequest{From: from, To: to}, nil); err != nil {
		return fmt.Errorf("push %.12s: %w", to, err)
	}
	return nil
}

func layerPath(layer store.LayerID, what string) string {
	return "layers/" + layer.String() + "/" + what
}

// list returns a request with a stream of one record of IDs as its body.
func list(path string, ids []store.ID) (request, error) {
	return body(path, func(w *wire.Writer) error { return w.IDs(ids) })
}

// body returns a request whose body is a stream of what write writes.
func body(path string, write func(*wire.Writer) error) (request, error) {
	var b bytes.Buffer
	w := wire.NewWriter(&b)
	if err := write(w); err != nil {
		return request{}, err
	}
	if err := w.Close(); err != nil {
		return request{}, err
	}
	return request{method: http.MethodPost, path: path, media: wire.MediaType, body: bytes.NewReader(b.Bytes())}, nil
}

// records makes a request whose answer is a stream of records of some types.
func (c *Client) records(ctx context.Context, q request, take func(wire.Record) error, want ...wire.Type) error {
	body, err := c.send(ctx, q, wire.MediaType)
	if err != nil {
		return err
	}
	defer body.Close()
	for r := wire.NewReader(body); ; {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if rest, ok := r.Rest(); ok && slices.Contains(want, wire.Frame) {
				if err := take(rest); err != nil {
					return err
				}
			}
			return err
		}
		if !slices.Contains(want, rec.Type) {
			return fmt.Errorf("record of type %d among those of type %d: %w", rec.Type, want, syncer.ErrMalformed)
		}
		if err := take(rec); err != nil {
			return err
		}
	}
}

// wants makes a request whose answer is a stream of one record of wants.
func (c *Client) wants(ctx context.Context, q request, n int) ([]bool, error) {
	body, err := c.send(ctx, q, wire.MediaType)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	r := wire.NewReader(body)
	rec, err := r.Next()
	if errors.Is(err, io.EOF) || err == nil && rec.Type != wire.Wants {
		return nil, fmt.Errorf("no wants in the answer: %w", syncer.ErrMalformed)
	}
	if err != nil {
		return nil, err
	}
	want, err := rec.Wants(n)
	if err != nil {
		return nil, err
	}
	switch _, err := r.Next(); {
	case errors.Is(err, io.EOF):
		return want, nil
	case err != nil:
		return nil, err
	}
	return nil, fmt.Errorf("more than wants in the answer: %w", syncer.ErrMalformed)
}
