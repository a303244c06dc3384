package benchmarks

import (
	"bytes"
	"crypto/sha256"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"satchel/store/delta"
)

// BenchmarkDelta codes every file that changed between two trees, in the
// directories SATCHEL_DELTA_OLD and SATCHEL_DELTA_NEW, as deltas, and decodes
// them. It logs bytes and seconds of processor time for each class of files.
// SATCHEL_DELTA_CLASSES, if set, lists the classes to do.
func BenchmarkDelta(b *testing.B) {
	before, after := os.Getenv("SATCHEL_DELTA_OLD"), os.Getenv("SATCHEL_DELTA_NEW")
	if before == "" || after == "" {
		b.Skip("SATCHEL_DELTA_OLD and SATCHEL_DELTA_NEW are not set")
	}
	runtime.LockOSThread() // processor time is counted by thread
	defer runtime.UnlockOSThread()
	jobs := deltaJobs(b, before, after)
	for b.Loop() {
		sums := map[string]*deltaSum{"total": {}}
		for _, j := range jobs {
			c := j.class()
			if only := os.Getenv("SATCHEL_DELTA_CLASSES"); only != "" && !slices.Contains(strings.Fields(only), c) {
				continue
			}
			if sums[c] == nil {
				sums[c] = new(deltaSum)
			}
			s := j.run(b, before, after)
			sums[c].add(s)
			sums["total"].add(s)
		}
		for _, c := range slices.Sorted(maps.Keys(sums)) {
			s := sums[c]
			b.Logf("%-7s %6d deltas %10d -> %9d bytes, encode %6.2f s, decode %6.2f s",
				c, s.deltas, s.in, s.out, s.encode.Seconds(), s.decode.Seconds())
		}
		b.ReportMetric(float64(sums["total"].out), "delta-bytes/op")
	}
}

// A deltaJob is a changed file, and the one it is likely made from, if any.
type deltaJob struct{ path, base string }

// A deltaSum adds up what deltas cost.
type deltaSum struct {
	deltas, in, out int
	encode, decode  time.Duration
}

func (s *deltaSum) add(t deltaSum) {
	s.deltas += t.deltas
	s.in += t.in
	s.out += t.out
	s.encode += t.encode
	s.decode += t.decode
}

var sharedObject = regexp.MustCompile(`\.so(\.|$)`)

func (j deltaJob) class() string {
	switch {
	case strings.Contains(j.path, "libxul"):
		return "libxul"
	case strings.HasPrefix(j.path, "boot/"):
		return "boot"
	case strings.HasSuffix(j.path, ".ja"), strings.HasSuffix(j.path, ".ko"), strings.HasSuffix(j.path, ".gz"):
		return filepath.Ext(j.path)
	case sharedObject.MatchString(j.path):
		return ".so"
	}
	return "rest"
}

// run codes a file in runs of 8 MiB, each with up to 16 MiB of the old file at
// the same relative place as its base.
func (j deltaJob) run(b *testing.B, before, after string) (sum deltaSum) {
	var old []byte
	if j.base != "" {
		old = readFile(b, filepath.Join(before, j.base))
	}
	data := readFile(b, filepath.Join(after, j.path))
	for at := 0; at < len(data); at += delta.MaxTarget {
		target := delta.Span{Data: data[at:min(at+delta.MaxTarget, len(data))], Offset: int64(at)}
		base := delta.Span{Data: old}
		if len(old) > delta.MaxBase {
			middle := (at + len(target.Data)/2) * len(old) / len(data)
			from := min(max(middle-delta.MaxBase/2, 0), len(old)-delta.MaxBase)
			base = delta.Span{Data: old[from : from+delta.MaxBase], Offset: int64(from)}
		}
		start := threadTime()
		d := delta.Encode(nil, base, target)
		encoded := threadTime()
		got, err := delta.Decode(nil, base, target.Offset, len(target.Data), d)
		decoded := threadTime()
		if err != nil || !bytes.Equal(got, target.Data) {
			b.Fatalf("%s at %d: wrong bytes or error: %v", j.path, at, err)
		}
		sum.add(deltaSum{1, len(target.Data), len(d), encoded - start, decoded - encoded})
	}
	return sum
}

func threadTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		panic(err) // the arguments are right
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// deltaJobs lists the files of one tree whose content the other does not have.
// Each is paired with the other's file of that path, else with one whose path
// differs in digits alone.
func deltaJobs(b *testing.B, before, after string) (jobs []deltaJob) {
	digits := regexp.MustCompile(`\d+`)
	loose := func(path string) string { return digits.ReplaceAllString(path, "#") }
	held := map[[32]byte]bool{}
	byPath, byLoose := map[string]bool{}, map[string]string{}
	for _, path := range regularFiles(b, before) {
		held[sha256.Sum256(readFile(b, filepath.Join(before, path)))] = true
		byPath[path] = true
		byLoose[loose(path)] = path
	}
	for _, path := range regularFiles(b, after) {
		sum := sha256.Sum256(readFile(b, filepath.Join(after, path)))
		if held[sum] {
			continue
		}
		held[sum] = true // a further link or copy is no change
		j := deltaJob{path, path}
		if !byPath[path] {
			j.base = byLoose[loose(path)]
		}
		jobs = append(jobs, j)
	}
	return jobs
}

func readFile(b *testing.B, name string) []byte {
	data, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	return data
}

func regularFiles(b *testing.B, root string) (paths []string) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		paths = append(paths, rel)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return paths
}
