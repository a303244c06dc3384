package overlay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"satchel/store"
)

var errPower = errors.New("the power is off")

// A power is what two files hang on: it fails after so many of their operations.
type power struct {
	mu   sync.Mutex
	left int
	rand *rand.Rand
}

// use is called with each operation, and holds the lock meanwhile.
func (p *power) use(do func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left--; p.left < 0 {
		return errPower
	}
	do()
	return nil
}

// A crashFile remembers, of each page, all that it held since the last sync.
type crashFile struct {
	power *power
	tear  int // bytes that reach the disk together
	now   []byte
	past  map[int64][][]byte
}

func newCrashFile(p *power, size int64, tear int) *crashFile {
	return &crashFile{power: p, tear: tear, now: make([]byte, size), past: map[int64][][]byte{}}
}

func (f *crashFile) ReadAt(b []byte, off int64) (n int, err error) {
	f.power.mu.Lock()
	defer f.power.mu.Unlock()
	return bytes.NewReader(f.now).ReadAt(b, off)
}

func (f *crashFile) WriteAt(b []byte, off int64) (int, error) {
	return len(b), f.power.use(func() {
		for at := off / int64(f.tear); at*int64(f.tear) < off+int64(len(b)); at++ {
			f.past[at] = append(f.past[at], slices.Clone(f.piece(at)))
		}
		copy(f.now[off:], b)
	})
}

func (f *crashFile) piece(at int64) []byte {
	return f.now[at*int64(f.tear) : min((at+1)*int64(f.tear), int64(len(f.now)))]
}

func (f *crashFile) Punch(off, n int64) error {
	_, err := f.WriteAt(make([]byte, n), off)
	return err
}

func (f *crashFile) Datasync() error {
	err := f.power.use(func() { clear(f.past) })
	time.Sleep(50 * time.Microsecond) // in which others write
	return err
}

func (f *crashFile) NextData(off int64) (int64, error) { return off, nil }
func (f *crashFile) Close() error                      { return nil }

// crash leaves in each piece what it held at some time since the last sync, and
// switches the power on again.
func (f *crashFile) crash() {
	var all []int64
	for at := range f.past {
		all = append(all, at)
	}
	slices.Sort(all)
	for _, at := range all {
		if i := f.power.rand.IntN(len(f.past[at]) + 1); i < len(f.past[at]) {
			copy(f.piece(at), f.past[at][i])
		}
	}
	clear(f.past)
}

// pattern is a disk whose every sector says where it is; some are zeros.
type pattern struct{ size int64 }

func (p pattern) Size() int64 { return p.size }

func (p pattern) hole(off int64) bool { return off/BlockSize%5 == 3 }

func (p pattern) Run(off int64) (int64, bool) {
	end := min((off/BlockSize+1)*BlockSize, p.size)
	return end - off, p.hole(off)
}

func (p pattern) ReadAt(b []byte, off int64) (int, error) {
	for i := range b {
		at := off + int64(i)
		if at >= p.size {
			return i, io.EOF
		}
		if b[i] = 0; !p.hole(at) {
			b[i] = byte(at/512) | 1
		}
	}
	return len(b), nil
}

const sector = 512

// A writer writes to its own part of a disk and knows what each sector may hold
// after a crash: what it held at the last flush, and all since then.
type writer struct {
	rand     *rand.Rand
	from, to int64 // sectors
	may      map[int64][][]byte
	seq      uint64
}

func (w *writer) content() []byte {
	b := make([]byte, sector)
	w.seq++
	for i := 0; i < sector; i += 16 {
		binary.LittleEndian.PutUint64(b[i:], w.seq)
		binary.LittleEndian.PutUint64(b[i+8:], uint64(w.from)<<32|uint64(i))
	}
	return b
}

