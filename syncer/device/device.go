// Package device is a home's side of sync.
package device

import (
	"context"
	"errors"
	"time"

	"satchel/layers/merge/trees"
	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer"
	"satchel/syncer/client"
	"satchel/syncer/exchange"
)

// ErrNotEnrolled reports a home that belongs to no server.
var ErrNotEnrolled = errors.New("this home is not enrolled with a server")

// A Config is what a home knows of its server.
type Config struct {
	URL      string    `json:"url"`
	Server   string    `json:"server"` // its identity
	Device   string    `json:"device"` // this device's name
	User     string    `json:"user"`
	Enrolled time.Time `json:"enrolled"`
}

// Load reads the configuration of the home in dir, or fails with [ErrNotEnrolled].
func Load(dir string) (Config, error) { return Config{}, ErrNotEnrolled }

// EnrolOptions say how to enrol.
type EnrolOptions struct {
	URL         string
	Token       string
	Fingerprint string // of the server's certificate authority
	Name        string // wanted for the device
	Note        func(format string, args ...any)
	Progress    func(done, total int64) // bytes carried over into the server's domain
}

// Enrol joins the home in dir to a server. What the home holds is carried over
// into the server's domain; a home of this server is given a new certificate.
// No process may use the home meanwhile.
func Enrol(ctx context.Context, dir string, opt EnrolOptions) (Config, error) {
	return Config{}, errors.ErrUnsupported
}

// Options say how a device syncs.
type Options struct {
	Home       string
	Store      *disk.Store
	Repo       *repo.Repo
	Workspaces *workspace.Set
	LimitUp    int64 // bytes a second; 0: no limit
	LimitDown  int64
	Note       func(format string, args ...any) // tells a person what is going on
	Progress   func(layer string, p exchange.Progress)
}

// A Device is an enrolled home.
type Device struct{}

// Open returns the device of a home, or fails with [ErrNotEnrolled].
func Open(opt Options) (*Device, error) { return nil, ErrNotEnrolled }

// Close closes connections.
func (d *Device) Close() error { return nil }

// A LayerReport tells what sync did with one layer.
type LayerReport struct {
	Layer     store.LayerID     `json:"layer"`
	Name      string            `json:"name"`
	Found     syncer.Relation   `json:"found"` // before
	Pulled    store.ID          `json:"pulled"`
	Merged    store.ID          `json:"merged"`
	Pushed    store.ID          `json:"pushed"`
	Conflicts []trees.Conflict  `json:"conflicts,omitempty"`
	Moved     exchange.Progress `json:"moved"`
	Note      string            `json:"note,omitempty"`  // for people
	Error     string            `json:"error,omitempty"` // why it is not in sync
}

// A Report tells what a sync did.
type Report struct {
	Layers     []LayerReport  `json:"layers"`
	Workspaces []string       `json:"workspaces,omitempty"` // those that were added or changed, here or there
	Notes      []string       `json:"notes,omitempty"`
	Traffic    client.Traffic `json:"traffic"`
	Seconds    float64        `json:"seconds"`
}

// Sync brings workspaces and their layers to the state of the server and the
// server to theirs; no names mean all. A layer that fails does not keep the
// others from being synced; the error joins all failures.
func (d *Device) Sync(ctx context.Context, workspaces ...string) (Report, error) {
	return Report{}, errors.ErrUnsupported
}

// A LayerStatus tells how a layer stands.
type LayerStatus struct {
	Layer    store.LayerID   `json:"layer"`
	Name     string          `json:"name"`
	Kind     string          `json:"kind"`
	Relation syncer.Relation `json:"relation"` // "": the server does not know the layer
	Local    store.ID        `json:"local"`
	Remote   store.ID        `json:"remote"` // as last heard
	Up       exchange.Size   `json:"up"`     // to be sent, at most
	Down     exchange.Size   `json:"down"`   // to be fetched
	Ready    bool            `json:"ready"`  // the server's version, or a newer one, is here
}

// A WorkspaceStatus tells how a workspace stands.
type WorkspaceStatus struct {
	Name   string        `json:"name"`
	Ready  bool          `json:"offline_ready"` // all layers have a version here that is whole
	Layers []LayerStatus `json:"layers"`
}

// A Status tells how a home stands to its server.
type Status struct {
	Config
	Online     bool              `json:"online"` // the server answered just now
	Reason     string            `json:"reason,omitempty"`
	LastSync   time.Time         `json:"last_sync"` // zero: never
	Expires    time.Time         `json:"certificate_expires"`
	Workspaces []WorkspaceStatus `json:"workspaces"`
}

// Status tells how the home stands. When the server cannot be reached it goes
// by what was last heard from it.
func (d *Device) Status(ctx context.Context) (Status, error) { return Status{}, errors.ErrUnsupported }

// Fetch brings the contents of an older version of a layer, of which the home
// holds only the record.
func (d *Device) Fetch(ctx context.Context, layer, version string) error {
	return errors.ErrUnsupported
}

// Publish makes a layer of the home known to the server, as one of its user's,
// and syncs it from now on.
func (d *Device) Publish(ctx context.Context, layer string) (LayerReport, error) {
	return LayerReport{}, errors.ErrUnsupported
}

// Run keeps the home in sync until ctx is done: it waits for news of the server
// and for changes here, and tries again, ever less often, while the server
// cannot be reached. One process at a time runs; a second fails with
// [store.ErrBusy].
func (d *Device) Run(ctx context.Context, report func(Report, error)) error {
	return errors.ErrUnsupported
}
