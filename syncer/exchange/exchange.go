// Package exchange moves versions between a store and a remote.
package exchange

import (
	"context"
	"errors"

	"satchel/layers"
	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer"
)

// Progress counts what an exchange has done so far. Its fields only grow.
type Progress struct {
	Chunks  int64 `json:"chunks"`  // chunks moved
	Bytes   int64 `json:"bytes"`   // plaintext bytes of those
	Done    int64 `json:"done"`    // logical bytes of files known to be there now, moved or not
	Total   int64 `json:"total"`   // logical bytes of files in all; 0: not known yet
	Retries int64 `json:"retries"` // tries after a cut
}

// Options say how an exchange is done. The zero value is sensible.
type Options struct {
	Streams  int            // requests at the same time; 0: a few
	Progress func(Progress) // called now and then, by one goroutine at a time
}

// History fetches the records of want and of what its history holds beyond
// have, into w. It returns those that the store did not hold before, newest
// first. The caller flushes.
func History(ctx context.Context, st *disk.Store, w store.Writer, r syncer.Remote, layer store.LayerID, want store.ID, have []store.ID, opt Options) ([]store.ID, error) {
	return nil, errors.ErrUnsupported
}

// Contents fetches what a version whose record is there needs: trees and file
// contents. Versions in held, of any layer, are complete in the store; what
// they share with it is skipped. When it returns nil, all of it is durable. It
// goes on after cuts, and gives up when several tries in a row bring nothing.
func Contents(ctx context.Context, st *disk.Store, w store.Writer, r syncer.Remote, layer store.LayerID, version store.ID, held []store.ID, opt Options) error {
	return errors.ErrUnsupported
}

// A Size says how much there is to move.
type Size struct {
	Chunks int64 `json:"chunks"`
	Bytes  int64 `json:"bytes"` // plaintext
}

// Measure tells what Contents would fetch, by fetching the manifests alone.
func Measure(ctx context.Context, st *disk.Store, w store.Writer, r syncer.Remote, layer store.LayerID, version store.ID, held []store.ID, opt Options) (Size, error) {
	return Size{}, errors.ErrUnsupported
}

// Push sends a layer's version to, with the versions between it and from and all
// that they need and the server lacks, and has the server move the layer's
// head. From is in the history of to, and complete in the store unless zero.
func Push(ctx context.Context, st *disk.Store, r syncer.Remote, layer store.LayerID, from, to store.ID, opt Options) error {
	return errors.ErrUnsupported
}

// Unsent tells what Push would have to send at most, without asking the server.
func Unsent(ctx context.Context, st *disk.Store, from, to store.ID) (Size, error) {
	return Size{}, errors.ErrUnsupported
}

var _ = layers.OS
