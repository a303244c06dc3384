package overlay

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"satchel/store/durable"
)

// Seal makes an overlay that nobody writes to durable, and returns what tells
// this state of it from all later ones: a hash of its map, and of the size of its
// data and when that was written last. It fails with [io/fs.ErrNotExist] if there
// is no overlay.
func Seal(data string) (seal string, err error) {
	m, err := openFile(MapOf(data))
	if err != nil {
		return "", fmt.Errorf("seal overlay: %w", err)
	}
	defer m.Close()
	f, err := openFile(data)
	if err != nil {
		return "", fmt.Errorf("seal overlay: %w", err)
	}
	defer f.Close()
	// Not only their contents: the time as well.
	if err := errors.Join(durable.FS{}.Sync(f.File), durable.FS{}.Sync(m.File)); err != nil {
		return "", fmt.Errorf("seal overlay: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	var facts [16]byte
	binary.LittleEndian.PutUint64(facts[:], uint64(st.Size()))
	binary.LittleEndian.PutUint64(facts[8:], uint64(st.ModTime().UnixNano()))
	sum.Write(facts[:])
	if _, err := io.Copy(sum, m); err != nil {
		return "", fmt.Errorf("seal overlay: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
