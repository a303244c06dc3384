package pack

import (
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	decoder "github.com/klauspost/compress/zstd"

	"satchel/store"
	"satchel/store/x86"
	"satchel/store/zstd"
)

// How the plaintext of a frame is stored.
const (
	codecRaw  = 0
	codecZstd = 1
	codecX86  = 2 // as codecZstd, after references of programs were made addresses
)

// newDecoder keeps one for the process: it serves any number of goroutines and
// keeps its working memory from call to call.
var newDecoder = sync.OnceValue(func() *decoder.Decoder {
	d, err := decoder.NewReader(nil, decoder.WithDecoderConcurrency(0),
		decoder.WithDecoderMaxMemory(MaxFrameData), decoder.WithDecoderMaxWindow(MaxFrameData))
	if err != nil {
		panic(err) // the options are constants
	}
	return d
})

// turned spares the memory of plaintexts that are changed before compression.
var turned = sync.Pool{New: func() any { return new([]byte) }}

// AppendFrame appends to dst the frame of the chunks whose plaintext lies one
// after the other in data, lens[i] bytes each. It compresses them together,
// or stores them as they are where that is no longer. The lengths must keep
// the limits of a frame.
func AppendFrame(dst, data []byte, lens []int) []byte {
	return appendFrame(dst, data, lens, zstd.Append)
}

// AppendBestFrame is AppendFrame that takes its time: the frame is about a
// seventh smaller, see [zstd.AppendBest].
func AppendBestFrame(dst, data []byte, lens []int) []byte {
	return appendFrame(dst, data, lens, zstd.AppendBest)
}

func appendFrame(dst, data []byte, lens []int, compress func(dst, src []byte) []byte) []byte {
	start := len(dst)
	codec, plain := byte(codecZstd), data
	if program(data) {
		buf := turned.Get().(*[]byte)
		defer turned.Put(buf)
		*buf = append((*buf)[:0], data...)
		x86.ToAddresses(*buf, 0)
		codec, plain = codecX86, *buf
	}
	dst = appendFrameHeader(dst, codec, lens)
	payload := len(dst)
	dst = compress(dst, plain)
	if len(dst)-payload >= len(data) {
		return AppendRawFrame(dst[:start], data, lens)
	}
	finishFrame(dst[start:], payload-start)
	return dst
}

// AppendRawFrame is AppendFrame for chunks that are not worth compressing.
func AppendRawFrame(dst, data []byte, lens []int) []byte {
	start := len(dst)
	dst = appendFrameHeader(dst, codecRaw, lens)
	payload := len(dst)
	dst = append(dst, data...)
	finishFrame(dst[start:], payload-start)
	return dst
}

// Compressed reports whether the plaintext of a frame is compressed in it, as far
// as the start of the frame tells.
func Compressed(frame []byte) bool { return len(frame) >= frameFixed && frame[4] != codecRaw }

// appendFrameHeader appends a header that lacks what finishFrame adds.
func appendFrameHeader(dst []byte, codec byte, lens []int) []byte {
	dst = append(dst, frameMagic...)
	dst = append(dst, codec, 0)
	dst = le.AppendUint16(dst, uint16(len(lens)))
	dst = append(dst, make([]byte, 12)...)
	for _, n := range lens {
		dst = le.AppendUint32(dst, uint32(n))
	}
	return dst
}

// finishFrame fills in the stored length and the two checksums of a frame with
// a header of n bytes.
func finishFrame(frame []byte, n int) {
	h, payload := frame[:n], frame[n:]
	le.PutUint32(h[8:], uint32(len(payload)))
	le.PutUint32(h[12:], checksum(payload))
	le.PutUint32(h[16:], headerSum(h))
}

// headerSum is the checksum of a frame's header, without the field that holds
// it.
func headerSum(h []byte) uint32 {
	return crc32.Update(checksum(h[:16]), castagnoli, h[frameFixed:])
}

// A Content is what a frame holds.
type Content struct {
	Data []byte // plaintext of the chunks, one after the other; cut short by damage
	Lens []int  // bytes of each chunk
	// Damage is nil, or says why the frame's bytes are not what was written.
	// Chunks that lie whole in Data may still be right: their IDs tell.
	Damage error
}

// frameHeader is the decoded header of a frame.
type frameHeader struct {
	codec  byte
	stored int
	sum    uint32
	lens   []int
	total  int // of lens
}

func (h *frameHeader) size() int { return frameFixed + 4*len(h.lens) }

// parseFrameHeader reads the header at the start of b, which may go on with
// other bytes.
func parseFrameHeader(b []byte) (h frameHeader, err error) {
	if len(b) < frameFixed || string(b[:4]) != frameMagic {
		return h, corrupt("no frame begins here")
	}
	count := int(le.Uint16(b[6:]))
	if count == 0 || count > MaxFrameChunks || len(b) < frameFixed+4*count {
		return h, corrupt("frame header of %d chunks", count)
	}
	if headerSum(b[:frameFixed+4*count]) != le.Uint32(b[16:]) {
		return h, corrupt("frame header: checksum does not match")
	}
	h = frameHeader{codec: b[4], stored: int(le.Uint32(b[8:])), sum: le.Uint32(b[12:]), lens: make([]int, count)}
	for i := range h.lens {
		n := le.Uint32(b[frameFixed+4*i:])
		if n == 0 || n > store.MaxChunk {
			return h, corrupt("frame header: chunk of %d bytes", n)
		}
		h.lens[i] = int(n)
		h.total += int(n)
	}
	switch {
	case b[5] != 0 || h.codec > codecX86:
		return h, corrupt("frame header: codec %d", b[4])
	case h.total > MaxFrameData || h.stored > h.total || h.stored == 0:
		return h, corrupt("frame header: %d bytes that hold %d", h.stored, h.total)
	}
	return h, nil
}

