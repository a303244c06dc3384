package overlay

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A prompt is a file, or a lower, that can tell what it has at hand.
type prompt interface {
	// TryReadAt fills p, or returns false if it would have to wait for that, or fails.
	TryReadAt(p []byte, off int64) bool
	// InFile is the file that has a range in memory, at the same offset, or nil.
	InFile(off, n int64) *os.File
}

// TryReadAt implements [satchel/vmm/nbd.Prompter]: it fills p with what the
// host has in memory.
func (d *Disk) TryReadAt(p []byte, off int64) bool {
	if d.check(off, int64(len(p))) != nil {
		return false
	}
	for end := off + int64(len(p)); off < end; {
		written, until := d.run(off, end)
		from := d.promptLower
		if written {
			from = d.promptData
		}
		n := until - off
		if from == nil || !from.TryReadAt(p[:n], off) {
			return false
		}
		p, off = p[n:], until
	}
	return true
}

// InFile implements [satchel/vmm/nbd.Filer].
func (d *Disk) InFile(off, n int64) *os.File {
	if d.check(off, n) != nil {
		return nil
	}
	written, until := d.run(off, off+n)
	from := d.promptLower
	if written {
		from = d.promptData
	}
	if from == nil || until < off+n {
		return nil
	}
	return from.InFile(off, n)
}

// TryWriteAt implements [satchel/vmm/nbd.Prompter]: it writes what needs nothing
// from below, into the host's memory.
func (d *Disk) TryWriteAt(p []byte, off int64) bool {
	end := off + int64(len(p))
	if d.check(off, int64(len(p))) != nil || len(p) == 0 ||
		d.torn(off, off/BlockSize) || d.torn(end, (end-1)/BlockSize) || !d.alone.TryRLock() {
		return false
	}
	defer d.alone.RUnlock()
	d.room.make(d.data, off, end)
	if _, err := d.data.WriteAt(p, off); err != nil {
		return false
	}
	d.mark(off/BlockSize, (end-1)/BlockSize+1)
	d.early.wrote(off, int64(len(p)))
	return true
}

// TryReadAt implements prompt.
func (c *Cache) TryReadAt(p []byte, off int64) bool {
	from, ok := c.file.(prompt)
	return ok && c.has(off, int64(len(p))) && from.TryReadAt(p, off)
}

// InFile implements prompt.
func (c *Cache) InFile(off, n int64) *os.File {
	from, ok := c.file.(prompt)
	if !ok || !c.has(off, n) {
		return nil
	}
	return from.InFile(off, n)
}

// has reports whether all of a range was brought in.
func (c *Cache) has(off, n int64) bool {
	first, last := off/unitSize, (off+n+unitSize-1)/unitSize
	return off >= 0 && off+n <= c.Size() && c.have.next(first, last, false) == last
}

// TryReadAt implements prompt: the page cache has it, or not.
func (f osFile) TryReadAt(p []byte, off int64) bool {
	n, err := unix.Preadv2(int(f.Fd()), [][]byte{p}, off, unix.RWF_NOWAIT)
	return err == nil && n == len(p)
}

// InFile implements prompt. It asks mincore(2), of a mapping that nobody touches:
// unlike cachestat(2) that leaves out pages that could not be read, from which
// nothing can be sent.
func (f osFile) InFile(off, n int64) *os.File {
	page := int64(os.Getpagesize())
	first := off / page * page
	pages := (off + n - first + page - 1) / page
	m, err := unix.Mmap(int(f.Fd()), first, int(pages*page), unix.PROT_NONE, unix.MAP_SHARED)
	if err != nil {
		return nil
	}
	defer unix.Munmap(m) //nolint:errcheck // it is mapped
	in := make([]byte, pages)
	_, _, failed := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&in[0])))
	if failed != 0 {
		return nil
	}
	for _, b := range in {
		if b&1 == 0 {
			return nil
		}
	}
	return f.File
}
