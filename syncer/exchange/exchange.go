// Package exchange moves versions between a store and a remote.
//
// # Vocabulary
//
// A batch is the chunks of one request. A try is one request for what is left
// of a batch. To descend is to go through a version's manifest chunks from its
// roots, without those that a complete version is known to reach. The versions
// beyond others are those that are in the history of one, but in none of
// theirs.
//
// # Invariants
//
//   - A chunk is taken only if it was asked for, and sent only if a version
//     that is being pushed reaches it. Whatever breaks that ends the exchange.
//   - What arrived before a cut is not asked for again, by this call or, once
//     flushed, by a later one.
//   - Memory is bounded by windows and batches, but for the IDs of manifest
//     chunks, about one for every hundred files.
//
// # The one idea
//
// Manifests say what is needed, stores say what is there, and chunks may come in
// any order. So nothing is remembered of an exchange that was cut off: to go on
// is to begin again, and to find less missing.
package exchange

import (
	"satchel/store"
	"satchel/syncer"
)

const (
	window     = 1024          // manifest chunks that are looked at together
	batchIDs   = 4096          // chunks of one request
	batchBytes = 32 << 20      // plaintext bytes of those
	smallIDs   = 64            // chunks of a push that is sent without an offer
	smallBytes = 256 << 10     // plaintext bytes of those
	frameBytes = 64 << 20      // of frames that have arrived and are not put yet
	recentIDs  = 1 << 17       // chunks that are remembered, to look at each once
	streams    = 4             // requests at the same time
	idleTries  = 8             // tries in a row that bring nothing
	rounds     = 16            // pushes that are answered with missing chunks
	maxHistory = 1 << 20       // versions of one answer
	pageIDs    = syncer.MaxIDs // chunks that are looked up or offered together
)

// Options say how an exchange is done. The zero value is sensible.
type Options struct {
	Streams  int            // requests at the same time; 0: a few
	Deltas   Deltas         // when to use them; empty: Auto
	Progress func(Progress) // called now and then, by one goroutine at a time
	// Admit is asked, if not nil, before contents of files are fetched, and an
	// error of its ends the exchange. There are at most so many bytes of plaintext
	// to come; measure finds out what there is, by fetching the manifests.
	Admit func(most int64, measure func() (Size, error)) error
}

func (o Options) streams() int {
	if o.Streams > 0 {
		return o.Streams
	}
	return streams
}

// A Size says how much there is to move.
type Size struct {
	Chunks int64 `json:"chunks"`
	Bytes  int64 `json:"bytes"` // plaintext
}

func (s *Size) add(pieces []piece) {
	s.Chunks += int64(len(pieces))
	for _, p := range pieces {
		s.Bytes += p.size
	}
}

// A piece is a chunk and its size in bytes of plaintext.
type piece struct {
	id   store.ID
	size int64
}

func idsOf(pieces []piece) []store.ID {
	ids := make([]store.ID, len(pieces))
	for i, p := range pieces {
		ids[i] = p.id
	}
	return ids
}

// recent remembers which chunks were met lately. That it forgets costs a second
// look, no more.
type recent map[store.ID]struct{}

// add reports whether the chunk was not met lately.
func (r recent) add(id store.ID) bool {
	if _, ok := r[id]; ok {
		return false
	}
	if len(r) >= recentIDs {
		clear(r)
	}
	r[id] = struct{}{}
	return true
}

// cut hands pieces on in batches.
func cut(pieces []piece, emit func([]piece) error) error {
	var bytes int64
	from := 0
	for i, p := range pieces {
		if i > from && (i-from == batchIDs || bytes+p.size > batchBytes) {
			if err := emit(pieces[from:i:i]); err != nil {
				return err
			}
			from, bytes = i, 0
		}
		bytes += p.size
	}
	if from == len(pieces) {
		return nil
	}
	return emit(pieces[from:])
}
