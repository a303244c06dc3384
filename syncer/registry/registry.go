// Package registry keeps what a server knows of users, groups, devices, tokens,
// layers, rights, workspaces, publications and
// how far those have come.
//
// # Vocabulary
//
// A row is one of those things, a table all rows of one sort. A change is what
// one call does to rows of any tables. An upload is the note that a device has
// sent a chunk, and so holds it.
//
// # Invariants
//
//   - A change happens as a whole, durably, or not at all, and what it says was
//     checked against the state that it changes.
//   - Rows name only what exists. What goes takes the grants to it along, so
//     that whoever gets its name later inherits nothing; and what still holds
//     something else up does not go.
//   - Secrets are kept as hashes.
//   - Nothing here is in the way of a request: reading never waits for a disk.
//
// # The one idea
//
// A server knows some thousands of such things, so all of them are in memory,
// and the file, a bbolt database, is what makes changes outlive the process: it
// is read once, and written before anybody sees a change.
//
// The file, registry.db, is the one to back up of a server, beside its store
// and its authority. Uploads are many and worth little; they are in a file of
// their own beside it, uploads.db, which needs no backup.
package registry

import (
	"errors"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/publication"
)

// What a user may have. All of it is in the server's memory, and together in
// one state for devices, which is a message of at most [syncer.MaxJSON] bytes.
const (
	maxLayers     = 4096
	maxWorkspaces = 256
	maxWorkspace  = 8 << 10 // bytes, in JSON
)

// A Registry is an open registry. One process has it open; its methods may be
// called from several goroutines at once. What they return is the caller's.
type Registry struct {
	db      *bbolt.DB
	uploads *uploads
	now     func() time.Time

	changing  sync.Mutex   // held by the one change that is being made
	mu        sync.RWMutex // held while a change is made visible; guards what follows
	meta      meta
	users     table[userRow]
	groups    table[syncer.Group]
	devices   table[deviceRow]
	tokens    table[tokenRow]
	layers    table[syncer.LayerInfo]
	works     table[syncer.Workspace]
	named     map[string]store.LayerID // layers by name
	published table[publication.Statement]
	log       publication.Log // what those say
	rollouts  table[syncer.Rollout]
	reports   table[syncer.Report]

	views  sync.Map // by device name: syncer.State, until the next change
	seen   sync.Map // by device name: time.Time of its newest request
	wakeMu sync.Mutex
	wake   chan struct{}
}

// meta is what a registry says of itself.
type meta struct {
	Server string `json:"server"`
	Admin  []byte `json:"admin"` // hash of the administrator's token
}

// Create makes the registry in a new file and opens it.
func Create(path, server string, adminToken [32]byte) (*Registry, error) {
	if err := create(path, meta{Server: server, Admin: adminToken[:]}); err != nil {
		return nil, err
	}
	return Open(path)
}

// Open opens a registry, or fails with [store.ErrNotExist], [store.ErrBusy],
// [store.ErrNewer] or [store.ErrCorrupt].
func Open(path string) (*Registry, error) {
	r := &Registry{
		now:       time.Now,
		users:     newTable[userRow]("users"),
		groups:    newTable[syncer.Group]("groups"),
		devices:   newTable[deviceRow]("devices"),
		tokens:    newTable[tokenRow]("tokens"),
		layers:    newTable[syncer.LayerInfo]("layers"),
		works:     newTable[syncer.Workspace]("workspaces"),
		named:     make(map[string]store.LayerID),
		published: newTable[publication.Statement]("publications"),
		rollouts:  newTable[syncer.Rollout]("rollouts"),
		reports:   newTable[syncer.Report]("reports"),
		wake:      make(chan struct{}),
	}
	if err := r.open(path); err != nil {
		return nil, err
	}
	for _, l := range r.layers.rows {
		r.named[l.Name] = l.ID
	}
	if err := r.readLog(); err != nil {
		return nil, errors.Join(err, r.db.Close())
	}
	var err error
	if r.uploads, err = openUploads(filepath.Join(filepath.Dir(path), "uploads.db")); err != nil {
		return nil, errors.Join(err, r.db.Close())
	}
	return r, nil
}

// Close closes it.
func (r *Registry) Close() error {
	return errors.Join(r.uploads.close(), r.db.Close())
}

// Server is the server's identity.
func (r *Registry) Server() string { return r.meta.Server }

// Changed returns a channel that is closed at the next change of the registry,
// or when Touch is called.
func (r *Registry) Changed() <-chan struct{} {
	r.wakeMu.Lock()
	defer r.wakeMu.Unlock()
	return r.wake
}

// Touch tells those who wait for a change that something outside the registry,
// such as a head, has.
func (r *Registry) Touch() {
	r.wakeMu.Lock()
	defer r.wakeMu.Unlock()
	close(r.wake)
	r.wake = make(chan struct{})
}
