package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"satchel/syncer"
)

// handoutWait is how much longer than other answers that to a handout may take:
// it is given when every user's layer has a new version.
const handoutWait = 15 * time.Minute

// An Admin speaks to a server as its administrator. It fails as a [Client] does.
type Admin struct {
	client *Client
}

// NewAdmin returns a client with the administrator's token.
func NewAdmin(opt Options, token string) (*Admin, error) {
	c, err := New(opt)
	if err != nil {
		return nil, err
	}
	c.head.Set("Authorization", "Bearer "+token)
	return &Admin{c}, nil
}

// Close closes idle connections.
func (a *Admin) Close() error { return a.client.Close() }

// Do makes a request of the administrator's API: path begins after /v1/admin/,
// in is sent as JSON unless nil, and the answer is decoded to out unless nil.
func (a *Admin) Do(ctx context.Context, method, path string, in, out any) error {
	if err := a.client.ask(ctx, method, "admin/"+path, in, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// A HandoutRequest says what is handed out to whom.
type HandoutRequest struct {
	To        syncer.Principal // a user, a group, or all
	Into      string           // directory in the guest; {user} stands for the name of the layer's owner
	Title     string
	Workspace string // only data layers of workspaces of that name; "": of all
}

// Handout adds the files of a tar stream to users' data layers.
func (a *Admin) Handout(ctx context.Context, req HandoutRequest, files io.Reader) (syncer.Handout, error) {
	query := url.Values{"to": {string(req.To)}, "into": {req.Into}, "title": {req.Title}}
	if req.Workspace != "" {
		query.Set("workspace", req.Workspace)
	}
	var got syncer.Handout
	err := a.client.call(ctx, request{
		method: http.MethodPost, path: "admin/handouts?" + query.Encode(),
		media: "application/x-tar", body: files, streamed: true, wait: handoutWait,
	}, &got)
	if err != nil {
		return syncer.Handout{}, fmt.Errorf("hand out: %w", err)
	}
	return got, nil
}
