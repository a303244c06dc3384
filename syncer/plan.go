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
	Moved     int64           `json:"moved"` // over the line, all devices together, at most
	Devices   []PlannedDevice `json:"devices"`
}

// A PlannedLayer is a layer and the version of it that devices would go to.
type PlannedLayer struct {
	Layer   store.LayerID `json:"layer"`
	Name    string        `json:"name"`
	Kind    layers.Kind   `json:"kind"`
	Version store.ID      `json:"version"`
}

// A PlannedDevice is what a device would have to do. Chunks that it lacks count
// as they are in the server's packs, which is about what they take on the device.
type PlannedDevice struct {
	Device string `json:"device"`
	User   string `json:"user"`
	Chunks int64  `json:"chunks"` // to be fetched from the server
	Bytes  int64  `json:"bytes"`  // plaintext bytes of those, before compression
	Moved  int64  `json:"moved"`  // bytes over the line, at most: deltas make it less
	Space  int64  `json:"space"`  // bytes on the device's disk that they take, about
	// What stays on the device for the way back, before compression and on disk.
	RollbackBytes int64 `json:"rollback_bytes"`
	RollbackSpace int64 `json:"rollback_space"`
	// Room is how much may be added on the device's disk, by what it said last;
	// nil: it did not say. Lacking is how much more than that Space is: so much has
	// to come from old versions that the device can give up.
	Room      *int64            `json:"room,omitempty"`
	Lacking   int64             `json:"lacking,omitempty"`
	Conflicts []PlannedConflict `json:"conflicts,omitempty"`
}

// A PlannedConflict is a registry, such as /etc/passwd, of which a layer's
// changes could not all be applied to the planned layers.
type PlannedConflict struct {
	Layer  string `json:"layer"`
	Path   string `json:"path"`
	Reason string `json:"reason"`
}
