// Package store is the contract of Satchel's content-addressed store.
//
// # Vocabulary
//
// A chunk is a run of bytes, cut from a file by content, and named by its ID.
// A pack is an immutable file of compressed frames, each holding one or more
// chunks. The index says in which pack a chunk lies; it can always be rebuilt
// from the packs. A head is the only mutable thing: it names the current
// version of a layer and moves by compare-and-swap. A lease is the promise of
// a running process that it is still writing.
//
// # Invariants
//
//   - A chunk never changes and is verified against its ID when it is read.
//   - Packs are durable before the index names them, the index before a
//     manifest that needs it, the manifest before a head. A crash at any point
//     leaves the old or the new state, and garbage that gc finds.
//   - Nothing that a head or a lease reaches is ever removed.
//
// # The one idea
//
// Everything except heads is immutable and named by what it is, so a reader
// needs no lock, a writer can only add, and recovery is the normal open path.
//
// This package holds names and interfaces; the packages below it implement
// them: chunk cuts and hashes, pack and index are codecs, heads keeps heads
// and leases, disk joins them into a durable store in a directory.
package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
)

// Errors that callers ask about with [errors.Is].
var (
	// ErrNotExist reports a chunk, head or layer that the store does not hold.
	ErrNotExist = errors.New("does not exist")
	// ErrExist reports a name that is already taken.
	ErrExist = errors.New("already exists")
	// ErrCorrupt reports bytes that do not match their checksum or format.
	ErrCorrupt = errors.New("damaged")
	// ErrNewer reports a store or format written by a newer version.
	ErrNewer = errors.New("written by a newer version of satchel")
	// ErrBusy reports a store that another process holds for too long.
	ErrBusy = errors.New("in use by another process")
	// ErrMoved reports a compare-and-swap that lost: the head is not what the
	// caller believed it to be.
	ErrMoved = errors.New("head has moved")
)

// An ID names a chunk: the keyed BLAKE3-256 hash of its plaintext, under the
// key of the store's [Domain]. The zero ID names nothing.
//
// Source: BLAKE3 specification, keyed_hash mode,
// https://github.com/BLAKE3-team/BLAKE3-specs.
type ID [32]byte

// String returns the ID in lower-case hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Short returns the first twelve hexadecimal digits, for people.
func (id ID) Short() string { return hex.EncodeToString(id[:6]) }

// IsZero reports whether the ID names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText implements [encoding.TextMarshaler].
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (id *ID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseID(string(b))
	return err
}

// ParseID is the inverse of [ID.String].
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != hex.EncodedLen(len(id)) {
		return ID{}, fmt.Errorf("id %.70q: want %d hexadecimal digits", s, hex.EncodedLen(len(id)))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("id %.70q: %w", s, err)
	}
	return id, nil
}

// MaxChunk is the largest chunk, in bytes, that any store takes.
const MaxChunk = 4 << 20

// A Getter reads chunks.
type Getter interface {
	// Get returns the plaintext of a chunk, verified against its ID. The
	// caller must not change it. It fails with [ErrNotExist] or [ErrCorrupt].
	// Get may be called from several goroutines at once.
	Get(ctx context.Context, id ID) ([]byte, error)
}

// A Lender is a [Getter] for who reads many chunks and is soon done with each.
type Lender interface {
	Getter
	// Locate finds where chunks lie, so that who reads them soon need not. It
	// is no error when one is not there: reading it will say so.
	Locate(ctx context.Context, ids []ID) error
	// Lend calls use with the plaintexts of chunks, in the order of the IDs.
	// They are as Get returns them, but good only until use returns: their
	// memory is used again. Lend returns what use does, or fails as Get does.
	// It may be called from several goroutines at once.
	Lend(ctx context.Context, ids []ID, use func(chunks [][]byte) error) error
}

// A Haser tells which chunks are present.
type Haser interface {
	// Has answers for each ID in turn whether the store holds it.
	Has(ctx context.Context, ids []ID) ([]bool, error)
}

// A Putter adds chunks. Put may be called from several goroutines at once.
type Putter interface {
	// Put stages chunks of 1 to [MaxChunk] bytes and returns their IDs in
	// order. Chunks that are already present are not stored again. The data
	// is copied before Put returns. What was put is readable by others, and
	// survives a power cut, after the next successful [Writer.Flush].
	Put(ctx context.Context, data ...[]byte) ([]ID, error)
}

