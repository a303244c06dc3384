package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"satchel/store"
	"satchel/syncer"
)

// deltaLimit bounds the bytes of all deltas that are kept.
const deltaLimit = 4 << 30

// A deltaCache keeps deltas and sketches, each in a file that is named after what it was made
// of. They can all be made again, so nothing here is synced to the disk: a file
// whose checksum does not match counts as missing.
type deltaCache struct {
	dir    string
	limit  int64
	flight singleflight.Group

	mu    sync.Mutex
	total int64 // bytes, about
}

// openDeltaCache opens the cache in a directory, which it makes.
func openDeltaCache(dir string, limit int64) (*deltaCache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	c := &deltaCache{dir: dir, limit: limit}
	return c, c.trim()
}

// aDelta and aSketch are part of what files are named after, and change with the
// codec, with how places are marked, and with the form of files.
const (
	aDelta  = "satchel-delta 3"
	aSketch = "satchel-sketch 1"
)

// keyOf names the delta or the sketch of a pair, under the store's key.
func (s *Server) keyOf(what string, p *syncer.Pair) store.ID {
	b := bytes.NewBufferString(what)
	for _, n := range []int64{p.BaseOffset, p.Offset, int64(len(p.Others)), int64(len(p.Base)), int64(len(p.Target))} {
		b.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
	}
	for _, ids := range [][]store.ID{p.Others, p.Base, p.Target} {
		for i := range ids {
			b.Write(ids[i][:])
		}
	}
	return s.store.Domain().ID(b.Bytes())
}

// get returns a delta. If it is not there it is made, once however many ask for
// it at the same time.
func (c *deltaCache) get(ctx context.Context, key store.ID, create func() ([]byte, error)) (data []byte, made bool, err error) {
	if data, ok := c.read(key); ok {
		return data, false, nil
	}
	for {
		v, err, shared := c.flight.Do(key.String(), func() (any, error) {
			if data, ok := c.read(key); ok {
				return data, nil
			}
			data, err := create()
			if err == nil {
				made = true
				c.keep(key, data)
			}
			return data, err
		})
		if err == nil {
			return v.([]byte), made, nil
		}
		// Who made it for others may have gone away meanwhile.
		if !shared || ctx.Err() != nil || !errors.Is(err, context.Canceled) {
			return nil, false, err
		}
	}
}

func (c *deltaCache) path(key store.ID) string {
	name := key.String()
	return filepath.Join(c.dir, name[:2], name)
}

// read returns a delta that is kept, and notes that it was used.
func (c *deltaCache) read(key store.ID) ([]byte, bool) {
	path := c.path(key)
	b, err := os.ReadFile(path)
	if err != nil || len(b) < crc32.Size {
		return nil, false
	}
	data, sum := b[:len(b)-crc32.Size], binary.LittleEndian.Uint32(b[len(b)-crc32.Size:])
	if crc32.ChecksumIEEE(data) != sum {
		return nil, false
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now) // else it goes sooner
	return data, true
}

// keep writes a delta. One that cannot be kept is made again.
func (c *deltaCache) keep(key store.ID, data []byte) {
	path := c.path(key)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(path), "tmp-")
	if err != nil {
		return
	}
	_, err = f.Write(binary.LittleEndian.AppendUint32(slices.Clip(data), crc32.ChecksumIEEE(data)))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return
	}
	c.mu.Lock()
	c.total += int64(len(data))
	full := c.total > c.limit
	c.mu.Unlock()
	if full {
		_ = c.trim() // the next one tries again
	}
}

// trim removes what was used least lately, until a quarter of the cache is free,
// if it is full. It counts what there is.
func (c *deltaCache) trim() error {
	type file struct {
		path string
		size int64
		used time.Time
	}
	var files []file
	var total int64
	err := filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		files = append(files, file{path, info.Size(), info.ModTime()})
		total += info.Size()
		return nil
	})
	if err != nil {
		return fmt.Errorf("list deltas: %w", err)
	}
	if total > c.limit {
		slices.SortFunc(files, func(a, b file) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.path, b.path)) })
		for _, f := range files {
			if total <= c.limit/4*3 {
				break
			}
			if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove delta: %w", err)
			}
			total -= f.size
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total = total
	return nil
}
