package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"satchel/store"
	"satchel/store/chunk"
	"satchel/store/durable"
)

// version is the version of the directory's layout that this build writes and
// reads.
const version = 1

// maxConfig is the longest configuration that is read, in bytes.
const maxConfig = 1 << 20

// config is what config.json holds.
type config struct {
	Version int          `json:"version"`
	Domain  chunk.Domain `json:"domain"`
}

func (c config) write(fsys durable.FS, name string) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := fsys.WriteFile(name, append(b, '\n')); err != nil {
		return fmt.Errorf("write store configuration: %w", err)
	}
	return nil
}

// readConfig looks at the version first: what else a later version has written
// is none of our business.
func readConfig(name string) (config, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return config{}, fmt.Errorf("store %s: %w", name, store.ErrNotExist)
	} else if err != nil {
		return config{}, fmt.Errorf("open store: %w", err)
	}
	if info.Size() > maxConfig {
		return config{}, damagedConfig(name, fmt.Errorf("%d bytes", info.Size()))
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return config{}, fmt.Errorf("open store: %w", err)
	}
	var v struct{ Version int }
	if err := json.Unmarshal(b, &v); err != nil {
		return config{}, damagedConfig(name, err)
	}
	if v.Version > version {
		return config{}, fmt.Errorf("%s: store version %d, this build reads version %d: %w: upgrade satchel",
			name, v.Version, version, store.ErrNewer)
	}
	if v.Version < 1 {
		return config{}, damagedConfig(name, fmt.Errorf("store version %d", v.Version))
	}
	var c config
	if err := json.Unmarshal(b, &c); err != nil {
		return config{}, damagedConfig(name, err)
	}
	if err := c.Domain.Check(); err != nil {
		return config{}, damagedConfig(name, err)
	}
	return c, nil
}

func damagedConfig(name string, err error) error {
	return fmt.Errorf("%s: %w: %w: restore this file from a backup; the chunks are not affected", name, store.ErrCorrupt, err)
}
