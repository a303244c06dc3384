package server

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"satchel/store"
	"satchel/store/disk"
	"satchel/store/durable"
	"satchel/syncer/identity"
	"satchel/syncer/registry"
)

// The names in a server's directory. The registry comes last: a directory
// without one is no server.
const (
	storeName     = "store"
	authorityName = "ca"
	registryName  = "registry.db"
	deltasName    = "deltas"
	tracesName    = "traces"
)

// Made is what the making of a server's directory tells, once.
type Made struct {
	Server      string `json:"server"`
	AdminToken  string `json:"admin_token"`
	Fingerprint string `json:"ca_fingerprint"`
}

// Init makes a server in an empty directory, or one that is not there yet: its
// store, registry and authority. It fails with [store.ErrExist] when the
// directory holds anything but what an Init that was cut off left behind.
func Init(dir string) (Made, error) {
	made, err := initialise(dir)
	if err != nil {
		return Made{}, fmt.Errorf("make server in %s: %w", dir, err)
	}
	return made, nil
}

func initialise(dir string) (Made, error) {
	if err := prepare(dir); err != nil {
		return Made{}, err
	}
	var random [16]byte
	rand.Read(random[:])
	made := Made{Server: hex.EncodeToString(random[:]), AdminToken: identity.NewSecret()}
	authority, err := identity.CreateAuthority(filepath.Join(dir, authorityName), made.Server)
	if err != nil {
		return Made{}, err
	}
	made.Fingerprint = authority.Fingerprint()
	st, err := disk.Create(filepath.Join(dir, storeName))
	if err != nil {
		return Made{}, err
	}
	if err := st.Close(); err != nil {
		return Made{}, err
	}
	reg, err := registry.Create(filepath.Join(dir, registryName), made.Server, identity.HashSecret(made.AdminToken))
	if err != nil {
		return Made{}, err
	}
	return made, errors.Join(reg.Close(), durable.SyncDir(filepath.Dir(dir)))
}

// prepare makes the directory, or takes out of it what an Init that was cut off
// left. A store with packs has been in use: that is never taken away.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		switch f.Name() {
		case storeName, authorityName, registryName + ".new", "uploads.db":
		default:
			return fmt.Errorf("it holds %q: %w", f.Name(), store.ErrExist)
		}
	}
	packs, err := os.ReadDir(filepath.Join(dir, storeName, "packs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(packs) > 0 {
		return fmt.Errorf("it holds a store that was used, but no registry: %w", store.ErrExist)
	}
	for _, f := range files {
		if err := os.RemoveAll(filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return os.Chmod(dir, 0o700)
}
