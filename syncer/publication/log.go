package publication

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"satchel/store"
	"satchel/syncer"
)

// maxPublished is how many publications of one channel are remembered: what a
// device falls back to while a wave has not come to it.
const maxPublished = 32

// A Published is a publication that counts.
type Published struct {
	Seq   uint64    `json:"seq"`
	Entry Hash      `json:"entry"`
	Time  time.Time `json:"time"`
	Publish
}

// A Log is what follows from the entries of a log, as far as their contents
// were shown. The zero value is that of no entries. It is its own JSON.
type Log struct {
	Seq     uint64 `json:"seq"`     // of the last entry
	Head    Hash   `json:"head"`    // of the last entry
	Genesis Hash   `json:"genesis"` // of the first; set beforehand, no other is taken

	Keys map[Key]string `json:"keys"` // that may publish, with their names
	// Published is by layer, oldest first.
	Published   map[store.LayerID][]Published         `json:"published"`
	Withdrawn   map[store.LayerID]map[store.ID]string `json:"withdrawn"` // with the reason
	Assignments map[string]Assigned                   `json:"assignments"`
	// Hidden counts entries by subject that were not shown.
	Hidden map[store.LayerID]int `json:"hidden"`

	// Seen is what was seen before this log was read anew: it must lead there.
	Seen *Point `json:"-"`
}

// A Point is a place in a log.
type Point struct {
	Seq  uint64
	Head Hash
}

// An Assigned is an assignment that holds.
type Assigned struct {
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"`
	Assignment
}

// A RefusedError is an entry that is part of the log, but says what nobody may
// follow.
type RefusedError struct {
	Seq uint64
	Err error
}

func (e *RefusedError) Error() string { return fmt.Sprintf("publication %d: %v", e.Seq, e.Err) }
func (e *RefusedError) Unwrap() error { return e.Err }

// Anew returns an empty log that, once it was extended, is refused unless it
// goes on from what this one has seen.
func (l *Log) Anew() *Log {
	return &Log{Genesis: l.Genesis, Seen: &Point{l.Seq, l.Head}}
}

// Clone returns a copy that shares nothing that changes.
func (l *Log) Clone() *Log {
	c := *l
	c.Keys, c.Hidden, c.Assignments = maps.Clone(l.Keys), maps.Clone(l.Hidden), maps.Clone(l.Assignments)
	c.Published, c.Withdrawn = maps.Clone(l.Published), maps.Clone(l.Withdrawn)
	for id, reasons := range c.Withdrawn {
		c.Withdrawn[id] = maps.Clone(reasons)
	}
	return &c // slices of Published are never changed in place
}

// Extend takes in the statements that follow, the first of which may be the last
// one that is there already. It returns the refusals of single entries, which
// change nothing else, and fails with [ErrForged], [ErrSplit] or
// [syncer.ErrMalformed], and then takes in no more.
func (l *Log) Extend(statements []Statement) (refused []error, err error) {
	for i, s := range statements {
		if i == 0 && l.Seq > 0 {
			again, err := l.known(s)
			if err != nil {
				return refused, err
			}
			if again {
				continue
			}
		}
		err := l.Append(s)
		if bad := (*RefusedError)(nil); errors.As(err, &bad) {
			refused = append(refused, err)
			continue
		}
		if err != nil {
			return refused, err
		}
	}
	return refused, nil
}

// known reports whether a statement is the log's last one. One with the same
// number that is another shows that there are two logs, if it is signed.
func (l *Log) known(s Statement) (bool, error) {
	e, err := Unmarshal(s.Record)
	if err != nil || e.Seq != l.Seq {
		return false, err
	}
	switch _, ours := l.Keys[e.Key]; {
	case e.Hash() == l.Head:
		return true, nil
	case ours && e.signed():
		return false, fmt.Errorf("publication %d: %w", e.Seq, ErrSplit)
	}
	return false, fmt.Errorf("publication %d: %w", e.Seq, ErrForged)
}

// Reached reports whether a log whose last entry has that number may be the one
// that this log is of: it fails with [ErrReplayed] when it is shorter than what
// was seen.
func (l *Log) Reached(last uint64) error {
	seen := l.Seq
	if l.Seen != nil {
		seen = max(seen, l.Seen.Seq)
	}
	if last < seen {
		return fmt.Errorf("it ends at %d, and went to %d: %w", last, seen, ErrReplayed)
	}
	return nil
}