// A Writer adds chunks under a lease: until it is closed, gc keeps what it put
// and what it was told is present. After an error it refuses everything but
// Close.
type Writer interface {
	Putter
	// Has answers for each ID in turn whether the store holds the chunk, or
	// this writer has it staged. What it says is there stays until Close.
	Haser
	// PutFrame stages the chunks of a pack frame, as another store of the same
	// domain sent it, and returns their IDs in order. Each chunk is named by
	// hashing it; a frame of which every chunk is new is kept as it is, without
	// compressing it again. A damaged frame fails with [ErrCorrupt], is not
	// staged, and is no error of the writer. The frame is not kept by the call.
	PutFrame(ctx context.Context, frame []byte) ([]ID, error)
	// Flush makes everything put so far durable and visible.
	Flush(ctx context.Context) error
	// Stats tells what this writer has added so far.
	Stats() WriteStats
	// Close gives up what was not flushed and ends the lease.
	Close() error
}

// WriteStats counts what a [Writer] did.
type WriteStats struct {
	Chunks      int64 // chunks put, new or not
	Bytes       int64 // plaintext bytes put
	NewChunks   int64 // chunks that were not present
	NewBytes    int64 // plaintext bytes of those
	StoredBytes int64 // bytes those took on disk, compressed
}

// A LayerID names a layer for as long as it lives, whatever people call it.
type LayerID [16]byte

// String returns the ID in lower-case hexadecimal.
func (id LayerID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether the ID names nothing.
func (id LayerID) IsZero() bool { return id == LayerID{} }

// MarshalText implements [encoding.TextMarshaler].
func (id LayerID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (id *LayerID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseLayerID(string(b))
	return err
}

// ParseLayerID is the inverse of [LayerID.String].
func ParseLayerID(s string) (LayerID, error) {
	var id LayerID
	if len(s) != hex.EncodedLen(len(id)) {
		return LayerID{}, fmt.Errorf("layer id %.40q: want %d hexadecimal digits", s, hex.EncodedLen(len(id)))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return LayerID{}, fmt.Errorf("layer id %.40q: %w", s, err)
	}
	return id, nil
}

// A Head is the current version of a layer.
type Head struct {
	Layer   LayerID `json:"layer"`
	Name    string  `json:"name"`    // what people call the layer; unique in a store
	Version ID      `json:"version"` // zero: the layer has no version yet
}

// A Move asks that a layer's head go from one version to another.
type Move struct {
	Layer LayerID
	From  ID // what the head must be now; zero: no version yet
	To    ID
	// Partial are versions in To's history of which the store holds the record
	// but not the trees. They are noted in the same transaction.
	Partial []ID
	// Thin says that To's trees are here and contents of its files may still
	// have to come. That is noted in the same transaction. A move that does not
	// say is thin while any thin version is in the store, as what is made on top
	// of one may name what has not come.
	Thin bool
	// Whole says that all that To reaches, but for its history, is here.
	Whole bool
}

// Heads keeps the heads of layers.
type Heads interface {
	// Create adds a layer with no version. It fails with [ErrExist] when the
	// name is taken.
	Create(ctx context.Context, name string) (Head, error)
	// Add adds a layer that was made in another store, with no version. It
	// fails with [ErrExist] when the ID or the name is taken.
	Add(ctx context.Context, layer LayerID, name string) (Head, error)
	// Rename gives a layer another name, or fails with [ErrExist].
	Rename(ctx context.Context, layer LayerID, name string) error
	// Lookup finds a layer by name, or fails with [ErrNotExist].
	Lookup(ctx context.Context, name string) (Head, error)
	// Head finds a layer by its ID, or fails with [ErrNotExist].
	Head(ctx context.Context, layer LayerID) (Head, error)
	// List returns all heads, ordered by name.
	List(ctx context.Context) ([]Head, error)
	// CompareAndSwap makes all the moves, durably, or none. It fails with
	// [ErrMoved] when a head is not where its move expects it.
	CompareAndSwap(ctx context.Context, moves ...Move) error
	// Remove forgets a layer and its history, if its head is still version.
	Remove(ctx context.Context, layer LayerID, version ID) error
	// Partial returns the versions, of all layers, of which the store holds
	// the record but not the trees.
	Partial(ctx context.Context) (map[ID]struct{}, error)
	// Thin returns the versions, of all layers, of which the store holds the
	// trees but maybe not all contents, and the layers that moved to them.
	Thin(ctx context.Context) (map[ID]LayerID, error)
	// Complete takes versions off both lists: all they reach is there now.
	Complete(ctx context.Context, versions ...ID) error
}

// A Walker visits every chunk that a root reaches, the root included. It skips
// what lies below a chunk for which visit returns false, so that shared parts
// are visited once. The layer model supplies it: the store does not know what
// its chunks mean.
type Walker func(ctx context.Context, root ID, visit func(ID) bool) error
