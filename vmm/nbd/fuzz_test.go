package nbd

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// disk is the export that the fuzzed server serves.
type disk struct {
	mu   sync.Mutex
	data [1 << 16]byte
}

func (d *disk) Size() int64 { return int64(len(d.data)) }

func (d *disk) ReadAt(b []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy(b, d.data[off:]), nil
}

func (d *disk) WriteAt(b []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy(d.data[off:], b), nil
}

func (d *disk) Flush() error                 { return nil }
func (d *disk) Trim(off, length int64) error { return d.Zero(off, length, true) }
func (d *disk) Zero(off, length int64, punch bool) error {
	_, err := d.WriteAt(make([]byte, length), off)
	return err
}

// FuzzServer checks that no client can make the server panic, or hang once the
// client has left. An out-of-range request would panic in disk.
func FuzzServer(f *testing.F) {
	flags := []byte{0, 0, 0, 3}
	opt := func(code uint32, data ...byte) []byte {
		b := append([]byte("IHAVEOPT"), binary.BigEndian.AppendUint32(nil, code)...)
		return append(binary.BigEndian.AppendUint32(b, uint32(len(data))), data...)
	}
	req := func(flags uint16, cmd command, off uint64, length uint32, data ...byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, magicRequest)
		b = binary.BigEndian.AppendUint16(b, flags)
		b = binary.BigEndian.AppendUint16(b, uint16(cmd))
		b = binary.BigEndian.AppendUint64(b, 7)
		b = binary.BigEndian.AppendUint64(b, off)
		return append(binary.BigEndian.AppendUint32(b, length), data...)
	}
	goRoot := opt(optGo, 0, 0, 0, 0, 0, 0)
	contexts := opt(optSetMetaContext, append([]byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 15}, contextName...)...)
	for _, parts := range [][][]byte{
		{flags, opt(optList), opt(optAbort)},
		{flags, opt(optExportName), req(0, cmdRead, 0, 10)},
		{flags, opt(optStructuredReply), contexts, goRoot, req(0, cmdRead, 5, 70), req(cmdReqOne, cmdBlockStatus, 0, 1<<16)},
		{flags, goRoot, req(cmdFUA, cmdWrite, 1, 3, 1, 2, 3), req(0, cmdFlush, 0, 0), req(0, cmdTrim, 0, 9), req(0, cmdDisc, 0, 0)},
		{flags, goRoot, req(cmdNoHole, cmdWriteZeroes, 0, 1<<16), req(0, cmdCache, 0, 1<<16), req(0, cmdRead, 1<<63, 1<<31)},
	} {
		f.Add(bytes.Join(parts, nil))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		near, far := net.Pipe()
		near.SetDeadline(time.Now().Add(10 * time.Second))
		var wg sync.WaitGroup
		wg.Go(func() { NewServer("root", &disk{}, Options{}).ServeConn(context.Background(), far) })
		wg.Go(func() {
			near.Write(stream) // fails when the server has had enough
			near.Close()
		})
		io.Copy(io.Discard, near)
		wg.Wait()
	})
}

// FuzzRequest checks the decision whether a request is done: what is allowed
// lies within the export.
func FuzzRequest(f *testing.F) {
	f.Add(binary.BigEndian.AppendUint32(nil, magicRequest), uint64(1<<40))
	f.Fuzz(func(t *testing.T, head []byte, size uint64) {
		var b [requestSize]byte
		copy(b[:], head)
		r, err := parseRequest(&b)
		if err != nil {
			return
		}
		d := newDevice(&disk{})
		d.size = int64(size >> 1)
		for _, agreed := range []bool{false, true} {
			tr := transmission{device: d, structured: agreed, context: agreed}
			if tr.check(&r) != errNone || r.cmd == cmdFlush {
				continue
			}
			if r.off > uint64(d.size) || uint64(r.length) > uint64(d.size)-r.off || r.length == 0 {
				t.Fatalf("allowed %+v on %d bytes", r, d.size)
			}
			if r.payload() && r.length > MaxRequest {
				t.Fatalf("allowed %d bytes at once", r.length)
			}
		}
	})
}
