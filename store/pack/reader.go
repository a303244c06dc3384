package pack

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"satchel/store"
)

// ReadDirectory reads where the frames of a pack of the given size lie and
// which chunks they hold. It fails with [store.ErrCorrupt] when header,
// directory or footer are damaged or cut off, and with [store.ErrNewer].
func ReadDirectory(r io.ReaderAt, size int64) ([]Frame, error) {
	if size < headerSize+footerSize || size > MaxSize {
		return nil, corrupt("pack of %d bytes", size)
	}
	head, err := readAt(r, 0, headerSize)
	if err != nil {
		return nil, err
	}
	if err := CheckHeader(head); err != nil {
		return nil, err
	}
	foot, err := readAt(r, size-footerSize, footerSize)
	if err != nil {
		return nil, err
	}
	if string(foot[16:]) != footerMagic {
		return nil, corrupt("pack does not end with a footer")
	}
	n := int64(le.Uint32(foot))
	if n > size-headerSize-footerSize {
		return nil, corrupt("pack footer: directory of %d bytes", n)
	}
	dir, err := readAt(r, size-footerSize-n, int(n))
	if err != nil {
		return nil, err
	}
	if checksum(append(dir[:n:n], foot[:12]...)) != le.Uint32(foot[12:]) {
		return nil, corrupt("pack directory: checksum does not match")
	}
	if err := checkVersion(le.Uint32(foot[8:])); err != nil {
		return nil, err
	}
	return parseDirectory(dir, le.Uint32(foot[4:]), size-footerSize-n)
}

func readAt(r io.ReaderAt, off int64, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := r.ReadAt(b, off); errors.Is(err, io.EOF) && n > 0 {
		return nil, corrupt("pack ends at %d or before", off+int64(n))
	} else if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read at %d: %w", off, err)
	}
	return b, nil
}

// parseDirectory reads the directory of a pack whose frames end at end. Frames
// must follow one another without gap.
func parseDirectory(dir []byte, count uint32, end int64) ([]Frame, error) {
	if int64(count)*dirFrame > int64(len(dir)) {
		return nil, corrupt("pack directory of %d bytes: %d frames", len(dir), count)
	}
	frames := make([]Frame, 0, count)
	next := int64(headerSize)
	for range count {
		if len(dir) < dirFrame {
			return nil, corrupt("pack directory is cut off")
		}
		f := Frame{Offset: int64(le.Uint32(dir)), Len: int(le.Uint32(dir[4:]))}
		chunks := int(le.Uint32(dir[8:]))
		dir = dir[dirFrame:]
		if f.Offset != next || f.Len < frameFixed || f.Len > MaxFrame || f.Offset+int64(f.Len) > end {
			return nil, corrupt("pack directory: frame of %d bytes at %d", f.Len, f.Offset)
		}
		if chunks == 0 || chunks > MaxFrameChunks || chunks*dirChunk > len(dir) {
			return nil, corrupt("pack directory: frame of %d chunks", chunks)
		}
		f.Chunks = make([]Chunk, chunks)
		for i := range f.Chunks {
			f.Chunks[i] = Chunk{store.ID(dir[:32]), int(le.Uint32(dir[32:]))}
			dir = dir[dirChunk:]
			if n := f.Chunks[i].Len; n == 0 || n > store.MaxChunk {
				return nil, corrupt("pack directory: chunk of %d bytes", n)
			}
		}
		next += int64(f.Len)
		frames = append(frames, f)
	}
	if len(dir) != 0 || next != end {
		return nil, corrupt("pack directory: %d frames end at %d: want %d", count, next, end)
	}
	return frames, nil
}

// Salvage finds the frames of a pack without its directory: it looks for
// frame headers from the start and calls found for each whole frame. It is how
// chunks are had from a pack that is cut off or whose directory is damaged;
// their IDs are the hashes of what the frames hold.
func Salvage(r io.ReaderAt, size int64, found func(off int64, n int, c Content) error) error {
	size = min(size, MaxSize)
	buf := make([]byte, maxFrameHeader)
	for off := int64(0); off+frameFixed <= size; {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read at %d: %w", off, err)
		}
		if n < frameFixed {
			return nil
		}
		h, err := parseFrameHeader(buf[:n])
		length := h.size() + h.stored
		if err != nil || off+int64(length) > size {
			off += skip(buf[:n])
			continue
		}
		c, _, err := ReadFrame(r, off, length, nil)
		if err == nil {
			err = found(off, length, c)
		} else if errors.Is(err, store.ErrCorrupt) {
			err = nil
		}
		if err != nil {
			return err
		}
		off += int64(length)
	}
	return nil
}

// skip returns how many bytes of b, in which no frame begins, to pass over:
// up to the next place that looks like one.
func skip(b []byte) int64 {
	if i := bytes.Index(b[1:], []byte(frameMagic)); i >= 0 {
		return int64(1 + i)
	}
	return int64(max(1, len(b)-len(frameMagic)+1))
}
