package overlay

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"satchel/store"
)

const (
	killBlocks = 3000
	killFlush  = 7 // writes from one flush to the next
)

// killWrite is the n-th write of a process that is going to be killed.
func killWrite(seed, n uint64) (off int64, b []byte) {
	r := rand.New(rand.NewPCG(seed, n))
	off = r.Int64N(killBlocks*8-16) * sector
	b = make([]byte, (1+r.IntN(16))*sector)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], seed<<32|n)
	}
	return off, b
}

// TestMain is, when asked for it, the process that TestKill kills.
func TestMain(m *testing.M) {
	file := os.Getenv("SATCHEL_TEST_OVERLAY")
	if file == "" {
		os.Exit(m.Run())
	}
	seed, _ := strconv.ParseUint(os.Getenv("SATCHEL_TEST_SEED"), 10, 32)
	d, err := Open(file, pattern{killBlocks * BlockSize}, store.ID{3})
	for n := uint64(1); err == nil; n++ {
		off, b := killWrite(seed, n)
		if _, err = d.WriteAt(b, off); err == nil && n%killFlush == 0 {
			if err = d.Flush(); err == nil {
				fmt.Println(n)
			}
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

// TestKill kills a process in the middle of its writes, again and again:
// whatever it had flushed reads back.
func TestKill(t *testing.T) {
	lower := pattern{killBlocks * BlockSize}
	file := filepath.Join(t.TempDir(), "disk")
	if err := Create(file, Base{store.ID{3}, lower.size}); err != nil {
		t.Fatal(err)
	}
	may := map[int64][][]byte{} // by sector, the newest last
	for s := int64(0); s < lower.size/sector; s++ {
		b := make([]byte, sector)
		if _, err := lower.ReadAt(b, s*sector); err != nil {
			t.Fatal(err)
		}
		may[s] = [][]byte{b}
	}
	r := rand.New(rand.NewPCG(1, 1))
	for seed := uint64(1); seed <= 50; seed++ {
		flushed := killed(t, file, seed, r.IntN(40), time.Duration(r.IntN(2000))*time.Microsecond)
		for n := uint64(1); n <= flushed+10*killFlush; n++ {
			off, b := killWrite(seed, n)
			for i := 0; i < len(b); i += sector {
				s := (off + int64(i)) / sector
				if n <= flushed {
					may[s] = may[s][:0]
				}
				may[s] = append(may[s], b[i:i+sector])
			}
		}
		d, err := Open(file, lower, store.ID{3})
		if err != nil {
			t.Fatal(err)
		}
		for s, values := range may {
			b := make([]byte, sector)
			if _, err := d.ReadAt(b, s*sector); err != nil {
				t.Fatal(err)
			}
			ok := false
			for _, v := range values {
				ok = ok || bytes.Equal(b, v)
			}
			if !ok {
				t.Fatalf("kill %d, behind write %d: sector %d holds %x", seed, flushed, s, b[:16])
			}
			may[s] = [][]byte{b}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killed runs the process until it has flushed so many times and a while more,
// kills it, and returns its last write that it said was flushed.
func killed(t *testing.T, file string, seed uint64, flushes int, more time.Duration) (flushed uint64) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "SATCHEL_TEST_OVERLAY="+file, fmt.Sprint("SATCHEL_TEST_SEED=", seed))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		if flushed, err = strconv.ParseUint(strings.TrimSpace(lines.Text()), 10, 64); err != nil {
			t.Error(lines.Text())
		}
		if n == flushes {
			time.AfterFunc(more, func() { cmd.Process.Kill() }) //nolint:errcheck // it is waited for
		}
	}
	cmd.Wait() //nolint:errcheck // it was killed
	return flushed
}
