package ext4

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"satchel/store"
)

// image returns one of the file systems in testdata: csum has checksums of all
// metadata, plain has none. They were made by mke2fs from the same directory.
func image(tb testing.TB, name string) []byte {
	tb.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".img.gz"))
	must(tb, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	must(tb, err)
	b, err := io.ReadAll(z)
	must(tb, err)
	return b
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// at finds an inode by path.
func at(tb testing.TB, f *FS, path string) *Inode {
	tb.Helper()
	i, err := f.Inode(Root)
	must(tb, err)
	for name := range strings.SplitSeq(path, "/") {
		list, err := f.ReadDir(i)
		must(tb, err)
		found := false
		for _, d := range list {
			if d.Name == name {
				i, err = f.Inode(d.Inode)
				must(tb, err)
				found = true
			}
		}
		if !found {
			tb.Fatalf("no %s", path)
		}
	}
	return i
}

func TestGolden(t *testing.T) {
	for _, name := range []string{"csum", "plain"} {
		t.Run(name, func(t *testing.T) {
			f, err := Open(bytes.NewReader(image(t, name)))
			must(t, err)
			if f.BlockSize != 1024 || f.Blocks != 1024 || f.Label != name || f.Mounted || !f.Clean() {
				t.Errorf("superblock %+v", f.Superblock)
			}
			file := at(t, f, "upper/file")
			if file.Mode != TypeRegular|0o4711 || file.UID != 1000 || file.GID != 1000 || file.Links != 2 || file.ModTime.Sec != 1767323045 {
				t.Errorf("inode %+v", file)
			}
			if again := at(t, f, "upper/dir/again"); again.Number != file.Number {
				t.Errorf("hard link is inode %d, the file is %d", again.Number, file.Number)
			}
			r, err := f.File(file)
			must(t, err)
			b, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
			if err != nil || string(b) != "contents\n" {
				t.Errorf("contents %q, %v", b, err)
			}
			attrs, err := f.Xattrs(file)
			if err != nil || len(attrs) != 1 || attrs[0].Name != "user.mark" || string(attrs[0].Value) != "value" {
				t.Errorf("attributes %v, %v", attrs, err)
			}
			for link, want := range map[string]string{"link": "file", "long": strings.Repeat("x", 100)} {
				if got, err := f.Readlink(at(t, f, "upper/"+link)); err != nil || got != want {
					t.Errorf("%s points to %q, %v", link, got, err)
				}
			}
			list, err := f.ReadDir(at(t, f, "upper/dir"))
			if err != nil || len(list) != 201 {
				t.Errorf("%d names, %v", len(list), err)
			}
			hole, err := f.File(at(t, f, "upper/hole"))
			must(t, err)
			if start, end := hole.Data(0); start != 1<<20 || end != 1<<20+3 {
				t.Errorf("data from %d to %d", start, end)
			}
			attrs, err = f.Xattrs(at(t, f, "upper/dir"))
			if err != nil || len(attrs) != 2 || attrs[0].Name != aclAccess || len(attrs[0].Value) != 4+5*8 || attrs[1].Name != "trusted.overlay.opaque" {
				t.Errorf("attributes %v, %v", attrs, err)
			}
		})
	}
}

// TestEveryBitCounts flips bits in all metadata that a walk reads. With
// checksums, none may go unnoticed.
func TestEveryBitCounts(t *testing.T) {
	whole := image(t, "csum")
	read := &spy{b: whole, used: make(map[int64]bool)}
	want, err := walk(read)
	must(t, err)
	checked := 0
	for off := range read.used {
		if off%31 != 0 || off < superblockAt {
			continue
		}
		checked++
		b := bytes.Clone(whole)
		b[off] ^= 1 << (off % 8)
		got, err := walk(bytes.NewReader(b))
		if err == nil && got != want {
			t.Errorf("a bit at %#x changes the result unnoticed", off)
		}
		if err != nil && !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrDirty) {
			t.Errorf("a bit at %#x: error of no kind: %v", off, err)
		}
	}
	if checked < 500 {
		t.Errorf("only %d bits checked", checked)
	}
}

// A spy notes which bytes are read.
type spy struct {
	b    []byte
	used map[int64]bool
}

