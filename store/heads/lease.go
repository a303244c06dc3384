package heads

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"satchel/store"
)

// A Lease is the promise of a running process.
type Lease struct {
	Name    string     `json:"name"`    // random, 16 hexadecimal digits
	Purpose string     `json:"purpose"` // what the process does, for people
	PID     int        `json:"pid"`     // for people: it may be another machine's or container's
	Began   time.Time  `json:"began"`
	Epoch   uint64     `json:"epoch"` // in which it began
	Writer  bool       `json:"writer"`
	Roots   []store.ID `json:"roots,omitempty"` // what it reads from
}

// A Held is a lease that this process holds.
type Held struct {
	Lease
	heads *Heads
	lock  *os.File // guarded by heads.mu once the lease is taken
}

// Lease takes a lease: a writer's, or a reader's on what the roots reach.
func (h *Heads) Lease(ctx context.Context, purpose string, writer bool, roots ...store.ID) (*Held, error) {
	var name [8]byte
	rand.Read(name[:]) // never fails
	held := &Held{heads: h, Lease: Lease{
		Name:    hex.EncodeToString(name[:]),
		Purpose: purpose,
		PID:     os.Getpid(),
		Began:   time.Now().UTC().Truncate(time.Second),
		Writer:  writer,
		Roots:   roots,
	}}
	// The file is made and locked within the transaction, so whoever sees the
	// record sees the lock, and whoever removes files without a record, also
	// within a transaction, does not see this one.
	err := h.file.Update(ctx, func(tx *bbolt.Tx) (err error) {
		if held.lock == nil {
			if held.lock, err = lockFile(h.leaseFile(held.Name)); err != nil {
				return err
			}
		}
		leases := tx.Bucket(leasesBucket)
		held.Epoch = leases.Sequence()
		b, err := json.Marshal(held.Lease)
		if err != nil {
			return err
		}
		return leases.Put([]byte(held.Name), b)
	})
	if err != nil {
		held.abandon()
		return nil, fmt.Errorf("begin %s: %w", purpose, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held[held] = struct{}{}
	return held, nil
}

// Release ends the lease.
func (l *Held) Release(ctx context.Context) error {
	err := l.heads.file.Update(ctx, func(tx *bbolt.Tx) error {
		return tx.Bucket(leasesBucket).Delete([]byte(l.Name))
	})
	l.abandon()
	if err != nil {
		return fmt.Errorf("end %s: %w", l.Purpose, err)
	}
	return nil
}

// abandon lets go of the lease as a process does that dies, except that it
// removes the file.
func (l *Held) abandon() {
	l.heads.mu.Lock()
	defer l.heads.mu.Unlock()
	l.heads.abandon(l)
}

// Alive reports whether the lease is still held: neither released nor
// abandoned.
func (l *Held) Alive() bool {
	l.heads.mu.Lock()
	defer l.heads.mu.Unlock()
	return l.lock != nil
}

// Abandon lets go of all leases that were taken with this value, as if the
// process had died. It does not touch the database: the next gc forgets them.
func (h *Heads) Abandon() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.held {
		h.abandon(l)
	}
}

func (h *Heads) abandon(l *Held) {
	delete(h.held, l)
	if l.lock == nil {
		return
	}
	os.Remove(l.lock.Name()) // the next gc removes it otherwise
	l.lock.Close()           // nothing was written
	l.lock = nil
}

func (h *Heads) leaseFile(name string) string { return filepath.Join(h.leases, name) }

// isLeaseName keeps a damaged record from naming a file elsewhere.
func isLeaseName(name string) bool {
	b, err := hex.DecodeString(name)
	return err == nil && len(b) == 8
}

// lockFile makes a file and locks it.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close() // nothing was written
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}

// alive reports whether some process holds the lease.
func (h *Heads) alive(name string) (bool, error) {
	f, err := os.Open(h.leaseFile(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	defer f.Close() // read only
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("lock %s: %w", f.Name(), err)
	default:
		return false, nil
	}
}

// A State is the leases that are alive, and the heads, at one moment.
type State struct {
	Epoch  uint64
	Leases []Lease
	Heads  []store.Head
}

// Alive reports whether the named lease was alive.
func (s *State) Alive(name string) bool {
	return slices.ContainsFunc(s.Leases, func(l Lease) bool { return l.Name == name })
}

// Roots returns what must be kept: all heads, and what readers hold.
func (s *State) Roots() []store.ID {
	var roots []store.ID
	for _, h := range s.Heads {
		if !h.Version.IsZero() {
			roots = append(roots, h.Version)
		}
	}
	for _, l := range s.Leases {
		roots = append(roots, l.Roots...)
	}
	return roots
}

// State returns the heads and the leases that are alive. No lease begins or
// ends while it looks.
func (h *Heads) State(ctx context.Context) (s State, err error) {
	err = h.file.View(ctx, func(tx *bbolt.Tx) error {
		s, err = h.state(tx)
		return err
	})
	return s, err
}

func (h *Heads) state(tx *bbolt.Tx) (s State, err error) {
	leases := tx.Bucket(leasesBucket)
	s.Epoch = leases.Sequence()
	if s.Heads, err = list(tx); err != nil {
		return State{}, err
	}
	err = leases.ForEach(func(name, b []byte) error {
		var l Lease
		if err := json.Unmarshal(b, &l); err != nil || l.Name != string(name) || !isLeaseName(l.Name) {
			return fmt.Errorf("%s: %w: lease %.20q", h.file.Path(), store.ErrCorrupt, name)
		}
		ok, err := h.alive(l.Name)
		if ok {
			s.Leases = append(s.Leases, l)
		}
		return err
	})
	return s, err
}

// Bury forgets the leases of processes that died and returns what is left.
func (h *Heads) Bury(ctx context.Context) (s State, err error) {
	err = h.file.Update(ctx, func(tx *bbolt.Tx) error {
		if s, err = h.state(tx); err != nil {
			return err
		}
		leases := tx.Bucket(leasesBucket)
		var dead [][]byte
		for name := range bucketKeys(leases) {
			if !s.Alive(string(name)) {
				dead = append(dead, slices.Clone(name))
			}
		}
		for _, name := range dead {
			if err := leases.Delete(name); err != nil {
				return err
			}
		}
		return h.removeFiles(&s)
	})
	return s, err
}

// removeFiles removes the files of leases that are not alive.
func (h *Heads) removeFiles(s *State) error {
	files, err := os.ReadDir(h.leases)
	if err != nil {
		return err
	}
	for _, f := range files {
		if s.Alive(f.Name()) {
			continue
		}
		if err := os.Remove(h.leaseFile(f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func bucketKeys(b *bbolt.Bucket) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		c := b.Cursor()
		for k, _ := c.First(); k != nil && yield(k); k, _ = c.Next() {
		}
	}
}

// Advance ends the epoch: leases taken from now on belong to the next.
func (h *Heads) Advance(ctx context.Context) error {
	return h.file.Update(ctx, func(tx *bbolt.Tx) error {
		_, err := tx.Bucket(leasesBucket).NextSequence()
		return err
	})
}
