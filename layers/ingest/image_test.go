package ingest

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"satchel/layers"
	"satchel/layers/layerstest"
)

// patched returns the head of a file with bytes at an offset.
func patched(at int, b ...byte) []byte {
	head := make([]byte, ImageHead)
	copy(head[at:], b)
	return head
}

func mbr(status, kind byte, sectors uint32) []byte {
	head := patched(510, 0x55, 0xAA)
	head[446], head[450] = status, kind
	binary.LittleEndian.PutUint32(head[458:], sectors)
	return head
}

func ext4(inodes, logBlock, revision uint32, magic uint16) []byte {
	head := make([]byte, ImageHead)
	super := head[1024:]
	binary.LittleEndian.PutUint32(super, inodes)
	binary.LittleEndian.PutUint32(super[4:], 1000)
	binary.LittleEndian.PutUint32(super[0x18:], logBlock)
	binary.LittleEndian.PutUint16(super[0x38:], magic)
	binary.LittleEndian.PutUint32(super[0x4C:], revision)
	return head
}

func TestIsImage(t *testing.T) {
	for _, c := range []struct {
		name string
		head []byte
		want bool
	}{
		{"nothing", nil, false},
		{"zeros", make([]byte, ImageHead), false},
		{"cut short", patched(0, []byte("XFSB")...)[:1000], false},
		{"ext4", ext4(100, 2, 1, 0xEF53), true},
		{"ext4 without inodes", ext4(0, 2, 1, 0xEF53), false},
		{"ext4 of odd blocks", ext4(100, 77, 1, 0xEF53), false},
		{"ext4 of a later revision", ext4(100, 2, 9, 0xEF53), false},
		{"ext4 without its magic", ext4(100, 2, 1, 0xEF54), false},
		{"XFS", patched(0, []byte("XFSB")...), true},
		{"btrfs", patched(65600, []byte("_BHRfS_M")...), true},
		{"GPT", patched(512, []byte("EFI PART")...), true},
		{"GPT, 4 KiB sectors", patched(4096, []byte("EFI PART")...), true},
		{"MBR", mbr(0x80, 0x83, 2048), true},
		{"MBR, not bootable", mbr(0, 0x83, 2048), true},
		{"MBR without partitions", mbr(0x80, 0, 0), false},
		{"boot sector of FAT", mbr(0x31, 0x83, 2048), false},
		{"ELF", patched(0, []byte("\x7fELF")...), false},
	} {
		if got := IsImage(c.head); got != c.want {
			t.Errorf("%s: image %v, want %v", c.name, got, c.want)
		}
	}
}

// newImage returns an ext4 superblock and then files, a block of 4 KiB or more
// each, some with zeros between them.
func newImage(files [][]byte) []byte {
	b := ext4(100, 2, 1, 0xEF53)
	for i, f := range files {
		b = append(b, f...)
		b = append(b, make([]byte, (i%3)*HoleSize)...)
	}
	return append(b, make([]byte, max(0, imageLeast-len(b)))...)
}

func imageFiles(n int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	files := make([][]byte, n)
	for i := range files {
		size := 1 + r.IntN(100_000)
		files[i] = make([]byte, (size+HoleSize-1)/HoleSize*HoleSize)
		for j := range size - size%HoleSize + min(size%HoleSize, HoleSize-100) {
			files[i][j] = byte(r.Uint32()) | 1
		}
	}
	return files
}

// TestImagesShareFiles stores two images with the same files in another order:
// the second adds next to nothing, whichever way it comes, and reads back.
func TestImagesShareFiles(t *testing.T) {
	st := layerstest.NewStore()
	d := st.Domain()
	d.Max, d.Block, d.BlockBits = 64<<10, 4<<10, 2
	files := imageFiles(200)
	first := newImage(files)
	rand.New(rand.NewPCG(3, 4)).Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	second := newImage(files)
	name := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(name, second, 0o600); err != nil {
		t.Fatal(err)
	}
	p := New(t.Context(), st, d)
	one, file := &layers.Entry{Size: int64(len(first))}, &layers.Entry{}
	stream, sparse := &layers.Entry{Size: int64(len(second))}, &layers.Entry{Size: int64(len(second))}
	if err := p.AddStream(one, bytes.NewReader(first)); err != nil {
		t.Fatal(err)
	}
	p.Add(file, func() (io.ReadCloser, error) { return os.Open(name) })
	if err := p.AddStream(stream, bytes.NewReader(second)); err != nil {
		t.Fatal(err)
	}
	if err := p.AddSparse(sparse, bytes.NewReader(second)); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if !file.SameContent(stream) || !file.SameContent(sparse) {
		t.Error("the same image makes other chunks as a file, as a stream and as a sparse stream")
	}
	known := map[[32]byte]bool{}
	for _, x := range one.Extents {
		known[x.ID] = true
	}
	var fresh int64
	read := []byte{}
	for _, x := range file.Extents {
		data := make([]byte, x.Len)
		if !x.ID.IsZero() {
			var err error
			if data, err = st.Get(t.Context(), x.ID); err != nil {
				t.Fatal(err)
			}
			if !known[x.ID] {
				fresh += x.Len
			}
		}
		read = append(read, data...)
	}
	if !bytes.Equal(read, second) {
		t.Error("the image was changed")
	}
	if fresh > int64(d.Max) {
		t.Errorf("an image of the same files adds %d bytes", fresh)
	}
}

// TestOldDomainsCutImagesLikeFiles: a store that was made before goes on as
// it began.
func TestOldDomainsCutImagesLikeFiles(t *testing.T) {
	st := layerstest.NewStore()
	image := newImage(imageFiles(20))
	p := New(t.Context(), st, st.Domain()) // without blocks
	e := &layers.Entry{Size: int64(len(image))}
	if err := p.AddStream(e, bytes.NewReader(image)); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	odd := false
	for _, x := range e.Extents {
		odd = odd || x.Len%HoleSize != 0
		if x.ID.IsZero() {
			t.Error("a block of zeros became a hole")
		}
	}
	if !odd {
		t.Error("all cuts fall between blocks")
	}
}
