package seen

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"satchel/layers"
	"satchel/layers/dir"
	"satchel/store"
)

// Version is the version of the format that this build writes and reads.
const Version = 1

const (
	magic     = "SATCHELs"
	fixedSize = len(magic) + 4 + 32 + 3*8 + 4 // up to the path
	stampSize = 8 + 8 + 8 + 4
	sumSize   = 4
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// record is what a file holds.
type record struct {
	root   string // the directory
	tree   layers.Root
	stamps []dir.Stamp
}

func encode(r record) []byte {
	b := make([]byte, 0, fixedSize+len(r.root)+len(r.stamps)*stampSize+sumSize)
	b = append(b, magic...)
	b = le.AppendUint32(b, Version)
	b = append(b, r.tree.ID[:]...)
	for _, n := range [...]int64{r.tree.Entries, r.tree.Files, r.tree.Bytes} {
		b = le.AppendUint64(b, uint64(n))
	}
	b = le.AppendUint32(b, uint32(len(r.root)))
	b = append(b, r.root...)
	for _, s := range r.stamps {
		b = le.AppendUint64(b, s.Dev)
		b = le.AppendUint64(b, s.Ino)
		b = le.AppendUint64(b, uint64(s.Changed.Sec))
		b = le.AppendUint32(b, s.Changed.Nsec)
	}
	return seal(b)
}

func seal(b []byte) []byte { return le.AppendUint32(b, crc32.Checksum(b, castagnoli)) }

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{store.ErrCorrupt}, args...)...)
}

// decode is the inverse of encode. It fails with [store.ErrCorrupt] or
// [store.ErrNewer].
func decode(b []byte) (r record, err error) {
	if len(b) < fixedSize+sumSize || string(b[:len(magic)]) != magic {
		return r, corrupt("not what an import keeps")
	}
	sum := le.Uint32(b[len(b)-sumSize:])
	b = b[:len(b)-sumSize]
	if crc32.Checksum(b, castagnoli) != sum {
		return r, corrupt("checksum does not match")
	}
	b = b[len(magic):]
	if v := le.Uint32(b); v > Version {
		return r, fmt.Errorf("format %d, this program reads %d: %w", v, Version, store.ErrNewer)
	} else if v != Version {
		return r, corrupt("format %d", v)
	}
	b = b[4+copy(r.tree.ID[:], b[4:]):]
	counts := [3]uint64{le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:])}
	path := uint64(le.Uint32(b[24:]))
	b = b[28:]
	if path > uint64(len(b)) {
		return r, corrupt("path of %d bytes", path)
	}
	r.root, b = string(b[:path]), b[path:]
	if counts[0] != uint64(len(b)/stampSize) || len(b)%stampSize != 0 || counts[1] > counts[0] || counts[2] > math.MaxInt64 {
		return r, corrupt("%d bytes of stamps for %d entries", len(b), counts[0])
	}
	r.tree.Entries, r.tree.Files, r.tree.Bytes = int64(counts[0]), int64(counts[1]), int64(counts[2])
	r.stamps = make([]dir.Stamp, counts[0])
	for i := range r.stamps {
		s := b[i*stampSize:]
		r.stamps[i] = dir.Stamp{
			Dev: le.Uint64(s), Ino: le.Uint64(s[8:]),
			Changed: layers.Time{Sec: int64(le.Uint64(s[16:])), Nsec: le.Uint32(s[24:])},
		}
	}
	return r, nil
}
