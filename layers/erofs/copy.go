package erofs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"
)

// pieceSize is how much of an image one goroutine copies at a time, in bytes.
const pieceSize = 1 << 20

// CopyTo writes the image to dst, which must be all zeros as far as it goes,
// such as a new sparse file: holes are not written. It reads on every core, and
// writes in no order. The progress function, which may be nil, is told how many
// bytes of the image are done, by one goroutine at a time.
func (im *Image) CopyTo(ctx context.Context, dst io.WriterAt, progress func(done int64)) error {
	c := &copying{image: im, dst: dst, progress: progress}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * runtime.GOMAXPROCS(0)) // some wait for disks
	for r := range im.Runs(0, im.size) {
		if r.Hole {
			c.step(r.Len)
			continue
		}
		for off := r.Off; off < r.Off+r.Len && gctx.Err() == nil; off += pieceSize {
			n := min(pieceSize, r.Off+r.Len-off)
			g.Go(func() error { return c.piece(gctx, off, int(n)) })
		}
	}
	err := g.Wait()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("copy image: %w", err)
	}
	return nil
}

// copying is one run of CopyTo.
type copying struct {
	image    *Image
	dst      io.WriterAt
	buffers  sync.Pool
	progress func(done int64)

	mu   sync.Mutex
	done int64
}

func (c *copying) piece(ctx context.Context, off int64, n int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	buf, ok := c.buffers.Get().(*[]byte)
	if !ok {
		b := make([]byte, pieceSize)
		buf = &b
	}
	defer c.buffers.Put(buf)
	p := (*buf)[:n]
	if _, err := c.image.ReadAt(p, off); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if _, err := c.dst.WriteAt(p, off); err != nil {
		return err
	}
	c.step(int64(n))
	return nil
}

func (c *copying) step(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done += n
	if c.progress != nil {
		c.progress(c.done)
	}
}
