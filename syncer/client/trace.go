package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/trace"
)

// Trace asks for the boot trace of a stack. It fails with [store.ErrNotExist]
// when there is none, or the device may not read all of the stack.
func (c *Client) Trace(ctx context.Context, stack store.ID) (*trace.Trace, error) {
	body, err := c.send(ctx, request{method: http.MethodGet, path: "traces/" + stack.String()}, trace.MediaType)
	if err != nil {
		return nil, fmt.Errorf("ask for a trace: %w", err)
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, int64(trace.MaxBytes)+1))
	if err != nil {
		return nil, fmt.Errorf("ask for a trace: %w", err)
	}
	return trace.Decode(b)
}

// SendTrace gives the server the trace of a stack. It returns how many of its
// chunks the server kept.
func (c *Client) SendTrace(ctx context.Context, stack store.ID, t *trace.Trace) (kept int, err error) {
	q := request{method: http.MethodPost, path: "traces/" + stack.String(), media: trace.MediaType, body: bytes.NewReader(t.Encode())}
	var got syncer.TraceKept
	if err := c.call(ctx, q, &got); err != nil {
		return 0, fmt.Errorf("send a trace: %w", err)
	}
	return got.Chunks, nil
}
