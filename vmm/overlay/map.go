package overlay

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"satchel/store"
)

// The form of the map's file: see docs/format/overlay.md.
const (
	magic      = "\x89SLOMAP\n"
	version    = 1
	headerSize = BlockSize
	headerUsed = 60 // bytes of the header that say something
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mapSize is the size of the file of a map, in bytes.
func mapSize(size int64) int64 {
	blocks := (size + BlockSize - 1) / BlockSize
	pages := (blocks + 8*BlockSize - 1) / (8 * BlockSize)
	return headerSize + pages*BlockSize
}

func encodeHeader(base Base) []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], BlockSize)
	binary.LittleEndian.PutUint64(b[16:], uint64(base.Size))
	copy(b[24:], base.Version[:])
	binary.LittleEndian.PutUint32(b[56:], crc32.Checksum(b[:56], castagnoli))
	return b
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("map of a disk: %w: "+format, append([]any{store.ErrCorrupt}, args...)...)
}

func decodeHeader(b []byte) (base Base, err error) {
	switch v := binary.LittleEndian.Uint32(b[8:]); {
	case string(b[:len(magic)]) != magic:
		return base, corrupt("it does not begin like one")
	case v > version:
		return base, fmt.Errorf("map of a disk: format %d, this program reads %d: %w", v, version, store.ErrNewer)
	case v != version:
		return base, corrupt("format %d", v)
	case binary.LittleEndian.Uint32(b[56:]) != crc32.Checksum(b[:56], castagnoli):
		return base, corrupt("its header does not match its checksum")
	}
	size := binary.LittleEndian.Uint64(b[16:])
	if block := binary.LittleEndian.Uint32(b[12:]); block != BlockSize {
		return base, corrupt("blocks of %d bytes", block)
	}
	if size == 0 || size > MaxSize {
		return base, corrupt("a disk of %d bytes", size)
	}
	for _, c := range b[headerUsed:headerSize] {
		if c != 0 {
			return base, corrupt("its header says more than is known")
		}
	}
	base.Size = int64(size)
	copy(base.Version[:], b[24:56])
	return base, nil
}

// readMap reads a map of the given size in bytes.
func readMap(r io.ReaderAt, size int64) (Base, bitmap, error) {
	var head [headerSize]byte
	if n, err := r.ReadAt(head[:], 0); n < len(head) {
		if err == io.EOF { //nolint:errorlint // an io.ReaderAt returns just that
			err = corrupt("%d bytes are less than its header", n)
		}
		return Base{}, nil, err
	}
	base, err := decodeHeader(head[:])
	if err != nil {
		return base, nil, err
	}
	if want := mapSize(base.Size); size != want {
		return base, nil, corrupt("%d bytes, want %d", size, want)
	}
	blocks := (base.Size + BlockSize - 1) / BlockSize
	bits := newBitmap(blocks)
	page := make([]byte, BlockSize)
	for off := int64(headerSize); off < size; off += BlockSize {
		if n, err := r.ReadAt(page, off); n < len(page) {
			return base, nil, fmt.Errorf("read map of a disk: %w", err)
		}
		first := (off - headerSize) / 8
		for i := range int64(pageWords) {
			word := binary.LittleEndian.Uint64(page[i*8:])
			if w := first + i; w < int64(len(bits)) {
				bits[w] = word
			} else if word != 0 {
				return base, nil, corrupt("a block beyond the end of the disk")
			}
		}
	}
	if rest := blocks % 64; rest != 0 && bits[len(bits)-1]>>rest != 0 {
		return base, nil, corrupt("a block beyond the end of the disk")
	}
	return base, bits, nil
}