func (s *spy) ReadAt(b []byte, off int64) (int, error) {
	for i := range b {
		s.used[off+int64(i)] = true
	}
	return bytes.NewReader(s.b).ReadAt(b, off)
}

// walk reads all that there is but the contents of files, which have no
// checksums, and returns it in words.
func walk(r io.ReaderAt) (string, error) {
	f, err := Open(r)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	budget := 10_000
	return out.String(), visit(f, Root, &out, &budget, 0)
}

func visit(f *FS, n uint32, out *strings.Builder, budget *int, depth int) error {
	if *budget--; *budget < 0 || depth > 50 {
		return nil
	}
	i, err := f.Inode(n)
	if err != nil {
		return err
	}
	attrs, err := f.Xattrs(i)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, i.Mode, i.UID, i.GID, i.Size, i.Links, i.ModTime, i.Protected(), attrs)
	switch i.Mode & TypeMask {
	case TypeSymlink:
		target, err := f.Readlink(i)
		fmt.Fprintln(out, target)
		return err
	case TypeRegular:
		return visitFile(f, i, out)
	case TypeDir:
		list, err := f.ReadDir(i)
		if err != nil {
			return err
		}
		for _, d := range list {
			fmt.Fprintln(out, d)
			if err := visit(f, d.Inode, out, budget, depth+1); err != nil {
				return err
			}
		}
	default:
		major, minor := i.Device()
		fmt.Fprintln(out, major, minor)
	}
	return nil
}

func visitFile(f *FS, i *Inode, out *strings.Builder) error {
	r, err := f.File(i)
	if err != nil {
		return err
	}
	stretches := 0
	for start, end := r.Data(0); start < end && stretches < 100; start, end = r.Data(end) {
		fmt.Fprintln(out, start, end)
		stretches++
	}
	b := make([]byte, 64)
	for _, off := range []int64{0, r.Size() / 2, r.Size() - 1} {
		if _, err := r.ReadAt(b, off); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}

func TestOpenRefuses(t *testing.T) {
	tests := []struct {
		name  string
		patch func(sb []byte)
		want  error
		says  string
	}{
		{"magic", func(b []byte) { b[0x38]++ }, store.ErrCorrupt, "magic"},
		{"journal to replay", func(b []byte) { b[0x60] |= incompatRecover }, ErrDirty, ""},
		{"not unmounted", func(b []byte) { b[0x3A] &^= stateValid }, ErrDirty, ""},
		{"error noted", func(b []byte) { b[0x3A] |= stateErrors }, ErrDirty, ""},
		{"encryption", func(b []byte) { b[0x62] |= 1 }, ErrUnsupported, "encrypt"},
		{"data in inodes", func(b []byte) { b[0x61] |= 0x80 }, ErrUnsupported, "inline_data"},
		{"unheard of", func(b []byte) { b[0x63] |= 0x40 }, ErrUnsupported, "0x40000000"},
		{"block size", func(b []byte) { b[0x18] = 7 }, store.ErrCorrupt, "block size"},
		{"inode size", func(b []byte) { b[0x58] = 0x81 }, store.ErrCorrupt, "inodes"},
		{"no groups", func(b []byte) { clear(b[0x28:0x2C]) }, store.ErrCorrupt, "groups"},
		{"no blocks", func(b []byte) { clear(b[0x4:0x8]) }, store.ErrCorrupt, "blocks"},
		{"too many blocks", func(b []byte) { b[0x152] = 0xFF }, store.ErrCorrupt, ""},
		{"too many inodes", func(b []byte) { b[0x3] = 0xFF }, store.ErrCorrupt, "inodes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := image(t, "plain")
			tt.patch(b[superblockAt:][:superblockSize])
			_, err := Open(bytes.NewReader(b))
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want %v that says %q", err, tt.want, tt.says)
			}
		})
	}
	whole := image(t, "plain")
	for _, n := range []int{0, 1023, 2047, 2048, 3000} {
		if _, err := Open(bytes.NewReader(whole[:n])); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
}

