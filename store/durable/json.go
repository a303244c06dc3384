package durable

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"satchel/store"
)

// maxJSON bounds the size of a file that is read, in bytes.
const maxJSON = 64 << 20

// A Header is what every JSON file begins with: what it is and in which version
// of its format it was written. Structures that are written embed it, so that
// neither another file nor a later one is taken for what it is not.
type Header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
}

// WriteJSON replaces the named file with v, which embeds a [Header].
func WriteJSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		err = WriteFile(name, append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// ReadJSON reads a file of the given format, up to the given version, into v. It
// fails with [store.ErrNotExist], [store.ErrNewer] or [store.ErrCorrupt]; a
// member that v does not have is damage, as a misspelt one would be.
func ReadJSON(name string, want Header, v any) error {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return store.ErrNotExist // the caller knows what of
	}
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxJSON+1))
	if err == nil {
		err = DecodeJSON(b, want, v)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// DecodeJSON is what ReadJSON does with the contents of a file.
func DecodeJSON(b []byte, want Header, v any) error {
	if len(b) > maxJSON {
		return fmt.Errorf("longer than %d bytes: %w", maxJSON, store.ErrCorrupt)
	}
	var h Header
	if err := json.Unmarshal(b, &h); err != nil {
		return fmt.Errorf("%w: %w", err, store.ErrCorrupt)
	}
	switch {
	case h.Format != want.Format || h.Version < 1:
		return fmt.Errorf("format %.40q version %d, not %q: %w", h.Format, h.Version, want.Format, store.ErrCorrupt)
	case h.Version > want.Version:
		return fmt.Errorf("%s version %d, this build reads version %d: %w", want.Format, h.Version, want.Version, store.ErrNewer)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", err, store.ErrCorrupt)
	}
	return nil
}
