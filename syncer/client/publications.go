package client

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"satchel/syncer"
	"satchel/syncer/publication"
)

// Publications asks for what publishers have said, from a number on.
func (c *Client) Publications(ctx context.Context, from uint64) (publication.Page, error) {
	var page publication.Page
	q := request{method: http.MethodGet, path: "publications?from=" + strconv.FormatUint(from, 10)}
	if err := c.call(ctx, q, &page); err != nil {
		return publication.Page{}, fmt.Errorf("ask for publications: %w", err)
	}
	return page, nil
}

// Publish hands a signed statement in.
func (c *Client) Publish(ctx context.Context, s publication.Statement) error {
	if err := c.ask(ctx, http.MethodPost, "publications", s, nil); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// Report tells the server how the device's workspaces stand.
func (c *Client) Report(ctx context.Context, r syncer.Report) error {
	if err := c.ask(ctx, http.MethodPost, "report", r, nil); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
