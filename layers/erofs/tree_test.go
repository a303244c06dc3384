package erofs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	"satchel/layers"
	"satchel/store"
)

// chunks is a store in memory.
type chunks map[store.ID][]byte

func (c chunks) Get(_ context.Context, id store.ID) ([]byte, error) {
	data, ok := c[id]
	if !ok {
		return nil, fmt.Errorf("chunk %s: %w", id.Short(), store.ErrNotExist)
	}
	return data, nil
}

// file makes a regular file of the given pieces, each a chunk, or a hole where
// it is all zeros.
func (c chunks) file(path string, pieces ...[]byte) layers.Entry {
	e := layers.Entry{Path: path, Type: layers.Regular, Mode: 0o644, ModTime: layers.Time{Sec: 1700000000, Nsec: 123456789}}
	for _, p := range pieces {
		x := layers.Extent{Len: int64(len(p))}
		if !bytes.Equal(p, make([]byte, len(p))) {
			x.ID = sha256.Sum256(p)
			c[x.ID] = p
		}
		e.Extents = append(e.Extents, x)
		e.Size += x.Len
	}
	return e
}

// noise returns n bytes that depend on the seed only.
func noise(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte{0: byte(seed), 1: byte(seed >> 8), 2: byte(seed >> 16)})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

func newDir(path string) layers.Entry {
	return layers.Entry{Path: path, Type: layers.Dir, Mode: 0o755, ModTime: layers.Time{Sec: 1600000000, Nsec: 1}}
}

func newSymlink(path, target string) layers.Entry {
	return layers.Entry{Path: path, Type: layers.Symlink, Mode: 0o777, Target: target, ModTime: layers.Time{Sec: 1, Nsec: 2}}
}

