package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"satchel/store/heads"
	"satchel/store/pack"
)

// A pack is closed when it holds this much.
const (
	packTarget = 24 << 20 // bytes on disk
	packChunks = 1 << 15
)

const packSuffix = ".pack"

// packing is a pack that is being written, in the directory for temporary
// files. Its name begins with that of the lease under which it is written, by
// which gc knows whether anyone still cares for it.
type packing struct {
	store  *Store
	name   string
	file   *os.File
	w      *pack.Writer
	frames []pack.Frame
}

func packName(lease string, n int) string { return fmt.Sprintf("%s-%06x", lease, n) }

// packOwner returns the name of the lease under which a pack was written.
func packOwner(pack string) string {
	if len(pack) < 16 {
		return ""
	}
	return pack[:16]
}

func (s *Store) newPacking(lease *heads.Held, n int) (*packing, error) {
	return s.newPackingAs(packName(lease.Name, n))
}

func (s *Store) newPackingAs(name string) (*packing, error) {
	file, err := os.OpenFile(s.tmp(name+packSuffix), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create pack: %w", err)
	}
	p := &packing{store: s, name: name, file: file}
	if p.w, err = pack.NewWriter(file); err != nil {
		p.discard()
		return nil, p.explain(err)
	}
	return p, nil
}

// append adds a frame.
func (p *packing) append(frame []byte, chunks []pack.Chunk) error {
	f, err := p.w.Append(frame, chunks)
	if err != nil {
		return p.explain(err)
	}
	p.frames = append(p.frames, f)
	return nil
}

func (p *packing) full() bool {
	return p.w.Size() >= packTarget || p.w.Chunks() >= packChunks
}

// seal makes the pack durable under its final name and returns its size. The
// index may name it from then on. Whether it fails or not, the packing is over.
func (p *packing) seal() (int64, error) {
	err := p.w.Close()
	if err == nil {
		err = p.store.fs.Sync(p.file)
	}
	if err != nil {
		p.discard()
		return 0, p.explain(err)
	}
	if err := p.file.Close(); err != nil {
		p.discard()
		return 0, p.explain(err)
	}
	to := p.store.packPath(p.name)
	if err := p.store.fs.Mkdir(filepath.Dir(to)); err != nil {
		p.discard()
		return 0, p.explain(err)
	}
	if err := p.store.fs.Rename(p.file.Name(), to); err != nil {
		return 0, p.explain(err) // the file may bear either name: gc finds it
	}
	return p.w.Size(), nil
}

// publish seals the pack and names it in the index.
func (p *packing) publish(ctx context.Context) (int64, error) {
	size, err := p.seal()
	if err != nil {
		return 0, err
	}
	return size, p.store.index.Add(ctx, p.name, size, p.frames)
}

// discard removes the file of a pack that will not be finished.
func (p *packing) discard() {
	p.file.Close()           // whatever it says, the file goes
	os.Remove(p.file.Name()) // gc removes it otherwise
}

// explain adds what to do when the disk is full.
func (p *packing) explain(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("write pack: no space left in %s; free some and try again, nothing that was flushed is lost: %w", p.store.dir, err)
	}
	return fmt.Errorf("write pack: %w", err)
}
