// Package ingest brings the contents of files into a store.
//
// # Vocabulary
//
// A cutter reads files and cuts them into chunks; it works on a group of
// neighbouring files at a time. A batch gathers chunks, of one large file or
// of many small ones, that go to the store together. A piece is one chunk of a
// batch and the extent that waits for its ID.
//
// # Invariants
//
//   - Memory is bounded by the number of processors, not by files or sizes.
//   - No chunk begins with [manifest.Magic]: one that would is cut after its
//     first byte. Whoever walks a store can therefore tell contents from
//     manifests by ID alone.
//   - The size of a file is what was read of it, whatever it was before.
//
// # The one idea
//
// Reading and cutting is one stage, hashing and compressing the other. Both
// run on all processors, so that a tree of small files and one large file keep
// a machine equally busy.
package ingest

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"satchel/layers"
	"satchel/store"
	"satchel/store/chunk"
)

// How much work is handed on at once.
const (
	groupFiles = 64      // of a group, at most
	groupBytes = 1 << 20 // by what entries say of their sizes
	batchBytes = 1 << 20 // after which a batch is put
)

// A Pipeline stores the contents of files. Its methods may be called from
// several goroutines, but Add and AddStream not while Wait runs.
type Pipeline struct {
	ctx    context.Context
	put    store.Putter
	domain chunk.Domain

	cutters chan *cutter // idle
	batches chan *batch  // idle
	running sync.WaitGroup

	files, bytes atomic.Int64
	failed       atomic.Bool

	mu    sync.Mutex // guards what follows
	group []job
	hint  int64 // bytes that the group's entries promise
	err   error // the first

	streaming sync.Mutex // guards what follows
	stream    *cutter    // of AddStream
}

// A job is a file that waits for a cutter.
type job struct {
	entry *layers.Entry
	open  func() (io.ReadCloser, error)
	disk  bool // it is a disk image, whatever it begins with
}

// New returns a pipeline that puts chunks into p, which must be a store of
// domain d, until ctx is done.
func New(ctx context.Context, p store.Putter, d chunk.Domain) *Pipeline {
	n := runtime.GOMAXPROCS(0)
	pl := &Pipeline{
		ctx:     ctx,
		put:     p,
		domain:  d,
		cutters: make(chan *cutter, n),
		batches: make(chan *batch, 2*n+2), // one for each cutter and the stream, as many on their way
	}
	for range cap(pl.cutters) {
		pl.cutters <- &cutter{p: pl}
	}
	for range cap(pl.batches) {
		pl.batches <- new(batch)
	}
	pl.stream = &cutter{p: pl}
	return pl
}

// Add stores what open's reader holds and sets the Size and Extents of e some
// time before Wait returns; until then e belongs to the pipeline. What is in e
// as Size on entry serves to balance the work and to recognise disk images. When the reader is an [os.File],
// holes are found and kept. Open is called exactly once, even after an error,
// and its reader closed. Errors are for Wait to return.
func (p *Pipeline) Add(e *layers.Entry, open func() (io.ReadCloser, error)) {
	p.mu.Lock()
	p.group = append(p.group, job{entry: e, open: open})
	p.hint += e.Size
	var full []job
	if len(p.group) == groupFiles || p.hint >= groupBytes {
		full, p.group, p.hint = p.group, nil, 0
	}
	p.mu.Unlock()
	p.start(full)
}

// AddDisk is Add for what is known to be a disk image. It is cut between blocks
// even in a domain that knows no blocks, so that a later [Pipeline.Recut] meets
// the same cuts.
func (p *Pipeline) AddDisk(e *layers.Entry, open func() (io.ReadCloser, error)) {
	p.start([]job{{entry: e, open: open, disk: true}})
}

// AddStream stores what r holds and sets the Size of e before it returns, and
// its Extents some time before Wait returns. It is for sources that can be
// read only once and in order.
func (p *Pipeline) AddStream(e *layers.Entry, r io.Reader) error {
	return p.addStream(e, r, (*cutter).content)
}

// AddSparse is AddStream for a file that is known to have holes: each run of
// zeros in blocks of [HoleSize] bytes, counted from the start of the file, is
// kept as a hole.
func (p *Pipeline) AddSparse(e *layers.Entry, r io.Reader) error {
	return p.addStream(e, r, (*cutter).zeros)
}

func (p *Pipeline) addStream(e *layers.Entry, r io.Reader, read func(*cutter, *file, io.Reader) error) error {
	p.streaming.Lock()
	defer p.streaming.Unlock()
	f := newFile(e)
	r, f.image = p.recognise(r, e.Size)
	if err := read(p.stream, f, r); err != nil {
		return p.fail(fmt.Errorf("read %q: %w", e.Path, err))
	}
	p.end(f)
	return nil
}

// Wait waits until everything added is in the store and returns the first
// error. A pipeline that has not failed may then be used again.
func (p *Pipeline) Wait() error {
	p.mu.Lock()
	rest := p.group
	p.group, p.hint = nil, 0
	p.mu.Unlock()
	p.start(rest)
	p.streaming.Lock()
	p.stream.flush()
	p.streaming.Unlock()
	p.running.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Progress returns how many files have been read whole, and how many bytes so
// far, holes included.
func (p *Pipeline) Progress() (files, bytes int64) { return p.files.Load(), p.bytes.Load() }

// start has the next idle cutter work on a group.
func (p *Pipeline) start(group []job) {
	if len(group) == 0 {
		return
	}
	c := <-p.cutters
	p.running.Go(func() {
		for _, j := range group {
			if err := p.run(c, j); err != nil {
				_ = p.fail(fmt.Errorf("read %q: %w", j.entry.Path, err))
			}
		}
		c.flush()
		p.cutters <- c
	})
}

func (p *Pipeline) run(c *cutter, j job) error {
	r, err := j.open()
	if err != nil {
		return err
	}
	defer r.Close()
	if p.failed.Load() {
		return nil
	}
	f := newFile(j.entry)
	f.image = j.disk
	if err := c.file(f, r); err != nil {
		return err
	}
	p.end(f)
	return nil
}

// end is called when a file has been read to its end.
func (p *Pipeline) end(f *file) {
	f.entry.Size = f.size
	p.files.Add(1)
	f.release()
}

// fail keeps the first error and returns err.
func (p *Pipeline) fail(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
	p.failed.Store(true)
	return err
}

// alive returns the reason to stop, if there is one.
func (p *Pipeline) alive() error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	if !p.failed.Load() {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}
