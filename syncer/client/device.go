package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"satchel/syncer"
)

// State asks for all that the server has for the device. With seen it waits, as
// long as wait says, for a state of another revision.
func (c *Client) State(ctx context.Context, seen string, wait time.Duration) (syncer.State, error) {
	q := request{method: http.MethodGet, path: "state"}
	if seen != "" {
		wait = min(max(wait, 0), syncer.MaxWait).Truncate(time.Second)
		q.wait = wait
		q.path += "?" + url.Values{"seen": {seen}, "wait": {strconv.Itoa(int(wait / time.Second))}}.Encode()
	}
	var s syncer.State
	if err := c.call(ctx, q, &s); err != nil {
		return syncer.State{}, fmt.Errorf("ask for state: %w", err)
	}
	return s, nil
}

// Renew asks for a new certificate.
func (c *Client) Renew(ctx context.Context, csr []byte) (syncer.Renewed, error) {
	var r syncer.Renewed
	if err := c.ask(ctx, http.MethodPost, "renew", syncer.RenewRequest{CSR: csr}, &r); err != nil {
		return syncer.Renewed{}, fmt.Errorf("renew certificate: %w", err)
	}
	return r, nil
}

// AddLayer tells the server of a layer that was made here.
func (c *Client) AddLayer(ctx context.Context, l syncer.NewLayer) (syncer.Layer, error) {
	var got syncer.Layer
	if err := c.ask(ctx, http.MethodPost, "layers", l, &got); err != nil {
		return syncer.Layer{}, fmt.Errorf("add layer %s: %w", l.Name, err)
	}
	return got, nil
}

// PutWorkspace adds or changes a workspace.
func (c *Client) PutWorkspace(ctx context.Context, w syncer.Workspace) (syncer.Workspace, error) {
	var got syncer.Workspace
	if err := c.ask(ctx, http.MethodPut, "workspaces/"+url.PathEscape(w.ID), w, &got); err != nil {
		return syncer.Workspace{}, fmt.Errorf("put workspace %s: %w", w.Name, err)
	}
	return got, nil
}
