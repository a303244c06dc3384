package workspace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"satchel/store"
)

// A Suspension is a machine that stands still: where it is, and what has to be
// as it was for it to go on. Hashes are SHA-256 in hexadecimal.
type Suspension struct {
	At        time.Time `json:"at"`
	QEMU      string    `json:"qemu"`      // its version, in its own words
	Processor string    `json:"processor"` // hash of what the host's processor offers
	Machine   string    `json:"machine"`   // hash of the machine's arguments
	Image     string    `json:"image"`     // hash of the composed image's metadata, or of the disk that lies below
	// Overlay is the seal of what a guest has written over its disk; "": it is made of files.
	Overlay string `json:"overlay,omitempty"`
	Memory  Saved  `json:"memory"`
	Devices Saved  `json:"devices"`
	// Stored is the version that holds both; zero: they are files.
	Stored  store.ID `json:"stored"`
	Ready   bool     `json:"ready"` // its init had finished starting
	Options Machine  `json:"options"`
}

// Saved says what a part of a machine was when it was saved.
type Saved struct {
	Size  int64  `json:"size"`  // bytes
	Pages int64  `json:"pages"` // of memory: how many are not zero
	CRC   uint32 `json:"crc"`   // CRC-32C, see docs/format/workspace.md
}

// Machine is what a machine was started with that its user can choose.
type Machine struct {
	Memory  int64  `json:"memory"` // bytes
	CPUs    int    `json:"cpus"`
	Display string `json:"display"`
	Network string `json:"network"`
	// Of guests that bring their own system.
	Firmware string `json:"firmware,omitempty"` // "": what the disk is made for
	DiskBus  string `json:"disk_bus,omitempty"` // "": virtio
}

func (s *Suspension) check() error {
	hashes := []string{s.Processor, s.Machine, s.Image}
	if s.Overlay != "" {
		hashes = append(hashes, s.Overlay)
	}
	for _, hash := range hashes {
		if len(hash) != 64 || strings.Trim(hash, "0123456789abcdef") != "" {
			return fmt.Errorf("%.70q is no hash", hash)
		}
	}
	if s.Memory.Size <= 0 || s.Memory.Size > maxMemory || s.Devices.Size <= 0 || s.Devices.Size > maxMemory {
		return fmt.Errorf("a machine of %d bytes of memory and %d of devices", s.Memory.Size, s.Devices.Size)
	}
	return nil
}

// maxMemory bounds a guest's memory, in bytes.
const maxMemory = 4 << 40

// Names of the files of a suspended machine.
const (
	memoryFile  = "suspended.memory"
	devicesFile = "suspended.devices"
)

// MemoryFile is where the memory of a suspended machine lies.
func (s *Set) MemoryFile(name string) string { return filepath.Join(s.Dir(name), memoryFile) }

// DevicesFile is where the state of a suspended machine's devices lies.
func (s *Set) DevicesFile(name string) string { return filepath.Join(s.Dir(name), devicesFile) }

// ClearMachine removes the files of a suspended machine. That there are none is
// no error. Only who holds the workspace's lock may, and only while the record
// does not name them.
func (s *Set) ClearMachine(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	var errs []error
	for _, file := range []string{s.MemoryFile(name), s.DevicesFile(name)} {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Roots are the versions that the sessions of the set lie on, running or not,
// and those that hold suspended machines: gc must keep them.
func (s *Set) Roots() ([]store.ID, error) { return s.named((*Session).roots) }

func (rec *Session) roots() []store.ID {
	ids := pinned(rec.Composed)
	if rec.Suspension != nil && !rec.Suspension.Stored.IsZero() {
		ids = append(ids, rec.Suspension.Stored)
	}
	return ids
}

func pinned(pins []Pin) (ids []store.ID) {
	for _, pin := range pins {
		if !pin.Version.IsZero() {
			ids = append(ids, pin.Version)
		}
	}
	return ids
}

// named gathers the versions that the records of sessions name.
func (s *Set) named(by func(*Session) []store.ID) (ids []store.ID, err error) {
	names, err := s.List()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		rec, err := s.LoadSession(name)
		if errors.Is(err, store.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, by(&rec)...)
	}
	return ids, nil
}
