package initramfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"testing"
)

// A cpioEntry is what readCpio reads.
type cpioEntry struct {
	name        string
	mode, mtime uint32
	rdev        [2]uint32
	data        []byte
}

// readCpio reads an archive, to judge the writer. Every length is bounded by
// what there is to read.
func readCpio(r io.Reader) iter.Seq2[cpioEntry, error] {
	return func(yield func(cpioEntry, error) bool) {
		br := bufio.NewReader(r)
		for {
			e, err := readCpioEntry(br)
			if err == nil && e.name == cpioTrailer {
				return
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

var errCpio = errors.New("not a cpio entry")

func readCpioEntry(r io.Reader) (e cpioEntry, err error) {
	head := make([]byte, cpioHeader)
	if _, err := io.ReadFull(r, head); err != nil {
		return e, err
	}
	if string(head[:6]) != cpioMagic {
		return e, errCpio
	}
	var n [13]uint32
	for i := range n {
		v, err := strconv.ParseUint(string(head[6+8*i:14+8*i]), 16, 32)
		if err != nil {
			return e, fmt.Errorf("%w: %w", errCpio, err)
		}
		n[i] = uint32(v)
	}
	name, err := readPadded(r, int64(n[11]), cpioHeader)
	if err != nil || len(name) == 0 {
		return e, errors.Join(errCpio, err)
	}
	e = cpioEntry{name: string(name[:len(name)-1]), mode: n[1], mtime: n[5], rdev: [2]uint32{n[9], n[10]}}
	e.data, err = readPadded(r, int64(n[6]), 0)
	return e, err
}

// readPadded reads size bytes and what pads them, after before, to 4.
func readPadded(r io.Reader, size int64, before int) ([]byte, error) {
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, size); err != nil {
		return nil, err
	}
	_, err := io.CopyN(io.Discard, r, int64(pad4(before+int(size))))
	return b.Bytes(), err
}

func TestCpioTooLarge(t *testing.T) {
	c := &cpioWriter{w: io.Discard, err: errFull}
	c.file("x", 0o644, nil)
	if err := c.close(); !errors.Is(err, errFull) {
		t.Errorf("a writer that had failed: %v", err)
	}
}

// FuzzCpio checks that the reader reads any bytes without harm and reads back
// what the writer wrote.
func FuzzCpio(f *testing.F) {
	var b bytes.Buffer
	c := &cpioWriter{w: &b}
	c.dir("dev", 0o755)
	c.char("dev/console", 0o600, 5, 1)
	c.file("init", 0o755, []byte("12345"))
	if err := c.close(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes(), "name")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		for _, err := range readCpio(bytes.NewReader(data)) {
			if err != nil {
				break
			}
		}
		var b bytes.Buffer
		c := &cpioWriter{w: &b}
		c.file(name, 0o640, data)
		if err := c.close(); err != nil {
			t.Fatal(err)
		}
		if b.Len()%4 != 0 {
			t.Errorf("archive of %d bytes", b.Len())
		}
		for e, err := range readCpio(&b) {
			if err != nil || e.name != name || !bytes.Equal(e.data, data) || e.mode != modeFile|0o640 {
				t.Errorf("read back %q, %o, %v", e.name, e.mode, err)
			}
		}
	})
}
