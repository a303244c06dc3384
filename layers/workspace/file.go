package workspace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"satchel/store"
)

// maxFile bounds the size of a file that is read, in bytes.
const maxFile = 4 << 20

// header is the part of a file that every version of the format begins with.
type header struct {
	Format  string `json:"format"`  // "satchel workspace" or "satchel session"
	Version int    `json:"version"` // of the format; docs/format/workspace.md describes it
}

// readJSON reads a file of the given format, up to that version, into v. It fails with
// [store.ErrNotExist], [store.ErrNewer] or [store.ErrCorrupt].
func readJSON(path, format string, version int, v any) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return store.ErrNotExist
	}
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if err := decode(b, format, version, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// decode parses the contents of a file.
func decode(b []byte, format string, version int, v any) error {
	if len(b) > maxFile {
		return fmt.Errorf("longer than %d bytes: %w", maxFile, store.ErrCorrupt)
	}
	var h header
	if err := json.Unmarshal(b, &h); err != nil {
		return fmt.Errorf("%w: %w", err, store.ErrCorrupt)
	}
	switch {
	case h.Format != format || h.Version < 1:
		return fmt.Errorf("format %.40q version %d, not %q: %w", h.Format, h.Version, format, store.ErrCorrupt)
	case h.Version > version:
		return fmt.Errorf("%s version %d, this build reads version %d: %w", format, h.Version, version, store.ErrNewer)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields() // a misspelt option would otherwise be dropped
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", err, store.ErrCorrupt)
	}
	return nil
}

// writeJSON replaces the file at path, durably.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return writeFile(path, append(b, '\n'))
}

// writeFile replaces the file at path. When it returns nil, the new contents
// survive a power cut; when it fails, the old contents are still there or the
// new ones are there whole.
func writeFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".write-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already if all went well
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
