// Package syncer is the contract of synchronisation: what a device and a server
// say to each other, and how a layer's two histories become one.
//
// # Vocabulary
//
// A server holds layers for many users; a device is one home that was enrolled
// with it. Per layer, the local head is the device's and the remote head the
// server's. The base is the newest version that is in the history of both. To
// pull is to fetch a version with all it needs, to push is to send one. A
// partial version is one of which a store holds the record but not the trees:
// a device fetches the records of a layer's whole history, but only the
// contents that it needs.
//
// # Invariants
//
//   - A head moves only to a version whose history holds the one before. On
//     both sides it moves by compare-and-swap, after everything it reaches is
//     durable.
//   - Every version that a device made reaches the server, in between ones too,
//     and stays in the layer's history for good.
//   - A device is told of a chunk only what layers it may read, and its own
//     uploads, already say. Every chunk is named by whoever receives it.
//   - Anything may be cut off, repeated or lost at any point: doing the same
//     again goes on from there.
//
// # The one idea
//
// All that is hard to undo is a compare-and-swap on a head; all else only adds
// what is immutable. So sync is: fetch, merge if need be, send, swap, and on a
// lost race start over.
//
// This package holds names, messages and the decision; below it wire is the
// codec, exchange moves versions, client and server are the two ends of the
// transport, registry and identity are the server's, device is the home's side.
package syncer

import (
	"context"

	"satchel/store"
)

// A Remote is the server as the exchange of versions sees it. Its methods may
// be called from several goroutines at once. Errors that another try may cure
// are [ErrUnavailable].
type Remote interface {
	// History calls frame with pack frames that hold the records of versions:
	// want, and what its history holds that is not in the history of a version
	// in have. Versions in have that the layer does not know are passed over.
	History(ctx context.Context, layer store.LayerID, want store.ID, have []store.ID, frame func([]byte) error) error
	// Fetch calls frame with pack frames that together hold just the chunks
	// asked for, in any order. The frame is valid only until the call returns.
	// What was handed over before an error is whole. It fails with
	// [ErrForbidden] when the layer does not reach a chunk.
	Fetch(ctx context.Context, layer store.LayerID, ids []store.ID, frame func([]byte) error) error
	// Deltas calls delta, with the number of a pair, for each pair whose target
	// the server sends as its difference from the base, and sketch for those of
	// which it tells instead what the base lacks, as the pair allowed. Those that
	// it leaves out, Fetch brings. It fails with [store.ErrNotExist] at a server
	// that makes none, and with [ErrForbidden] when the layer does not reach a
	// chunk of a target. The delta's data is valid only until the call returns.
	Deltas(ctx context.Context, layer store.LayerID, pairs []Pair, delta func(pair int, d Delta) error, sketch func(pair int, s Sketch) error) error
	// Offer tells which of the chunks the server wants to be sent: all that
	// neither a layer that the device may read nor an upload of its own holds.
	Offer(ctx context.Context, layer store.LayerID, ids []store.ID) (want []bool, err error)
	// Upload sends the frames that send hands to emit. When it returns nil the
	// server has all of them, durably.
	Upload(ctx context.Context, layer store.LayerID, send func(emit func(frame []byte) error) error) error
	// UploadDeltas is Upload for pairs: it sends targets as their difference
	// from bases, which the layer must reach. It fails with [store.ErrNotExist]
	// when it reaches one of them no more.
	UploadDeltas(ctx context.Context, layer store.LayerID, send func(emit func(p Pair, d Delta) error) error) error
	// Push asks the server to move the layer's head. It fails with
	// [store.ErrMoved] when that is not at from, with [*MissingError] when the
	// server lacks chunks, and succeeds when the head is at to already.
	Push(ctx context.Context, layer store.LayerID, from, to store.ID) error
}

// MaxIDs is how many IDs one request of Fetch, Offer or History may hold.
const MaxIDs = 16384
