package disk

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"satchel/store/index"
	"satchel/store/pack"
)

// A recast is a frame on its way from one pack to another.
type recast struct {
	store  *Store
	from   string         // name of the pack
	stored []byte         // the frame as it lies there
	placed []index.Placed // its chunks
	live   []bool         // which of them the index finds there

	done    chan struct{} // closed when the rest is known
	err     error
	frame   []byte // of the live chunks
	chunks  []pack.Chunk
	smaller bool
}

// lowest is the lowest priority of a thread, as nice has it.
const lowest = 19

// recast takes the frames of packs through all cores, and writes them in their
// order. Two frames a core are in memory at once.
func (r *recompression) recast(ctx context.Context, sources []index.Use, out *repacker) error {
	cores := runtime.GOMAXPROCS(0)
	work, order := make(chan *recast), make(chan *recast, cores)
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() error {
		defer close(work)
		defer close(order)
		return r.feed(ctx, sources, work, order)
	})
	for range cores {
		eg.Go(func() error {
			// The thread ends with the goroutine, and its priority with it.
			runtime.LockOSThread()
			unix.Setpriority(unix.PRIO_PROCESS, 0, lowest) //nolint:errcheck // then others wait a little
			for c := range work {
				c.err = c.make()
				close(c.done)
			}
			return nil
		})
	}
	eg.Go(func() error {
		for c := range order {
			select {
			case <-c.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if c.err != nil {
				return c.err
			}
			if err := r.write(ctx, c, out); err != nil {
				return err
			}
		}
		return nil
	})
	return eg.Wait()
}

// feed sends each frame both ways.
func (r *recompression) feed(ctx context.Context, sources []index.Use, work, order chan<- *recast) error {
	for _, u := range sources {
		err := r.read(ctx, u, func(c *recast) error {
			for _, to := range []chan<- *recast{order, work} {
				select {
				case to <- c:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// load reads a frame, and asks the index for its chunks.
func (c *recast) load(ctx context.Context, file io.ReaderAt, f pack.Frame) (err error) {
	c.placed = placesOf(c.from, f)
	if c.live, err = c.store.live(ctx, c.placed); err != nil {
		return err
	}
	c.stored, err = pack.ReadStored(file, f.Offset, f.Len, nil)
	return err
}

// make makes the frame of the live chunks: the best that there is, or the old one
// where that is no longer.
func (c *recast) make() error {
	content, err := pack.DecodeFrame(c.stored, nil)
	if isCorrupt(err) {
		return nil // its chunks stay where they are
	} else if err != nil {
		return err
	}
	g := c.gather(content)
	if len(g.chunks) == 0 {
		return nil
	}
	c.frame, c.chunks = c.stored, g.chunks
	if content.Damage != nil || len(g.chunks) < len(content.Lens) {
		c.frame = g.encode(nil)
		if !holds(c.frame, g.data) {
			return fmt.Errorf("frame of %d bytes does not decode to what was encoded: the old pack stays", len(c.frame))
		}
	}
	if g.dense {
		return nil
	}
	if best := pack.AppendBestFrame(nil, g.data, g.lens()); len(best) < len(c.frame) && holds(best, g.data) {
		c.frame, c.smaller = best, true
	}
	return nil
}

// gather returns the chunks that are live and whole.
func (c *recast) gather(content pack.Content) *gathering {
	g := &gathering{dense: !pack.Compressed(c.stored)}
	for i, p := range c.placed {
		end := p.Start + p.Len
		if !c.live[i] || end > len(content.Data) {
			continue
		}
		if data := content.Data[p.Start:end]; c.store.config.Domain.ID(data) == p.ID {
			g.add(p.ID, data)
		}
	}
	return g
}

// holds reports whether a frame decodes to data.
func holds(frame, data []byte) bool {
	c, err := pack.DecodeFrame(frame, nil)
	return err == nil && c.Damage == nil && bytes.Equal(c.Data, data)
}
