// Package nbd serves one block device to many clients over NBD.
//
// # Vocabulary
//
// An [Export] is the device. A client first negotiates options, and then the
// connection is in transmission: requests, each with a cookie of the client's
// choice, and replies, in any order, each with its request's cookie. A run is a
// range of the export that is all data, or all hole. A chunk, in this package
// only, is one part of a structured reply.
//
// # Invariants
//
//   - Whatever a client sends, the server keeps its memory bounded: each length
//     is checked before anything is allocated for it, and each connection has a
//     limit to the requests and bytes in flight.
//   - A request that cannot be done fails alone, with an NBD error number. Only
//     bytes that make no sense as a request end the connection.
//   - A write is answered after it was done, a flush after everything was
//     flushed that had been answered on any connection: so clients may use many
//     connections at once.
//   - When Serve returns, no goroutine of the server is left.
//
// # The one idea
//
// An export is an [io.ReaderAt] with a size. All else that a device may do is
// found out by asking the value for one more method, and what it lacks is not
// offered to clients.
//
// Source: the NBD protocol,
// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md. Which
// part of it is spoken is written down in docs/format/nbd.md.
package nbd

import (
	"io"
	"iter"
)

// An Export is the device that a server serves. Its methods, and those of the
// optional interfaces below, are called from several goroutines at once, and
// what one call has written the next one reads. It is writable if it is also
// an [io.WriterAt].
type Export interface {
	io.ReaderAt
	// Size is the device's size in bytes. It does not change.
	Size() int64
}

// A Flusher is an export that keeps writes in memory for a while. Without it,
// a write is taken to be as safe as it gets when WriteAt returns.
type Flusher interface {
	// Flush returns when all that was written survives a power cut.
	Flush() error
}

// A Trimmer is an export that can forget a range, which then reads as anything.
type Trimmer interface {
	Trim(off, length int64) error
}

// A Zeroer is an export that writes zeroes faster than by WriteAt.
type Zeroer interface {
	// Zero makes a range read as zeroes. If punch is set, it may be made a hole.
	Zero(off, length int64, punch bool) error
}

// An Allocator is an export that knows where its holes are.
type Allocator interface {
	// Runs yields what the range consists of, in order and without gaps. The
	// range lies within the export.
	Runs(off, length int64) iter.Seq[Run]
}

// A Run is a range of an export, the first after the run before it.
type Run struct {
	Length int64 // bytes, more than 0
	Hole   bool  // takes no space
	Zero   bool  // reads as zeroes
}

// Limits of the protocol and of this server, in bytes.
const (
	MaxRequest    = 32 << 20 // of one read or write; larger ones are refused
	maxInFlight   = 64 << 20 // of all requests of one connection
	maxName       = 4096     // of an export's or a context's name
	maxOptionData = 64 << 10 // of one option
)

// Options adjusts a server. The zero value is good.
type Options struct {
	Description    string // of the export, for people
	MaxConnections int    // at once; 32
	MaxRequests    int    // in flight on one connection; 16
}
