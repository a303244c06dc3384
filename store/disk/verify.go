package disk

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"satchel/store"
	"satchel/store/index"
	"satchel/store/pack"
)

// VerifyResult tells what a scrub found.
type VerifyResult struct {
	Packs   int64 `json:"packs"`   // packs read
	Bytes   int64 `json:"bytes"`   // bytes of those
	Chunks  int64 `json:"chunks"`  // chunks whose hash was right
	Reached int64 `json:"reached"` // chunks that heads and leases reach

	Damaged []Damage     `json:"damaged"`       // chunks that cannot be read
	Torn    []PackDamage `json:"damaged_packs"` // packs with bytes that are not what was written
	Missing []store.ID   `json:"missing"`       // chunks that are reached but not there
	ToCome  int64        `json:"to_come"`       // chunks that are not there yet, of versions that are thin
	Heads   []HeadDamage `json:"damaged_heads"` // versions that could not be walked to their ends
}

// A Damage names a chunk that cannot be read.
type Damage struct {
	ID     store.ID `json:"id"`
	File   string   `json:"file"` // of the pack
	Reason string   `json:"reason"`

	location index.Location
}

// A PackDamage names a pack that is not what was written. Its chunks may still
// be whole; those that are not are listed by themselves.
type PackDamage struct {
	File   string `json:"file"`
	Reason string `json:"reason"`
}

// A HeadDamage names a version that could not be walked.
type HeadDamage struct {
	Layer   string   `json:"layer"` // its name, or the purpose of a lease
	Version store.ID `json:"version"`
	Reason  string   `json:"reason"`
}

// OK reports whether nothing was found wrong.
func (r *VerifyResult) OK() bool {
	return len(r.Damaged) == 0 && len(r.Torn) == 0 && len(r.Missing) == 0 && len(r.Heads) == 0
}

// Err returns nil when nothing was found wrong, or else [store.ErrCorrupt]
// with a summary.
func (r *VerifyResult) Err() error {
	if r.OK() {
		return nil
	}
	return fmt.Errorf("store %w: %d chunks damaged, %d missing, %d packs damaged, %d versions incomplete",
		store.ErrCorrupt, len(r.Damaged), len(r.Missing), len(r.Torn), len(r.Heads))
}

// Verify scrubs the store: it reads every byte of every pack that the index
// names, hashes every chunk, and walks from every head and lease to see that
// all they reach is there. It lists all damage; the error tells only of what
// kept it from looking. The progress function, which may be nil, is told how
// many of the packs' bytes are done, by one goroutine at a time.
func (s *Store) Verify(ctx context.Context, walk store.Walker, progress func(done, total int64)) (VerifyResult, error) {
	v := &scrub{store: s, progress: progress}
	uses, err := s.index.Uses(ctx)
	if err != nil {
		return v.res, fmt.Errorf("verify: %w", err)
	}
	for _, u := range uses {
		v.total += u.Size
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, u := range uses {
		g.Go(func() error { return v.pack(gctx, u) })
	}
	if err := g.Wait(); err != nil {
		return v.res, fmt.Errorf("verify: %w", err)
	}
	if err := v.reach(ctx, walk); err != nil {
		return v.res, fmt.Errorf("verify: %w", err)
	}
	slices.SortFunc(v.res.Damaged, func(a, b Damage) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	slices.SortFunc(v.res.Missing, func(a, b store.ID) int { return bytes.Compare(a[:], b[:]) })
	sortDamage(v.res.Torn)
	return v.res, nil
}

func sortDamage(d []PackDamage) {
	slices.SortFunc(d, func(a, b PackDamage) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Reason, b.Reason)) })
}

// scrub is one run of Verify.
type scrub struct {
	store    *Store
	progress func(done, total int64)
	total    int64

	mu   sync.Mutex
	done int64
	res  VerifyResult
}

func (v *scrub) torn(name, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.res.Torn = append(v.res.Torn, PackDamage{v.store.packPath(name), fmt.Sprintf(format, args...)})
}

func (v *scrub) damaged(at index.Placed, reason error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.res.Damaged = append(v.res.Damaged, Damage{at.ID, v.store.packPath(at.Pack), reason.Error(), at.Location})
}

func (v *scrub) step(size int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.done += size
	v.res.Bytes = v.done
	if v.progress != nil {
		v.progress(v.done, v.total)
	}
}

// pack scrubs one pack.
func (v *scrub) pack(ctx context.Context, u index.Use) error {
	f, size, err := v.store.openPack(u.Name)
	if errors.Is(err, fs.ErrNotExist) {
		v.step(u.Size)
		return v.lost(ctx, u)
	} else if err != nil {
		return err
	}
	defer f.Close() // read only
	if size != u.Size {
		v.torn(u.Name, "%d bytes: want %d", size, u.Size)
	}
	var suspects []suspect
	frames, err := pack.ReadDirectory(f, size)
	if isCorrupt(err) {
		v.torn(u.Name, "%v", err)
		suspects, err = v.store.fromIndex(ctx, u.Name)
	} else {
		suspects = fromDirectory(u.Name, frames)
	}
	if err != nil {
		return err
	}
	return v.frames(ctx, f, u, suspects)
}

// frames scrubs the frames of one pack.
func (v *scrub) frames(ctx context.Context, f *os.File, u index.Use, suspects []suspect) error {
	indexed, size := 0, int64(0)
	var buf []byte
	for _, s := range suspects {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, b, err := v.frame(ctx, f, u.Name, s, buf)
		if err != nil {
			return err
		}
		indexed += n
		buf = b
		size += int64(s.len)
		v.step(int64(s.len))
	}
	v.step(u.Size - size) // header, directory and footer
	v.mu.Lock()
	v.res.Packs++
	v.mu.Unlock()
	if indexed < u.Chunks {
		return v.strays(ctx, u, suspects)
	}
	return nil
}