// slack is how many bytes of room beyond its output let the decompressor copy in
// strides to the very end.
const slack = 16

// DecodeFrame reads a frame. It appends the plaintext to dst, which may be
// nil. The error is [store.ErrCorrupt] when nothing of the frame can be had;
// lesser damage is told in the content.
func DecodeFrame(frame, dst []byte) (Content, error) {
	return DecodeFrameIn(frame, func(n int) []byte {
		if cap(dst)-len(dst) < n {
			return append(make([]byte, 0, len(dst)+n), dst...)
		}
		return dst
	})
}

// DecodeFrameIn is DecodeFrame with a dst for which it asks when it knows that it
// needs room for n more bytes.
func DecodeFrameIn(frame []byte, dst func(n int) []byte) (Content, error) {
	h, err := parseFrameHeader(frame)
	if err != nil {
		return Content{}, err
	}
	if len(frame) != h.size()+h.stored {
		return Content{}, corrupt("frame of %d bytes: its header says %d", len(frame), h.size()+h.stored)
	}
	payload := frame[h.size():]
	c := Content{Lens: h.lens}
	if checksum(payload) != h.sum {
		c.Damage = corrupt("frame: checksum does not match")
	}
	out := dst(h.total + slack)
	start := len(out)
	if h.codec == codecRaw {
		out = append(out, payload...)
	} else {
		var derr error
		out, derr = newDecoder().DecodeAll(payload, out)
		if derr != nil && c.Damage == nil {
			c.Damage = corrupt("frame: %v", derr)
		}
	}
	c.Data = h.restore(out[start:])
	if len(c.Data) != h.total && c.Damage == nil {
		c.Damage = corrupt("frame decodes to %d bytes: want %d", len(c.Data), h.total)
	}
	return c, nil
}

// restore undoes, in place, what was done to the plaintext before compression. Of
// one that was cut off it gives up the bytes that the rest would have to tell.
func (h *frameHeader) restore(data []byte) []byte {
	if h.codec != codecX86 {
		return data
	}
	x86.ToDistances(data, 0)
	if len(data) < h.total {
		data = data[:max(0, len(data)-x86.Size)]
	}
	return data
}

// CheckFrame returns the plaintext lengths of a frame's chunks without
// decompressing them. It fails with [store.ErrCorrupt] when the checksums do
// not match or the frame is cut off.
func CheckFrame(frame []byte) (lens []int, err error) {
	h, err := parseFrameHeader(frame)
	if err != nil {
		return nil, err
	}
	if len(frame) != h.size()+h.stored {
		return nil, corrupt("frame of %d bytes: its header says %d", len(frame), h.size()+h.stored)
	}
	if checksum(frame[h.size():]) != h.sum {
		return nil, corrupt("frame: checksum does not match")
	}
	return h.lens, nil
}

// ReadFrame reads and decodes the frame of n bytes at offset off. The buffer,
// which may be nil, is used for the bytes on disk and returned for the next
// call.
func ReadFrame(r io.ReaderAt, off int64, n int, buf []byte) (Content, []byte, error) {
	buf, err := ReadStored(r, off, n, buf)
	if err != nil {
		return Content{}, buf, err
	}
	c, err := DecodeFrame(buf, nil)
	return c, buf, err
}

// ReadStored returns the frame of n bytes at offset off as it is stored,
// unchecked. It uses the buffer, which may be nil, if that is large enough.
func ReadStored(r io.ReaderAt, off int64, n int, buf []byte) ([]byte, error) {
	if n < frameFixed || n > MaxFrame || off < headerSize {
		return buf, corrupt("frame of %d bytes at %d", n, off)
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := r.ReadAt(buf, off); err == io.EOF {
		return buf, corrupt("pack ends within the frame at %d", off)
	} else if err != nil {
		return buf, fmt.Errorf("read frame at %d: %w", off, err)
	}
	return buf, nil
}

// Head returns a frame of the chunks that lie whole in b, the first bytes of a
// frame that was cut off, or nil if there are none.
func Head(b []byte) []byte {
	h, err := parseFrameHeader(b)
	if err != nil {
		return nil
	}
	payload := b[h.size():min(len(b), h.size()+h.stored)]
	data := payload
	if h.codec != codecRaw {
		data, _ = newDecoder().DecodeAll(payload, make([]byte, 0, h.total+slack)) // as far as it comes
		data = h.restore(data)
	}
	n, end := 0, 0
	for n < len(h.lens) && end+h.lens[n] <= len(data) {
		end += h.lens[n]
		n++
	}
	if n == 0 {
		return nil
	}
	return AppendFrame(nil, data[:end], h.lens[:n])
}
