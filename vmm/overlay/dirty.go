package overlay

import (
	"iter"
	"math/bits"

	"satchel/layers/ingest"
	"satchel/vmm/nbd"
)

// Dirty returns what was written, in order and apart.
func (d *Disk) Dirty() []ingest.Range {
	blocks := (d.size + BlockSize - 1) / BlockSize
	var out []ingest.Range
	for first := d.present.next(0, blocks, true); first < blocks; {
		end := d.present.next(first, blocks, false)
		out = append(out, ingest.Range{Off: first * BlockSize, End: min(end*BlockSize, d.size)})
		first = d.present.next(end, blocks, true)
	}
	return out
}

// Zeros returns how many bytes from off on are known to be zeros: holes of what
// was written, and of what lies below.
func (d *Disk) Zeros(off int64) (n int64) {
	for off+n < d.size {
		at := off + n
		written, until := d.run(at, min(d.size, at+maxLook))
		zeros := until - at
		if !written {
			if n, hole := d.lower.Run(at); hole {
				zeros = min(n, zeros)
			} else {
				zeros = 0
			}
		} else if next, err := d.data.NextData(at); err != nil {
			return n // whoever reads it will be told
		} else {
			zeros = min(max(next-at, 0), zeros)
		}
		if n += zeros; at+zeros < until {
			break
		}
	}
	return n
}

// maxLook is how far the map is looked through at a time, in bytes.
const maxLook = 1 << 30

// Runs implements [nbd.Allocator]. What was written counts as data, holes in it
// too: it would take a system call to tell.
func (d *Disk) Runs(off, length int64) iter.Seq[nbd.Run] {
	return func(yield func(nbd.Run) bool) {
		for end := off + length; off < end; {
			written, until := d.run(off, end)
			run := nbd.Run{Length: until - off}
			if !written {
				n, zeros := d.lower.Run(off)
				run = nbd.Run{Length: min(n, until-off), Hole: zeros, Zero: zeros}
			}
			if !yield(run) {
				return
			}
			off += run.Length
		}
	}
}

// count returns how many bits are set.
func (b bitmap) count() (n int64) {
	for _, w := range b {
		n += int64(bits.OnesCount64(w))
	}
	return n
}
