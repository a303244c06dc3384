package ingest

import (
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"satchel/layers/manifest"
	"satchel/store/chunk"
)

// A cutter reads files and cuts them into chunks. It is owned by one goroutine
// at a time.
type cutter struct {
	p     *Pipeline
	split *chunk.Splitter // made when first needed
	disks *chunk.Splitter // the same, for disk images
	head  []byte          // the beginning of a file, up to the least size of a chunk
	batch *batch          // being filled, or nil
}

// file stores a file that was opened, with its holes where it can tell them.
func (c *cutter) file(f *file, r io.Reader) error {
	osf, ok := r.(*os.File)
	if !ok {
		if !f.image {
			r, f.image = c.p.recognise(r, f.entry.Size)
		}
		return c.content(f, r)
	}
	var st unix.Stat_t
	if err := fstat(osf, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size == 0 {
		return c.content(f, r) // files of proc say that they are empty
	}
	f.image = f.image || c.p.recogniseFile(osf, st.Size)
	if st.Blocks*512 < st.Size {
		return c.sparse(f, osf, st.Size)
	}
	return c.content(f, io.LimitReader(r, st.Size)) // a log may grow faster than it is read
}

func fstat(f *os.File, st *unix.Stat_t) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), st) }); cerr != nil {
		return cerr
	}
	return err
}

// content stores bytes, of a whole file or from one hole to the next.
func (c *cutter) content(f *file, r io.Reader) error {
	if f.image {
		return c.image(f, r)
	}
	if c.head == nil {
		c.head = make([]byte, c.p.domain.Min)
	}
	n, err := io.ReadFull(r, c.head)
	switch {
	case errors.Is(err, io.EOF):
		return c.p.alive()
	case errors.Is(err, io.ErrUnexpectedEOF):
		return c.add(f, c.head[:n]) // the splitter would not cut it
	case err != nil:
		return err
	}
	return c.splitter().Split(io.MultiReader(bytes.NewReader(c.head), r), func(chunk []byte) error {
		return c.add(f, chunk)
	})
}

func (c *cutter) splitter() *chunk.Splitter {
	if c.split == nil {
		c.split = chunk.NewSplitter(c.p.domain)
	}
	return c.split
}

// add gives a chunk to the batch, as two pieces if it looks like a manifest.
func (c *cutter) add(f *file, chunk []byte) error {
	if err := c.p.alive(); err != nil {
		return err
	}
	if c.batch == nil {
		c.batch = <-c.p.batches
	}
	c.p.bytes.Add(int64(len(chunk)))
	if bytes.HasPrefix(chunk, []byte(manifest.Magic)) {
		c.batch.add(f, chunk[:1])
		chunk = chunk[1:]
	}
	c.batch.add(f, chunk)
	if len(c.batch.buf) >= batchBytes {
		c.flush()
	}
	return nil
}

// flush sends the batch on its way to the store.
func (c *cutter) flush() {
	if b := c.batch; b != nil {
		c.batch = nil
		c.p.running.Go(func() { c.p.store(b) })
	}
}

func (c *cutter) hole(f *file, n int64) {
	if n > 0 {
		f.extend(n, false)
		c.p.bytes.Add(n)
	}
}
