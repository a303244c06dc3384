package server

import (
	"errors"
	"fmt"
	"path/filepath"

	"satchel/syncer/identity"
	"satchel/syncer/registry"
)

// NewAdminToken makes a new administrator's token for the server in a directory;
// the one before is worth nothing from then on. It fails with
// [store.ErrNotExist] where there is no server, and with [store.ErrBusy] while
// one runs.
func NewAdminToken(dir string) (string, error) {
	r, err := registry.Open(filepath.Join(dir, registryName))
	if err != nil {
		return "", fmt.Errorf("new administrator's token for %s: %w", dir, err)
	}
	secret := identity.NewSecret()
	if err := errors.Join(r.SetAdmin(identity.HashSecret(secret)), r.Close()); err != nil {
		return "", fmt.Errorf("new administrator's token for %s: %w", dir, err)
	}
	return secret, nil
}
