package syncer

import "satchel/store"

// A Relation is how a layer's local head stands to the remote one.
type Relation string

// The relations.
const (
	Equal    Relation = "equal"    // nothing to do
	Ahead    Relation = "ahead"    // only the device has moved on: push
	Behind   Relation = "behind"   // only the server has: pull
	Diverged Relation = "diverged" // both have: pull, merge, push
)

// Reconcile decides how a layer stands, given its heads and their base: the
// newest version in the history of both. Zero IDs stand for no version. It is
// the only place where that is decided; docs/sync.md has the table.
func Reconcile(base, local, remote store.ID) Relation {
	switch {
	case local == remote:
		return Equal
	case remote == base:
		return Ahead
	case local == base:
		return Behind
	default:
		return Diverged
	}
}
