package device

import (
	"time"

	"satchel/layers/merge/trees"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/client"
	"satchel/syncer/exchange"
)

// A LayerReport tells what sync did with one layer.
type LayerReport struct {
	Layer     store.LayerID     `json:"layer"`
	Name      string            `json:"name"`
	Found     syncer.Relation   `json:"found"` // before
	Pulled    store.ID          `json:"pulled"`
	Thin      bool              `json:"thin,omitempty"` // what was pulled has contents still to come
	Merged    store.ID          `json:"merged"`
	Pushed    store.ID          `json:"pushed"`
	Conflicts []trees.Conflict  `json:"conflicts,omitempty"`
	Moved     exchange.Progress `json:"moved"`
	Note      string            `json:"note,omitempty"`  // for people
	Error     string            `json:"error,omitempty"` // why it is not in sync
}

// A Report tells what a sync did.
type Report struct {
	Layers     []LayerReport `json:"layers"`               // ordered by name
	Workspaces []string      `json:"workspaces,omitempty"` // those that were added or changed, here or there
	Notes      []string      `json:"notes,omitempty"`
	// Switch names workspaces that go over to what is here at once: a guest of
	// theirs that runs something older is to be stopped.
	Switch []string `json:"switch,omitempty"`
	// Evicted are the old versions that were given up to make room, and Freed is
	// how many bytes on disk that gave.
	Evicted []Old          `json:"evicted,omitempty"`
	Freed   int64          `json:"freed,omitempty"`
	Traffic client.Traffic `json:"traffic"`
	Seconds float64        `json:"seconds"`
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
	All      exchange.Size   `json:"all"`    // of a local version that is still being fetched: what it consists of
	Left     exchange.Size   `json:"left"`   // of that, what is not here yet
	Ready    bool            `json:"ready"`  // the server's version, or a newer one, is here
}

// A WorkspaceStatus tells how a workspace stands.
type WorkspaceStatus struct {
	Name      string        `json:"name"`
	Ready     bool          `json:"offline_ready"`       // all layers have a version here that is whole
	Fill      *Fill         `json:"fill,omitempty"`      // nil: nothing is left to fetch of these versions
	Suspended bool          `json:"suspended,omitempty"` // its guest is; it goes on unless the sync moves its layers
	Layers    []LayerStatus `json:"layers"`

	fill filling
}

// A Fill tells how far a workspace is that can be run before all of it is here.
type Fill struct {
	Percent float64 `json:"percent"` // of the bytes that its versions consist of
	Left    int64   `json:"left"`    // bytes to be fetched, before compression
	Rate    int64   `json:"rate"`    // bytes a second just now, before compression; 0: nothing is being fetched
	Seconds float64 `json:"seconds"` // until all is here at that rate; 0: it cannot be told
}

// A Status tells how a home stands to its server.
type Status struct {
	Config
	Online     bool              `json:"online"` // the server answered just now
	Reason     string            `json:"reason,omitempty"`
	LastSync   time.Time         `json:"last_sync"` // zero: never
	Expires    time.Time         `json:"certificate_expires"`
	Workspaces []WorkspaceStatus `json:"workspaces"`
	Disk       syncer.Disk       `json:"disk"`
}
