// Package server is the server's end of the transport: it answers devices and
// administrators over HTTP, for one directory with a store, a registry and a
// certificate authority. docs/format/sync.md specifies the protocol.
//
// # Vocabulary
//
// A layer reaches a chunk if the history of its head does. A device may see
// what the layers that it may read reach, and what it uploaded itself.
//
// # Invariants
//
//   - Nothing tells a device whether the store holds a chunk that it may not
//     see: neither an answer nor an error.
//   - A head moves only after all that it reaches was found whole, allowed and
//     present, under a writer's lease that ends after the move.
//   - Who a device is and what it may do is looked up anew for every request.
//     What runs for long ends when its device is revoked.
//   - What a request can make the server keep in memory is bounded.
//
// # The one idea
//
// The set of chunks that each layer reaches is kept in memory. It answers what
// may be fetched, what need not be sent, and what a push may name, so that none
// of these ever asks the store about a chunk that the device may not know of.
package server

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"satchel/layers/repo"
	"satchel/store/disk"
	"satchel/syncer/deltas"
	"satchel/syncer/identity"
	"satchel/syncer/registry"
)

// A Server serves one directory.
type Server struct {
	log       *slog.Logger
	life      time.Duration // of devices' certificates
	idle      time.Duration // that a connection may bring nothing
	hosts     []string
	store     *disk.Store
	repo      *repo.Repo
	registry  *registry.Registry
	authority *identity.Authority

	transfers *transfers          // requests that move chunks
	checks    *semaphore.Weighted // pushes of which a whole tree is in memory

	codec  *deltas.Codec
	deltas *deltaCache
	traces *traces

	reach     *reach
	lastHeads heads
	attempts  *attempts
	metrics   *metrics
	running   sync.WaitGroup // requests

	drain    sync.Once
	draining chan struct{} // closed when the server begins to drain
}

// Options say how a server runs. The zero value is sensible.
type Options struct {
	Log       *slog.Logger  // nil: none
	Life      time.Duration // of devices' certificates; 0: a year
	Hosts     []string      // names and addresses for the server's certificate, beside those of the machine
	Transfers int           // requests that move chunks at the same time, a quarter of them one device's; 0: by the number of processors
	// OpenStore opens the server's store; nil: [disk.Open]. Tests of power
	// failures give another.
	OpenStore func(dir string) (*disk.Store, error)

	idle time.Duration // that a connection may bring nothing; 0: two minutes
}

const defaultLife = 365 * 24 * time.Hour

// Open opens a server's directory, which no other process may serve. It fails
// with [store.ErrNotExist] where there is none and with [store.ErrBusy] while
// another process serves it.
func Open(dir string, opt Options) (*Server, error) {
	s := &Server{log: opt.Log, life: opt.Life, idle: opt.idle, hosts: opt.Hosts, attempts: newAttempts(), draining: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.life == 0 {
		s.life = defaultLife
	}
	if s.idle == 0 {
		s.idle = defaultIdle
	}
	if opt.Transfers == 0 {
		opt.Transfers = 8 * runtime.GOMAXPROCS(0)
	}
	s.transfers = newTransfers(opt.Transfers)
	s.checks = semaphore.NewWeighted(1)
	if err := s.open(dir, opt.OpenStore); err != nil {
		return nil, errors.Join(fmt.Errorf("open server %s: %w", dir, err), s.Close())
	}
	return s, nil
}

// open opens the parts, the registry first: its lock keeps others out.
func (s *Server) open(dir string, open func(string) (*disk.Store, error)) (err error) {
	if s.registry, err = registry.Open(filepath.Join(dir, registryName)); err != nil {
		return err
	}
	if s.authority, err = identity.OpenAuthority(filepath.Join(dir, authorityName)); err != nil {
		return err
	}
	if open == nil {
		open = disk.Open
	}
	if s.store, err = open(filepath.Join(dir, storeName)); err != nil {
		return err
	}
	s.repo = repo.New(s.store, deviceName)
	s.reach = newReach(s.store, maxReach)
	s.codec = deltas.New(s.store, s.store.Domain())
	if s.deltas, err = openDeltaCache(filepath.Join(dir, deltasName), deltaLimit); err != nil {
		return err
	}
	if s.traces, err = openTraces(filepath.Join(dir, tracesName)); err != nil {
		return err
	}
	s.metrics = newMetrics(s.store)
	return nil
}

// deviceName is what versions that the server makes say they were made on.
const deviceName = "server"

// Fingerprint names the server's certificate authority.
func (s *Server) Fingerprint() string { return s.authority.Fingerprint() }

// Close closes the store and the registry, once all requests have ended. No
// more may come.
func (s *Server) Close() error {
	s.running.Wait()
	var errs []error
	if s.reach != nil {
		s.reach.close()
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.registry != nil {
		errs = append(errs, s.registry.Close())
	}
	return errors.Join(errs...)
}
