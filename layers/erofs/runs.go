package erofs

import (
	"iter"
	"slices"
	"sort"

	"satchel/layers"
)

// A file is a regular file's place in the data area.
type file struct {
	start   uint32 // first block
	first   uint32 // where the ends of its extents begin
	path    string // for errors
	extents []layers.Extent
}

func (f *file) offset() int64 { return int64(f.start) * blockSize }

// files returns the files that have data, in the order of their blocks, and
// the offsets in each file at which its extents end, one file after another.
func (l *layout) files() ([]file, []int64) {
	var files, extents int
	for i := range l.tree {
		if l.nodes[i].size > 0 && l.tree[i].Type == layers.Regular {
			files++
			extents += len(l.tree[i].Extents)
		}
	}
	list, ends := make([]file, 0, files), make([]int64, 0, extents)
	for i := range l.tree {
		e, n := &l.tree[i], &l.nodes[i]
		if e.Type != layers.Regular || n.size == 0 {
			continue
		}
		list = append(list, file{n.start, uint32(len(ends)), e.Path, e.Extents})
		var end int64
		for _, x := range e.Extents {
			end += x.Len
			ends = append(ends, end)
		}
	}
	return list, ends
}

// fileAt returns the file to whose blocks off belongs, or 0 for metadata.
func (im *Image) fileAt(off int64) int {
	block := uint32(off >> blockBits)
	i := sort.Search(len(im.files), func(i int) bool { return im.files[i].start > block })
	return max(i-1, 0)
}

// endOf returns where the blocks of file i end.
func (im *Image) endOf(i int) int64 {
	if i+1 < len(im.files) {
		return im.files[i+1].offset()
	}
	return im.size
}

// extentAt returns the extent of f that holds the byte at pos, or the number
// of extents when pos lies behind the last.
func (im *Image) extentAt(f *file, pos int64) int {
	ends := im.ends[f.first:][:len(f.extents)]
	i, _ := slices.BinarySearch(ends, pos+1)
	return i
}

// startOf returns where in f its extent x begins.
func (im *Image) startOf(f *file, x int) int64 {
	if x == 0 {
		return 0
	}
	return im.ends[int(f.first)+x-1]
}

// A Run is a stretch of an image that is known to be all zeros, or not.
type Run struct {
	Off  int64 // bytes from the start of the image
	Len  int64 // bytes, more than 0
	Hole bool  // all zeros, and takes no room in the store
}

// Runs yields what [off, off+n) consists of, in order and without gaps; two
// neighbours always differ in kind. Holes begin and end at blocks, or where
// the question does.
func (im *Image) Runs(off, n int64) iter.Seq[Run] {
	return func(yield func(Run) bool) {
		off := min(max(off, 0), im.size)
		end := off + min(max(n, 0), im.size-off)
		emit := func(r Run) bool { return r.Len == 0 || yield(r) }
		last := Run{Off: off, Hole: true} // the hole that may still grow
		for hole := range im.holes(off, end) {
			until := last.Off + last.Len
			if hole.Off == until {
				last.Len += hole.Len
				continue
			}
			if !emit(last) || !emit(Run{Off: until, Len: hole.Off - until}) {
				return
			}
			last = hole
		}
		until := last.Off + last.Len
		if emit(last) {
			emit(Run{Off: until, Len: end - until})
		}
	}
}

// holes yields the holes in [off, end), in order; neighbours may touch.
func (im *Image) holes(off, end int64) iter.Seq[Run] {
	return func(yield func(Run) bool) {
		for i := im.fileAt(off); i < len(im.files) && im.files[i].offset() < end; i++ {
			f := &im.files[i]
			for x := im.extentAt(f, max(off-f.offset(), 0)); x < len(f.extents); x++ {
				if !f.extents[x].ID.IsZero() {
					continue
				}
				from, to := im.holeOf(i, x)
				from, to = max(from, off), min(to, end)
				if from < to && !yield(Run{from, to - from, true}) {
					return
				}
			}
		}
	}
}

// holeOf returns the whole blocks of the hole that is extent x of file i. A
// hole at the end of a file reaches to the end of its last block.
func (im *Image) holeOf(i, x int) (from, to int64) {
	f := &im.files[i]
	from = f.offset() + alignUp(im.startOf(f, x), blockSize)
	if x == len(f.extents)-1 {
		return from, im.endOf(i)
	}
	return from, f.offset() + im.ends[int(f.first)+x]&^(blockSize-1)
}