// Append takes in the statement after the last one. It fails with [ErrForged]
// or [ErrSplit], and then nothing has changed; or with a [*RefusedError], when
// the entry is taken in without an effect.
func (l *Log) Append(s Statement) error {
	e, err := Unmarshal(s.Record)
	if err != nil {
		return err
	}
	if e.Seq != l.Seq+1 {
		return fmt.Errorf("publication %d follows %d: %w", e.Seq, l.Seq, syncer.ErrMalformed)
	}
	fail := func(err error) error { return fmt.Errorf("publication %d: %w", e.Seq, err) }
	if e.Prev != l.Head {
		return fail(ErrSplit)
	}
	hash := e.Hash()
	if e.Seq == 1 && l.Genesis != (Hash{}) && hash != l.Genesis {
		return fail(fmt.Errorf("it begins another log than the one of this domain: %w", ErrForged))
	}
	if l.Seen != nil && e.Seq == l.Seen.Seq && hash != l.Seen.Head {
		return fail(ErrSplit)
	}
	c, err := l.read(&e, s.Content)
	if err != nil {
		return fail(err)
	}
	if e.Seq == 1 {
		l.Genesis = hash
	}
	l.Seq, l.Head = e.Seq, hash
	if c == nil {
		put(&l.Hidden, e.Subject, l.Hidden[e.Subject]+1)
		return nil
	}
	if err := l.apply(&e, hash, c); err != nil {
		return &RefusedError{e.Seq, err}
	}
	return nil
}

// read checks who has signed an entry, and returns its contents if they are
// shown.
func (l *Log) read(e *Entry, content []byte) (*Content, error) {
	if _, known := l.Keys[e.Key]; !known && e.Seq > 1 || !e.signed() {
		return nil, ErrForged
	}
	if content == nil {
		if e.Subject == keys {
			return nil, fmt.Errorf("it changes who may publish, and is not shown: %w", ErrForged)
		}
		return nil, nil
	}
	if hashOf(content) != e.Content {
		return nil, fmt.Errorf("its contents: %w", ErrForged)
	}
	c, err := parse(content)
	if err != nil {
		return nil, err
	}
	if c.subject() != e.Subject {
		return nil, fmt.Errorf("it is about something else than it says: %w", ErrForged)
	}
	if e.Seq == 1 && (c.AddKey == nil || c.AddKey.Key != e.Key) {
		return nil, fmt.Errorf("the first one does not name its own key: %w", ErrForged)
	}
	return &c, nil
}

// apply does what an entry says.
func (l *Log) apply(e *Entry, hash Hash, c *Content) error {
	switch {
	case c.AddKey != nil:
		put(&l.Keys, c.AddKey.Key, c.AddKey.Name)
	case c.DropKey != nil:
		if _, only := l.Keys[c.DropKey.Key]; only && len(l.Keys) == 1 {
			return errors.New("nobody could publish any more")
		}
		delete(l.Keys, c.DropKey.Key)
	case c.Publish != nil:
		return l.publish(Published{e.Seq, hash, c.Time, *c.Publish})
	case c.Withdraw != nil:
		if l.Withdrawn[c.Withdraw.Layer] == nil {
			put(&l.Withdrawn, c.Withdraw.Layer, map[store.ID]string{})
		}
		l.Withdrawn[c.Withdraw.Layer][c.Withdraw.Version] = c.Withdraw.Reason
	case c.Assign != nil:
		put(&l.Assignments, c.Assign.ID, Assigned{e.Seq, c.Time, *c.Assign})
	case c.Unassign != nil:
		delete(l.Assignments, c.Unassign.ID)
	}
	return nil
}

func (l *Log) publish(p Published) error {
	if reason, gone := l.Withdrawn[p.Layer][p.Version]; gone {
		return withdrawn(p.Version, reason)
	}
	all := l.Published[p.Layer]
	if last, ok := l.Channel(p.Layer, p.Channel); ok && !p.Back && p.Version != last.Version && p.Number <= last.Number {
		return fmt.Errorf("version %s is number %d of the layer, and channel %s was at number %d: %w",
			p.Version.Short(), p.Number, p.Channel, last.Number, ErrDowngrade)
	}
	all = append(slices.Clone(all), p)
	if of := func(o Published) bool { return o.Channel == p.Channel }; count(all, of) > maxPublished {
		oldest := slices.IndexFunc(all, of)
		all = slices.Delete(all, oldest, oldest+1)
	}
	put(&l.Published, p.Layer, all)
	return nil
}

// Channel returns the newest publication of a layer on a channel.
func (l *Log) Channel(layer store.LayerID, channel string) (Published, bool) {
	for _, p := range slices.Backward(l.Published[layer]) {
		if p.Channel == channel {
			return p, true
		}
	}
	return Published{}, false
}

func withdrawn(version store.ID, reason string) error {
	if reason == "" {
		return fmt.Errorf("%s: %w", version.Short(), ErrWithdrawn)
	}
	return fmt.Errorf("%s: %w: %.500q", version.Short(), ErrWithdrawn, reason)
}

func count[T any](all []T, is func(T) bool) (n int) {
	for _, v := range all {
		if is(v) {
			n++
		}
	}
	return n
}

func put[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = value
}