// Trees that would be walked forever, or far too long.
func TestLoops(t *testing.T) {
	fs := &FS{Superblock: &Superblock{BlockSize: 1024, Blocks: 64}}
	index := func(n, level int, child uint32) []byte {
		b := make([]byte, 1024)
		le := binary.LittleEndian
		le.PutUint16(b, extentMagic)
		le.PutUint16(b[2:], uint16(n))
		le.PutUint16(b[4:], 84)
		le.PutUint16(b[6:], uint16(level))
		for i := range n {
			e := b[extentSize*(i+1):]
			if level == 0 {
				le.PutUint16(e[4:], 1)
				e = e[4:]
			}
			le.PutUint32(e[4:], child)
		}
		return b
	}
	disk := make([]byte, 64*1024)
	copy(disk[5*1024:], index(84, 4, 6))
	copy(disk[6*1024:], index(84, 3, 7))
	copy(disk[7*1024:], index(84, 2, 8))
	copy(disk[8*1024:], index(84, 1, 9))
	copy(disk[9*1024:], index(0, 0, 0))
	fs.r = bytes.NewReader(disk)
	for name, root := range map[string][]byte{
		"empty leaves":   index(4, 5, 5),
		"itself":         index(4, 1, 10),
		"repeated block": index(4, 0, 11),
	} {
		copy(disk[10*1024:], index(84, 1, 10))
		i := &Inode{Number: 12, Mode: TypeRegular, Size: 1 << 30, flags: flagExtents}
		copy(i.block[:], root)
		binary.LittleEndian.PutUint16(i.block[4:], 4)
		if _, err := fs.File(i); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeACL(t *testing.T) {
	tests := []struct {
		name, disk string
		want       string // empty: refused
	}{
		{"no entries", "\x01\x00\x00\x00", "\x02\x00\x00\x00"},
		{"owner", "\x01\x00\x00\x00\x01\x00\x06\x00", "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff"},
		{"user", "\x01\x00\x00\x00\x02\x00\x07\x00\xd2\x04\x00\x00", "\x02\x00\x00\x00\x02\x00\x07\x00\xd2\x04\x00\x00"},
		{"empty", "", ""},
		{"version", "\x02\x00\x00\x00", ""},
		{"cut", "\x01\x00\x00\x00\x01\x00", ""},
		{"cut user", "\x01\x00\x00\x00\x02\x00\x07\x00\xd2\x04", ""},
	}
	for _, tt := range tests {
		got, err := decodeACL([]byte(tt.disk))
		if string(got) != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: % x, %v", tt.name, got, err)
		}
	}
}

// A patched disk has some bytes of another replaced.
type patched struct {
	base    *bytes.Reader
	patches []byte // 4 bytes each: place in three, value in one
}

func (p *patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.base.ReadAt(b, off)
	for i := 0; i+4 <= len(p.patches); i += 4 {
		x := p.patches[i:]
		at := int64(x[0]) | int64(x[1])<<8 | int64(x[2])<<16
		if at >= off && at < off+int64(n) {
			b[at-off] = x[3]
		}
	}
	return n, err
}

// FuzzWalk changes bytes of a file system without checksums, so that every
// parser is reached, and reads all of it.
func FuzzWalk(f *testing.F) {
	base := image(f, "plain")
	f.Add([]byte{})
	f.Add([]byte{0x38, 4, 0, 0})
	f.Add([]byte{0x60, 4, 0, 0x10, 0, 8, 0, 1})
	f.Add([]byte{0, 0x10, 0, 0x10, 0x80, 0x10, 0, 0x20})
	f.Fuzz(func(t *testing.T, patches []byte) {
		if len(patches) > 400 {
			return
		}
		_, err := walk(&patched{bytes.NewReader(base), patches})
		if err != nil && !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrDirty) {
			t.Errorf("error of no kind: %v", err)
		}
	})
}

func FuzzParseSuperblock(f *testing.F) {
	f.Add(image(f, "plain")[superblockAt:][:superblockSize])
	f.Add(image(f, "csum")[superblockAt:][:superblockSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSuperblock(b)
		if err == nil && (s.FreeBlocks > s.Blocks || s.BlockSize < 1024 || s.groups() == 0) {
			t.Errorf("accepted %+v", s)
		}
	})
}
