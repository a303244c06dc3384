package layerstest

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Hostile fills an empty directory with all that a tree must carry: every type
// of file but sockets, set-id bits, owners, capabilities and other extended
// attributes, ACLs, hard links of all kinds, holes, names of any bytes, the
// longest names, deep paths, and times far off and to the nanosecond. What only
// root may make is left out for others. With big set there are also a file of
// more than 4 GiB, nearly all of it a hole, and a directory of 100,000 entries.
func Hostile(t testing.TB, dir string, big bool) {
	t.Helper()
	h := &hostile{t, dir}
	h.names()
	h.contents()
	h.types()
	h.attributes()
	h.links()
	if big {
		h.big()
	}
	h.times()
}

type hostile struct {
	testing.TB
	dir string
}

func (h *hostile) check(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// file writes a file, and the directories that lead to it, and returns its
// whole path.
func (h *hostile) file(name, contents string) string {
	h.Helper()
	p := h.mkdir(filepath.Dir(name)) + "/" + filepath.Base(name)
	h.check(os.WriteFile(p, []byte(contents), 0o644))
	return p
}

func (h *hostile) mkdir(name string) string {
	h.Helper()
	p := h.dir + "/" + name
	h.check(os.MkdirAll(p, 0o755))
	return p
}

func (h *hostile) names() {
	for i, name := range []string{
		"-rf", " ", "  two", "new\nline", "tab\t", "quote'\"", "back\\slash", "star*?[x]", "$(x)`y`", "~",
		"\xff\xfe\x80", "\x01\x7f", "Ünïcödé", "a", "a-b", "a.b", "ab", "A", ".hidden", "..dots", "...", ".wh", "wh.x",
		strings.Repeat("n", 255), strings.Repeat("\xc3", 255),
	} {
		h.file("names/"+name, fmt.Sprint(i))
		h.file("names/dirs/"+name+"/file", fmt.Sprint(i))
	}
	h.file("deep/"+strings.Repeat(strings.Repeat("d", 99)+"/", 30)+"bottom", "deep")
	h.mkdir("empty/dir")
}

func (h *hostile) contents() {
	h.file("contents/empty", "")
	h.file("contents/one", "1")
	h.file("contents/zeros", strings.Repeat("\x00", 10_000))
	h.file("contents/manifest", "\x89SLMN\x01looks like a node")
	var b strings.Builder
	for i := range 200_000 {
		fmt.Fprintln(&b, i*i)
	}
	h.file("contents/large", b.String())
	for name, at := range map[string][]int64{
		"all hole": {}, "head": {0}, "tail": {1<<20 - 1}, "middle": {300_000}, "many": {0, 100_000, 200_000, 900_000},
	} {
		p := h.file("sparse/"+name, "")
		f, err := os.OpenFile(p, os.O_WRONLY, 0)
		h.check(err)
		h.check(f.Truncate(1 << 20))
		for _, off := range at {
			_, err := f.WriteAt([]byte("x"), off)
			h.check(err)
		}
		h.check(f.Close())
	}
}

func (h *hostile) types() {
	d := h.mkdir("types")
	h.check(unix.Mkfifo(d+"/fifo", 0o640))
	for name, target := range map[string]string{
		"relative": "../contents/one", "absolute": "/etc/passwd", "dangling": "no/such", "loop": "loop", "up": "../../../../..",
		"long": strings.Repeat("x", 4000), "odd": "\xff\n", "dir": "../empty",
	} {
		h.check(os.Symlink(target, d+"/"+name))
	}
	if os.Geteuid() != 0 {
		return
	}
	h.check(unix.Mknod(d+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	h.check(unix.Mknod(d+"/far", unix.S_IFBLK|0o600, int(unix.Mkdev(300, 70_000))))
}

func (h *hostile) attributes() {
	set := func(p, name string, value []byte) {
		h.Helper()
		h.check(unix.Lsetxattr(p, name, value, 0))
	}
	for _, mode := range []uint32{0, 0o400, 0o777, 0o4755, 0o2755, 0o6711, 0o1644} {
		if mode&0o400 != 0 || os.Geteuid() == 0 {
			h.check(unix.Chmod(h.file(fmt.Sprintf("modes/%o", mode), "x"), mode))
		}
	}
	h.check(unix.Chmod(h.mkdir("modes/sticky"), 0o1777))
	h.check(unix.Chmod(h.mkdir("modes/setgid"), 0o2775))
	p := h.file("xattrs/file", "x")
	set(p, "user.empty", nil)
	set(p, "user.binary", []byte{0, 1, 2, 0xff, '\n', '=', 0})
	set(p, "user.long", []byte(strings.Repeat("v", 1000)))
	set(h.mkdir("xattrs/dir"), "user.on-dir", []byte("y"))
	set(h.file("xattrs/acl", "x"), "system.posix_acl_access", acl(6, 4))
	set(h.mkdir("xattrs/acl-dir"), "system.posix_acl_default", acl(7, 5))
	h.check(unix.Chmod(h.file("modes/read-only dir/file", "x"), 0o444))
	if os.Geteuid() == 0 {
		h.check(os.Lchown(h.file("owners/file", "x"), 1000, 4_000_000_000))
		h.check(os.Symlink("x", h.dir+"/owners/link"))
		h.check(os.Lchown(h.dir+"/owners/link", 12, 34))
		set(h.dir+"/owners/link", "trusted.on-link", []byte("l"))
		ping := h.file("owners/ping", "x")
		h.check(os.Chown(ping, 0, 5))
		h.check(unix.Chmod(ping, 0o4755))
		// cap_net_raw=ep, as struct vfs_cap_data of revision 2
		set(ping, "security.capability", []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
		// others could not remove what is in it
		h.check(os.Chmod(h.dir+"/modes/read-only dir", 0o555))
	}
}

// acl returns an ACL that also names a user, in the form of extended
// attributes: see linux/posix_acl_xattr.h.
func acl(owner, named uint16) []byte {
	const none = 0xffffffff
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, owner, none}, {2, named, 1234}, {4, 4, none}, {0x10, 6, none}, {0x20, 0, none}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

func (h *hostile) links() {
	link := func(from, to string) {
		h.Helper()
		h.mkdir(filepath.Dir(to))
		h.check(os.Link(h.dir+"/"+from, h.dir+"/"+to))
	}
	h.file("links/z/first made", "linked")
	link("links/z/first made", "links/a/first in order")
	link("links/z/first made", "links/z/third")
	link("contents/large", "links/large")
	link("contents/empty", "links/empty")
	link("types/fifo", "links/fifo")
	link("types/dangling", "links/symlink")
	link("sparse/many", "zz-sparse")
	if os.Geteuid() == 0 {
		link("types/null", "links/null")
		link("owners/ping", "links/ping")
	}
}

func (h *hostile) big() {
	f, err := os.Create(h.file("big/5GiB", ""))
	h.check(err)
	h.check(f.Truncate(5 << 30))
	_, err = f.WriteAt([]byte(strings.Repeat("past 4 GiB ", 10_000)), 4<<30+12_345)
	h.check(err)
	h.check(f.Close())
	h.mkdir("big/many")
	for i := range 100_000 {
		h.check(unix.Mknod(fmt.Sprintf("%s/big/many/entry-%06d", h.dir, i), unix.S_IFREG|0o644, 0))
	}
}

// times gives every file a time of its own, directories last.
func (h *hostile) times() {
	var all []string
	h.check(filepath.WalkDir(h.dir, func(p string, _ os.DirEntry, err error) error {
		all = append(all, p)
		return err
	}))
	far := []int64{0, -1, -1_000_000_000, 1<<31 + 7, 1_700_000_000}
	for i := len(all) - 1; i >= 0; i-- {
		ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: far[i%len(far)] + int64(i), Nsec: int64(i) * 7919 % 1_000_000_000}}
		h.check(unix.UtimesNanoAt(unix.AT_FDCWD, all[i], ts, unix.AT_SYMLINK_NOFOLLOW))
	}
}
