package client

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

// errAnswered is what a sender sees when the server answers before it has
// everything.
var errAnswered = errors.New("the server has answered already")

// Upload implements [syncer.Remote].
func (c *Client) Upload(ctx context.Context, layer store.LayerID, send func(emit func(frame []byte) error) error) error {
	return c.upload(ctx, layer, func(w *wire.Writer) error { return send(w.Frame) })
}

// UploadDeltas implements [syncer.Remote].
func (c *Client) UploadDeltas(ctx context.Context, layer store.LayerID, send func(emit func(p syncer.Pair, d syncer.Delta) error) error) error {
	return c.upload(ctx, layer, func(w *wire.Writer) error {
		n := 0
		return send(func(p syncer.Pair, d syncer.Delta) error {
			if err := w.Pair(p); err != nil {
				return err
			}
			n++
			return w.Delta(n-1, d)
		})
	})
}

// upload sends a stream.
//
// A server may refuse anywhere within the body; then send fails, and what the
// server said is returned. The body is not announced with "Expect:
// 100-continue": net/http's server resets the connection of such a request at
// once when it refuses it half way, and its answer may be lost with that. Of
// others it keeps the connection for a while.
func (c *Client) upload(ctx context.Context, layer store.LayerID, send func(*wire.Writer) error) error {
	r, w := io.Pipe()
	answered := make(chan error, 1)
	go func() {
		err := c.call(ctx, request{
			method: http.MethodPost, path: layerPath(layer, "upload"),
			media: wire.MediaType, body: r, streamed: true,
		}, nil)
		r.CloseWithError(errAnswered)
		answered <- err
	}()
	sent := stream(w, send)
	w.CloseWithError(sent)
	err := <-answered
	switch {
	case sent != nil && !errors.Is(sent, errAnswered) && (err == nil || errors.Is(err, sent)):
		return sent // it is this side that failed
	case sent != nil && err == nil:
		err = fmt.Errorf("%w: %w", syncer.ErrMalformed, sent)
	}
	if err != nil {
		return fmt.Errorf("upload chunks: %w", err)
	}
	return nil
}

func stream(w io.Writer, send func(*wire.Writer) error) error {
	out := wire.NewWriter(w)
	if err := send(out); err != nil {
		return err
	}
	return out.Close()
}