// step does one thing to the disk.
func (w *writer) step(d *Disk) error {
	n := 1 + w.rand.Int64N(40)
	at := w.from + w.rand.Int64N(w.to-w.from)
	n = min(n, w.to-at)
	switch w.rand.IntN(10) {
	case 0, 1:
		if err := d.Flush(); err != nil {
			return err
		}
		for s, values := range w.may {
			w.may[s] = values[len(values)-1:]
		}
		return nil
	case 2:
		for s := at; s < at+n; s++ {
			w.may[s] = append(w.may[s], make([]byte, sector))
		}
		return d.Zero(at*sector, n*sector, true)
	case 3:
		whole := (at + n) / 8 * 8
		if at+n == d.Size()/sector {
			whole = at + n
		}
		for s := (at + 7) / 8 * 8; s < whole; s++ {
			w.may[s] = append(w.may[s], make([]byte, sector))
		}
		return d.Trim(at*sector, n*sector)
	default:
		var b []byte
		for s := at; s < at+n; s++ {
			c := w.content()
			w.may[s] = append(w.may[s], c)
			b = append(b, c...)
		}
		_, err := d.WriteAt(b, at*sector)
		return err
	}
}

// check reads all sectors back.
func (w *writer) check(d *Disk) error {
	b := make([]byte, sector)
	for s := w.from; s < w.to; s++ {
		if _, err := d.ReadAt(b, s*sector); err != nil {
			return err
		}
		if !slices.ContainsFunc(w.may[s], func(v []byte) bool { return bytes.Equal(v, b) }) {
			return fmt.Errorf("sector %d of %d to %d holds %x, which is none of the %d it may hold", s, w.from, w.to, b[:16], len(w.may[s]))
		}
		w.may[s] = [][]byte{slices.Clone(b)} // from now on
	}
	return nil
}

func newWriter(seed uint64, from, to int64, lower Lower) *writer {
	w := &writer{rand: rand.New(rand.NewPCG(seed, uint64(from))), from: from, to: to, may: map[int64][][]byte{}}
	for s := from; s < to; s++ {
		b := make([]byte, sector)
		if _, err := lower.ReadAt(b, s*sector); err != nil {
			panic(err)
		}
		w.may[s] = [][]byte{b}
	}
	return w
}

// TestPowerCuts cuts the power at random: whatever the guest had flushed reads
// back, and all else is old or new. The same disk goes through many cuts.
func TestPowerCuts(t *testing.T) {
	for _, writers := range []int{1, 4} {
		for seed := range uint64(15) {
			t.Run(fmt.Sprint(writers, "/", seed), func(t *testing.T) { cutPower(t, seed, writers) })
		}
	}
}

func cutPower(t *testing.T, seed uint64, writers int) {
	const blocks = 1000
	lower := pattern{blocks*BlockSize + 3*sector}
	on := store.ID{byte(seed)}
	p := &power{rand: rand.New(rand.NewPCG(seed, 99)), left: 1 << 30}
	data := newCrashFile(p, lower.size, BlockSize)
	mapped := newCrashFile(p, mapSize(lower.size), 1) // torn anywhere
	copy(mapped.now, encodeHeader(Base{on, lower.size}))
	var all []*writer
	for i := range writers {
		sectors := lower.size / sector
		all = append(all, newWriter(seed, sectors*int64(i)/int64(writers)/8*8, sectors*int64(i+1)/int64(writers)/8*8, lower))
	}
	all[writers-1].to = lower.size / sector
	all[writers-1] = newWriter(seed, all[writers-1].from, all[writers-1].to, lower)
	for cut := range 10 {
		p.left = 1 + p.rand.IntN(120)
		d, err := open(data, mapped, int64(len(mapped.now)), lower, on)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for _, w := range all {
			wg.Go(func() {
				for {
					if err := w.step(d); err != nil {
						if !errors.Is(err, errPower) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		wg.Wait()
		data.crash()
		mapped.crash()
		p.left = 1 << 30
		if d, err = open(data, mapped, int64(len(mapped.now)), lower, on); err != nil {
			t.Fatal(err)
		}
		for _, w := range all {
			if err := w.check(d); err != nil {
				t.Fatalf("cut %d: %v", cut, err)
			}
		}
	}
}
