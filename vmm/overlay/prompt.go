package overlay

import "golang.org/x/sys/unix"

// A prompt is a file, or a lower, that can tell what it has at hand.
type prompt interface {
	// TryReadAt fills p, or returns false if it would have to wait for that, or fails.
	TryReadAt(p []byte, off int64) bool
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
	return true
}

// TryReadAt implements prompt.
func (c *Cache) TryReadAt(p []byte, off int64) bool {
	from, ok := c.file.(prompt)
	if !ok {
		return false
	}
	for unit := off / unitSize; unit*unitSize < off+int64(len(p)); unit++ {
		if !c.have.get(unit) {
			return false
		}
	}
	return from.TryReadAt(p, off)
}

// TryReadAt implements prompt: the page cache has it, or not.
func (f osFile) TryReadAt(p []byte, off int64) bool {
	n, err := unix.Preadv2(int(f.Fd()), [][]byte{p}, off, unix.RWF_NOWAIT)
	return err == nil && n == len(p)
}
