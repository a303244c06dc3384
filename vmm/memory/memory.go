// Package memory keeps the memory of guests.
//
// # Vocabulary
//
// A guest's memory is an anonymous file of the host: it has no name, lies in
// no directory, and is gone with the last process that has it open. Saving it
// writes its pages to a file with a name; loading reads them into a new one.
//
// # Invariants
//
//   - Each memory is a new file of zeros. No page that one guest had is ever in
//     the memory of another, and none reaches a disk before it is saved.
//   - What is saved is a new file, for its owner alone, with holes for pages of
//     zeros.
//   - What is loaded is what was saved: a checksum goes over each page and its
//     place.
package memory

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"satchel/store"
)

// Page is the unit in which zeros become holes, in bytes.
const Page = 4096

// step is how much is read at a time, in bytes.
const step = 1 << 20

// New returns a memory of that many bytes, all zero.
func New(size int64) (*os.File, error) {
	fd, err := unix.MemfdCreate("guest memory", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a guest's memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "guest memory")
	if err := f.Truncate(size); err != nil {
		return nil, errors.Join(fmt.Errorf("make a guest's memory: %w", err), f.Close())
	}
	return f, nil
}

// Used is how many bytes of a file are not holes.
func Used(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.Size(), nil
	}
	return st.Blocks * 512, nil
}

// A Sum says what was saved, so that damage is found.
type Sum struct {
	Size  int64  `json:"size"`  // of the memory, in bytes
	Pages int64  `json:"pages"` // those that were not zero
	CRC   uint32 `json:"crc"`   // CRC-32C of each of those: its number, 8 bytes little-endian, and its bytes
}

// Save writes a memory to a new file, durably but for its name. When it fails
// there is no file. The guest must not run meanwhile.
func Save(ctx context.Context, from *os.File, to string) (sum Sum, err error) {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return sum, fmt.Errorf("save a guest's memory: %w", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = fmt.Errorf("save a guest's memory: %w", errors.Join(err, os.Remove(to)))
		}
	}()
	info, err := from.Stat()
	if err != nil {
		return sum, err
	}
	if err := f.Truncate(info.Size()); err != nil {
		return sum, err
	}
	if sum, err = transfer(ctx, f, from, info.Size()); err != nil {
		return sum, err
	}
	return sum, f.Sync()
}

// Load reads what was saved into a new memory. It fails with
// [store.ErrCorrupt] when that is not what the sum says.
func Load(ctx context.Context, from string, want Sum) (*os.File, error) {
	f, err := os.Open(from)
	if err != nil {
		return nil, fmt.Errorf("load a guest's memory: %w", err)
	}
	defer f.Close()
	m, err := New(want.Size)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	var got Sum
	if err == nil && info.Size() == want.Size {
		got, err = transfer(ctx, m, f, want.Size)
	}
	if err == nil && got != want {
		err = fmt.Errorf("%s: %w: want %d pages of %d bytes in all with checksum %08x, got %d of %d with %08x",
			from, store.ErrCorrupt, want.Pages, want.Size, want.CRC, got.Pages, got.Size, got.CRC)
	}
	if err != nil {
		return nil, fmt.Errorf("load a guest's memory: %w", errors.Join(err, m.Close()))
	}
	return m, nil
}

// transfer writes the pages of src that are not zero to the same places of dst.
func transfer(ctx context.Context, dst io.WriterAt, src *os.File, size int64) (Sum, error) {
	t := &tally{sum: Sum{Size: size}}
	buf := make([]byte, step)
	for off := int64(0); off < size; {
		start, err := unix.Seek(int(src.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return t.sum, err
		}
		end, err := unix.Seek(int(src.Fd()), start, unix.SEEK_HOLE)
		if err != nil {
			return t.sum, err
		}
		start -= start % Page
		for off = start; off < min(end, size); {
			if err := ctx.Err(); err != nil {
				return t.sum, err
			}
			n := int(min(step, size-off))
			if _, err := src.ReadAt(buf[:n], off); err != nil {
				return t.sum, err
			}
			if err := t.pages(dst, buf[:n], off); err != nil {
				return t.sum, err
			}
			off += int64(n)
		}
	}
	return t.sum, nil
}

type tally struct{ sum Sum }

var (
	zeros [Page]byte
	table = crc32.MakeTable(crc32.Castagnoli)
)

// pages writes runs of pages that are not zero.
func (t *tally) pages(dst io.WriterAt, b []byte, off int64) error {
	run := 0 // where the run began
	flush := func(end int) error {
		if end == run {
			return nil
		}
		_, err := dst.WriteAt(b[run:end], off+int64(run))
		return err
	}
	for at := 0; at < len(b); at += Page {
		page := b[at:min(at+Page, len(b))]
		if bytes.Equal(page, zeros[:len(page)]) {
			if err := flush(at); err != nil {
				return err
			}
			run = at + len(page)
			continue
		}
		t.add(page, (off+int64(at))/Page)
	}
	return flush(len(b))
}

func (t *tally) add(page []byte, number int64) {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(number))
	t.sum.CRC = crc32.Update(crc32.Update(t.sum.CRC, table, n[:]), table, page)
	t.sum.Pages++
}
