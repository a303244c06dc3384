// Package client is a device's and an administrator's end of the transport.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"time"

	"satchel/store"
	"satchel/syncer"
)

// Options say how a client reaches its server.
type Options struct {
	Server    string      // https://HOST[:PORT]
	TLS       *tls.Config // as package identity makes it
	LimitUp   int64       // bytes a second; 0: no limit
	LimitDown int64
	Agent     string // what the program calls itself
}

// A Client speaks to a server as a device. It implements [syncer.Remote] and may
// be used by several goroutines at once.
type Client struct{}

var _ syncer.Remote = (*Client)(nil)

// New returns a client. It connects when it is first used.
func New(opt Options) (*Client, error) { return nil, errors.ErrUnsupported }

// Close closes idle connections.
func (c *Client) Close() error { return nil }

// Traffic counts the bytes that went over the network, TLS included.
type Traffic struct {
	Up   int64 `json:"up"`
	Down int64 `json:"down"`
}

// Traffic returns what has moved so far.
func (c *Client) Traffic() Traffic { return Traffic{} }

// SetLimits changes the limits of the bandwidth.
func (c *Client) SetLimits(up, down int64) {}

// State asks for all that the server has for the device. With seen it waits, as
// long as wait says, for a state of another revision.
func (c *Client) State(ctx context.Context, seen string, wait time.Duration) (syncer.State, error) {
	return syncer.State{}, errors.ErrUnsupported
}

// Renew asks for a new certificate.
func (c *Client) Renew(ctx context.Context, csr []byte) (syncer.Renewed, error) {
	return syncer.Renewed{}, errors.ErrUnsupported
}

// AddLayer tells the server of a layer that was made here.
func (c *Client) AddLayer(ctx context.Context, l syncer.NewLayer) (syncer.Layer, error) {
	return syncer.Layer{}, errors.ErrUnsupported
}

// PutWorkspace adds or changes a workspace.
func (c *Client) PutWorkspace(ctx context.Context, w syncer.Workspace) (syncer.Workspace, error) {
	return syncer.Workspace{}, errors.ErrUnsupported
}

// History implements [syncer.Remote].
func (c *Client) History(ctx context.Context, layer store.LayerID, want store.ID, have []store.ID, frame func([]byte) error) error {
	return errors.ErrUnsupported
}

// Fetch implements [syncer.Remote].
func (c *Client) Fetch(ctx context.Context, layer store.LayerID, ids []store.ID, frame func([]byte) error) error {
	return errors.ErrUnsupported
}

// Offer implements [syncer.Remote].
func (c *Client) Offer(ctx context.Context, layer store.LayerID, ids []store.ID) ([]bool, error) {
	return nil, errors.ErrUnsupported
}

// Upload implements [syncer.Remote].
func (c *Client) Upload(ctx context.Context, layer store.LayerID, send func(emit func(frame []byte) error) error) error {
	return errors.ErrUnsupported
}

// Push implements [syncer.Remote].
func (c *Client) Push(ctx context.Context, layer store.LayerID, from, to store.ID) error {
	return errors.ErrUnsupported
}

// Authority asks a server for the certificate of its authority and returns it if
// it has that fingerprint.
func Authority(ctx context.Context, server, fingerprint string) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// Enrol asks that a device be let in. The TLS configuration has no certificate.
func Enrol(ctx context.Context, opt Options, req syncer.EnrolRequest) (syncer.Enrolled, error) {
	return syncer.Enrolled{}, errors.ErrUnsupported
}

// An Admin speaks to a server as its administrator.
type Admin struct{}

// NewAdmin returns a client with the administrator's token.
func NewAdmin(opt Options, token string) (*Admin, error) { return nil, errors.ErrUnsupported }

// Do makes a request of the administrator's API: path begins after /v1/admin/,
// in is sent as JSON unless nil, and the answer is decoded to out unless nil.
func (a *Admin) Do(ctx context.Context, method, path string, in, out any) error {
	return errors.ErrUnsupported
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
	return syncer.Handout{}, errors.ErrUnsupported
}
