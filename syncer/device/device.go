// Package device is a home's side of sync.
//
// # Vocabulary
//
// A home that is enrolled with a server is a device of it. What is said of
// heads, bases and relations in package syncer holds here. The memo is what was
// last heard from the server, and how things stood after the last sync.
//
// # Invariants
//
//   - Nothing is destroyed: what cannot be sent is kept under another name, what
//     was removed on the server stays here.
//   - The memo may be lost or damaged at any time. That costs work, never data.
//   - A crash in an enrolment leaves the home as it was, or as it shall be, or
//     something that the same call of [Enrol] finishes.
//   - A head here moves only while a writer's lease is held that was taken
//     before the head was read.
//
// # The one idea
//
// Sync keeps no state of its own that matters: it looks at the heads of both
// sides and at histories, and each time goes from there. So being cut off, and
// being overtaken, are the same case: look again.
package device

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/store/disk"
	"satchel/store/durable"
	"satchel/syncer/client"
	"satchel/syncer/exchange"
	"satchel/syncer/identity"
)

// ErrNotEnrolled reports a home that belongs to no server.
var ErrNotEnrolled = errors.New("this home is not enrolled with a server")

// Names in the directory of a home.
const (
	configFile  = "device.json"
	keyFile     = "device.key"
	memoFile    = "sync.json"
	journalFile = "enrol.json" // only during an enrolment
	logFile     = "publications.json"
	signerFile  = "publisher.key" // of a publisher
	storeDir    = "store"
	newStoreDir = "store.new" // only during an enrolment
	syncLock    = "sync.lock"
	agentLock   = "agent.lock"
	fillLock    = "fill.lock"
	paceFile    = "fill.json"
	budgetName  = "budget.json"
	fetchedName = "fetched.json"
)

// A Config is what a home knows of its server.
type Config struct {
	URL      string    `json:"url"`
	Server   string    `json:"server"` // its identity
	Device   string    `json:"device"` // this device's name
	User     string    `json:"user"`
	Enrolled time.Time `json:"enrolled"`
}

// membership is the file with a home's [Config] and certificates.
type membership struct {
	durable.Header
	Config
	Authority   []byte `json:"authority"`   // the server's certificate authority, DER
	Certificate []byte `json:"certificate"` // this device's, DER
}

const membershipFormat = "satchel device"

// Load reads the configuration of the home in dir, or fails with [ErrNotEnrolled].
func Load(dir string) (Config, error) {
	m, err := loadMembership(dir)
	return m.Config, err
}

func loadMembership(dir string) (membership, error) {
	var m membership
	err := durable.ReadJSON(filepath.Join(dir, configFile), durable.Header{Format: membershipFormat, Version: formatVersion}, &m)
	if errors.Is(err, store.ErrNotExist) {
		return membership{}, ErrNotEnrolled
	}
	return m, err
}

// Options say how a device syncs.
type Options struct {
	Home       string
	Store      *disk.Store
	Repo       *repo.Repo
	Workspaces *workspace.Set
	LimitUp    int64 // bytes a second; 0: no limit
	LimitDown  int64
	Deltas     exchange.Deltas                  // when chunks move as differences; empty: Auto
	Note       func(format string, args ...any) // tells a person what is going on
	Progress   func(layer string, p exchange.Progress)
}

// A Device is an enrolled home. Its methods may be called from several
// goroutines at once, and beside those of another process.
type Device struct {
	opt Options
	key *identity.Key

	mu     sync.Mutex
	member membership     // guarded by mu
	client *client.Client // guarded by mu; replaced when the certificate is

	vain scenery // in which no old version was left to give up; of who holds the lock of the home's syncs
}

// Open returns the device of a home, or fails with [ErrNotEnrolled].
func Open(opt Options) (*Device, error) {
	if opt.Note == nil {
		opt.Note = func(string, ...any) {}
	}
	if opt.Progress == nil {
		opt.Progress = func(string, exchange.Progress) {}
	}
	m, err := loadMembership(opt.Home)
	if err != nil {
		return nil, err
	}
	// An enrolment that was cut off at its very end left these.
	if err := remove(opt.Home, journalFile); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(filepath.Join(opt.Home, newStoreDir)); err != nil {
		return nil, fmt.Errorf("remove the store that was carried over: %w", err)
	}
	key, err := loadKey(opt.Home)
	if err != nil {
		return nil, err
	}
	d := &Device{opt: opt, key: key}
	if err := d.use(m); err != nil {
		return nil, err
	}
	return d, nil
}

func loadKey(dir string) (*identity.Key, error) {
	path := filepath.Join(dir, keyFile)
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the key of this device: %w", err)
	}
	key, err := identity.ParseKey(pem)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return key, nil
}

// use makes the client that goes with the certificate in m.
func (d *Device) use(m membership) error {
	conf, err := identity.ClientTLS(m.Authority, d.key, m.Certificate)
	if err != nil {
		return fmt.Errorf("the certificate of this device: %w", err)
	}
	c, err := client.New(client.Options{
		Server: m.URL, TLS: conf, LimitUp: d.opt.LimitUp, LimitDown: d.opt.LimitDown, Agent: "satchel",
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	old := d.client
	d.member, d.client = m, c
	d.mu.Unlock()
	if old != nil {
		return old.Close()
	}
	return nil
}

// Close closes connections.
func (d *Device) Close() error { return d.server().Close() }

func (d *Device) server() *client.Client {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.client
}

func (d *Device) membership() membership {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.member
}

func (d *Device) path(name string) string { return filepath.Join(d.opt.Home, name) }

// renew asks for a new certificate when two thirds of the life of this one are
// over.
func (d *Device) renew(ctx context.Context) error {
	m := d.membership()
	cert, err := x509.ParseCertificate(m.Certificate)
	if err != nil {
		return fmt.Errorf("the certificate of this device: %w", err)
	}
	life := cert.NotAfter.Sub(cert.NotBefore)
	if time.Since(cert.NotBefore) < life/3*2 {
		return nil
	}
	csr, err := d.key.Request()
	if err != nil {
		return fmt.Errorf("renew the certificate: %w", err)
	}
	got, err := d.server().Renew(ctx, csr)
	if err != nil {
		return fmt.Errorf("renew the certificate: %w", err)
	}
	m.Certificate = got.Certificate
	if _, err := identity.ClientTLS(m.Authority, d.key, m.Certificate); err != nil {
		return fmt.Errorf("renew the certificate: %w", err)
	}
	if err := durable.WriteJSON(d.path(configFile), m); err != nil {
		return err
	}
	return d.use(m)
}
