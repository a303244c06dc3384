package workspace

import "satchel/store"

// Foundations are all versions that the records of sessions name, those that
// their captures made included: what a further capture may have to read. Unlike
// [Set.Roots] it names some that may never have come to be.
func (s *Set) Foundations() ([]store.ID, error) {
	return s.named(func(rec *Session) []store.ID { return append(rec.roots(), pinned(rec.Captured)...) })
}
