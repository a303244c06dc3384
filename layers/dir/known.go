package dir

import (
	"time"

	"golang.org/x/sys/unix"

	"satchel/layers"
)

// A Stamp is what the kernel changes whenever it changes a file: which file it
// is, and when its inode changed last. A write, and a change of mode, owner,
// links or extended attributes, gives another change time, and no program can
// set that. The zero stamp matches nothing.
type Stamp struct {
	Dev, Ino uint64
	Changed  layers.Time
}

// Known is what an import of a directory found, for the next one to go by: a
// file whose stamp, times and size are still the same is not opened again.
type Known struct {
	Tree   layers.Tree
	Stamps []Stamp // of each entry of Tree
	// Same says that the last import found just what was known before.
	Same bool

	at int // in Tree, where the import stands
}

// granularity is how far apart two changes may be and yet give a file the same
// times, on the file systems that are worst at it.
const granularity = 2 * time.Second

// stampOf returns the stamp of a file, or none if the file may change again and
// keep it: when it changed just before the import began, or later. As a few
// file systems have no change time of their own, the modification time counts
// too. It takes clocks to be right, those of file servers as well.
func stampOf(st *unix.Stat_t, begun time.Time) Stamp {
	limit := begun.Add(-granularity)
	if !time.Unix(st.Ctim.Unix()).Before(limit) || !time.Unix(st.Mtim.Unix()).Before(limit) {
		return Stamp{}
	}
	return stampNow(st)
}

func stampNow(st *unix.Stat_t) Stamp {
	return Stamp{st.Dev, st.Ino, layers.Time{Sec: st.Ctim.Sec, Nsec: uint32(st.Ctim.Nsec)}}
}

// find returns the known entry at a path, or nil. Paths are asked for in order.
func (k *Known) find(path string) *layers.Entry {
	for k.at < len(k.Tree) && layers.ComparePaths(k.Tree[k.at].Path, path) < 0 {
		k.at++
	}
	if k.at == len(k.Tree) || k.Tree[k.at].Path != path {
		return nil
	}
	return &k.Tree[k.at]
}

// take returns what is known of a file that has not changed since, or nil. The
// entry e is what stat tells of the file now.
func (k *Known) take(e *layers.Entry, st *unix.Stat_t) (*layers.Entry, Stamp) {
	old := k.find(e.Path)
	if old == nil {
		return nil, Stamp{}
	}
	stamp := k.Stamps[k.at]
	if stamp == (Stamp{}) || stamp != stampNow(st) || !sameStat(old, e) {
		return nil, Stamp{}
	}
	return old, stamp
}

// sameStat reports whether stat tells the same of two files.
func sameStat(a, b *layers.Entry) bool {
	return a.Type == b.Type && a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.ModTime == b.ModTime &&
		a.Size == b.Size && a.Major == b.Major && a.Minor == b.Minor
}
