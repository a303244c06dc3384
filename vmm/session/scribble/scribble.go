// Package scribble is a guest for tests: one program, the init of a disk that
// holds nothing else, which writes, flushes, and says what was flushed. Both it
// and who judges the disk afterwards know what it writes.
package scribble

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
)

// Where a disk is scribbled on, in bytes: at many places, far from each other.
const (
	Block  = 4096
	First  = 256 << 20 // what lies below is the system's
	Apart  = 13 << 20  // from one place to the next
	Places = 600
	Most   = 8 // blocks of one write
)

// Flush is how many writes go from one flush to the next.
const Flush = 7

// A Write is what a run of the program writes at one time.
type Write struct {
	Off  int64
	Data []byte
}

// At is the n-th write of a run, counted from 1. Each block of it says which.
func At(run, n uint64) Write {
	r := rand.New(rand.NewPCG(run, n))
	off := First + r.Int64N(Places)*Apart + r.Int64N(4)*Block
	data := make([]byte, (1+r.IntN(Most))*Block)
	for i := 0; i < len(data); i += 8 {
		binary.LittleEndian.PutUint64(data[i:], run<<40|n<<8|uint64(i/Block))
	}
	return Write{off, data}
}

// A Disk is what is scribbled on.
type Disk interface {
	io.WriterAt
	Sync() error
}

// Run scribbles for ever, and tells w the number of the last write each time
// that all until then is on the disk: before the first one, 0.
func Run(d Disk, w io.Writer, run uint64) error {
	if _, err := fmt.Fprintf(w, "flushed %d 0\n", run); err != nil {
		return err
	}
	for n := uint64(1); ; n++ {
		write := At(run, n)
		if _, err := d.WriteAt(write.Data, write.Off); err != nil {
			return err
		}
		if n%Flush > 0 {
			continue
		}
		if err := d.Sync(); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "flushed %d %d\n", run, n); err != nil {
			return err
		}
	}
}

// Flushed reads a line that Run has written.
func Flushed(line string) (run, n uint64, ok bool) {
	_, err := fmt.Sscanf(line, "flushed %d %d", &run, &n)
	return run, n, err == nil
}