// accessControl is a valid ACL in the kernel's form: a user of its own beside
// the owner, group, mask and others.
func accessControl(user uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	entry := func(tag, perm uint16, id uint32) {
		b = binary.LittleEndian.AppendUint16(b, tag)
		b = binary.LittleEndian.AppendUint16(b, perm)
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	const none = 1<<32 - 1
	entry(0x01, 6, none)
	entry(0x02, 7, user)
	entry(0x04, 4, none)
	entry(0x10, 7, none)
	entry(0x20, 4, none)
	return b
}

// netRaw is cap_net_raw=ep as the kernel keeps it.
var netRaw = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// hostileTree holds one of everything that is hard.
func hostileTree(c chunks) layers.Tree {
	zeros := func(n int) []byte { return make([]byte, n) }
	t := layers.Tree{newDir(""), newDir("empty"), newDir("etc"), newDir("dev"), newDir("many"), newDir("names"), newDir("exact")}

	with := func(e layers.Entry, change func(*layers.Entry)) { change(&e); t = append(t, e) }
	t = append(t,
		c.file("etc/one", noise(1, 1)),
		c.file("etc/none"),
		c.file("etc/block", noise(2, 4096)),
		c.file("etc/pieces", noise(3, 1000), noise(4, 70000), noise(5, 1), noise(6, 4096)),
		c.file("etc/sparse", zeros(5000), noise(7, 10), zeros(100_000), noise(8, 9000), zeros(12345)),
		c.file("etc/hollow", zeros(1<<20)),
		newSymlink("etc/short", "x"),
		newSymlink("etc/long", strings.Repeat("d/", 2000)+"end"),
		newSymlink("etc/longest", strings.Repeat("a", 4095)),
		layers.Entry{Path: "etc/also", Type: layers.Hardlink, Target: "dev/named"},
		layers.Entry{Path: "etc/sparse2", Type: layers.Hardlink, Target: "etc/sparse"},
		layers.Entry{Path: "many/link", Type: layers.Hardlink, Target: "etc/short"},
		layers.Entry{Path: "dev/null", Type: layers.CharDev, Mode: 0o666, Major: 1, Minor: 3},
		layers.Entry{Path: "dev/zwide", Type: layers.BlockDev, Mode: 0o660, Major: 4095, Minor: 1<<20 - 1, GID: 6},
		layers.Entry{Path: "dev/named", Type: layers.Fifo, Mode: 0o600, ModTime: layers.Time{Sec: -5, Nsec: 999_999_999}},
	)
	with(c.file("etc/setid", noise(9, 300)), func(e *layers.Entry) { e.Mode, e.UID, e.GID = 0o6755, 4_000_000_000, 70000 })
	with(c.file("etc/capable", noise(10, 5000)), func(e *layers.Entry) {
		e.Xattrs = []layers.Xattr{
			{Name: "security.capability", Value: netRaw},
			{Name: "trusted.overlay.opaque", Value: []byte("y")},
			{Name: "user.empty", Value: nil},
			{Name: "user.large", Value: noise(11, 65535)},
			{Name: "user." + strings.Repeat("n", 250), Value: []byte("\x00\n\xff")},
		}
	})
	with(c.file("etc/shared", noise(12, 10)), func(e *layers.Entry) {
		e.Mode = 0o674
		e.Xattrs = []layers.Xattr{{Name: "system.posix_acl_access", Value: accessControl(1000)}}
	})
	with(newDir("etc/defaults"), func(e *layers.Entry) {
		e.Mode = 0o1777
		e.Xattrs = []layers.Xattr{{Name: "system.posix_acl_default", Value: accessControl(65534)}}
	})
	with(newSymlink("etc/marked", strings.Repeat("m", 4000)), func(e *layers.Entry) {
		e.Xattrs = []layers.Xattr{{Name: "trusted.mark", Value: noise(13, 90)}}
	})
	with(newDir("xdir"), func(e *layers.Entry) {
		e.Xattrs = []layers.Xattr{{Name: "user.big", Value: noise(14, 5000)}}
	})
	with(c.file("etc/built", noise(15, 20)), func(e *layers.Entry) { e.ModTime = buildTime })

	for _, name := range []string{"!", "-", "-a", ".-", ".a", "..a", "...", "a", "a b", "a-b", "a.b", "new\nline", "\xff\xfe", "\\", "~",
		strings.Repeat("n", 255), strings.Repeat("n", 254) + "m", strings.Repeat("\xc3", 255)} {
		t = append(t, c.file("names/"+name, []byte(name)))
	}
	t = append(t, newDir("names/a.d"), c.file("names/a.d/x", []byte("x")))
	for i := range 3000 {
		t = append(t, layers.Entry{Path: fmt.Sprintf("many/entry-%05d", i), Type: layers.Fifo, Mode: 0o600})
	}
	// A directory of exactly one block: "." and ".." take 27 bytes, 13 names
	// of 255 bytes 3471, one of 238 bytes 250, twelve of 17 bytes 348.
	for i := range 13 {
		t = append(t, newSymlink(fmt.Sprintf("exact/%c%s", 'a'+i, strings.Repeat("x", 254)), "t"))
	}
	t = append(t, newSymlink("exact/"+strings.Repeat("y", 238), "t"))
	for i := range 12 {
		t = append(t, newSymlink(fmt.Sprintf("exact/z%016d", i), "t"))
	}
	deep := "deep"
	for range 200 {
		t = append(t, newDir(deep))
		deep += "/" + "level"
	}
	t.Sort()
	return linkFirsts(t)
}

// linkFirsts makes hard links point at the first path of their file.
func linkFirsts(t layers.Tree) layers.Tree {
	for i := range t {
		e := &t[i]
		if e.Type != layers.Hardlink || layers.ComparePaths(e.Target, e.Path) < 0 {
			continue
		}
		j, _ := t.Index(e.Target)
		first := t[j]
		t[j] = layers.Entry{Path: first.Path, Type: layers.Hardlink, Target: e.Path}
		first.Path = e.Path
		for k := range t {
			if t[k].Type == layers.Hardlink && t[k].Target == t[j].Path {
				t[k].Target = e.Path
			}
		}
		t[i] = first
	}
	return t
}
