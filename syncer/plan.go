package syncer

import (
	"satchel/layers"
	"satchel/store"
)

// A Plan tells what an assignment would mean.
type Plan struct {
	Workspace string          `json:"workspace"`
	To        Principal       `json:"to"`
	Layers    []PlannedLayer  `json:"layers"`
	Bytes     int64           `json:"bytes"` // plaintext, all devices together, at most
	Devices   []PlannedDevice `json:"devices"`
}

// A PlannedLayer is a layer and the version of it that devices would go to.
type PlannedLayer struct {
	Layer   store.LayerID `json:"layer"`
	Name    string        `json:"name"`
	Kind    layers.Kind   `json:"kind"`
	Version store.ID      `json:"version"`
}

// A PlannedDevice is what a device would have to do. Sizes are of plaintext,
// before compression and deltas, so they are upper bounds.
type PlannedDevice struct {
	Device        string            `json:"device"`
	User          string            `json:"user"`
	Chunks        int64             `json:"chunks"`         // to be fetched from the server
	Bytes         int64             `json:"bytes"`          // of those; the room that they need is at most this
	RollbackBytes int64             `json:"rollback_bytes"` // that stay on the device for the way back
	Conflicts     []PlannedConflict `json:"conflicts,omitempty"`
}

// A PlannedConflict is a registry, such as /etc/passwd, of which a layer's
// changes could not all be applied to the planned layers.
type PlannedConflict struct {
	Layer  string `json:"layer"`
	Path   string `json:"path"`
	Reason string `json:"reason"`
}
