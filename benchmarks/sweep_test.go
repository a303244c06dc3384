package benchmarks

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"satchel/store"
	"satchel/store/chunk"
	"satchel/store/pack"
)

// A sweep counts what cutting files one way, and packing their chunks one way,
// would store.
type sweep struct {
	domain chunk.Domain
	split  func(io.Reader, func([]byte) error) error
	target int // plaintext bytes of a frame that compresses
	seen   map[store.ID]struct{}
	rest   [2][]byte // of frames, by whether their chunks are dense
	lens   [2][]int
	out    []byte
	stored int64 // bytes of frames and directories
	raw    int64 // plaintext bytes of different chunks
}

// add cuts a file, or the files of a tree.
func (s *sweep) add(root string) error {
	return filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		return s.split(f, s.chunk)
	})
}

func (s *sweep) chunk(c []byte) error {
	id := s.domain.ID(c)
	if _, ok := s.seen[id]; ok {
		return nil
	}
	s.seen[id] = struct{}{}
	s.raw += int64(len(c))
	sort, target := 0, s.target
	if pack.Dense(c) {
		sort, target = 1, min(s.target, pack.DenseTarget)
	}
	s.rest[sort], s.lens[sort] = append(s.rest[sort], c...), append(s.lens[sort], len(c))
	if len(s.rest[sort]) >= target || len(s.lens[sort]) == pack.MaxFrameChunks {
		s.flush(sort)
	}
	return nil
}

func (s *sweep) flush(sort int) {
	if len(s.lens[sort]) == 0 {
		return
	}
	frame := pack.AppendFrame
	if sort == 1 {
		frame = pack.AppendRawFrame
	}
	s.out = frame(s.out[:0], s.rest[sort], s.lens[sort])
	s.stored += int64(len(s.out) + 12 + 36*len(s.lens[sort]))
	s.rest[sort], s.lens[sort] = s.rest[sort][:0], s.lens[sort][:0]
}

// BenchmarkSweep cuts and packs the trees and images that $SATCHEL_SWEEP
// names, separated by colons, in many ways. Once round is enough:
//
//	SATCHEL_SWEEP=TREE go test -run '^$' -bench Sweep -benchtime 1x ./benchmarks
//
// docs/chunking.md says what came of it.
func BenchmarkSweep(b *testing.B) {
	inputs := filepath.SplitList(os.Getenv("SATCHEL_SWEEP"))
	if len(inputs) == 0 {
		b.Skip("SATCHEL_SWEEP names no trees or images")
	}
	for _, frame := range []int{128, 256, 512, 1024} {
		b.Run(fmt.Sprintf("frame=%dKiB", frame), func(b *testing.B) { measureSweep(b, inputs, frame, false, nil) })
	}
	for _, cut := range []struct{ least, bits int }{{8, 13}, {16, 14}, {32, 15}, {64, 16}} {
		b.Run(fmt.Sprintf("min=%dKiB/bits=%d", cut.least, cut.bits), func(b *testing.B) {
			measureSweep(b, inputs, 512, false, func(d *chunk.Domain) { d.Min, d.AverageBits = cut.least<<10, cut.bits })
		})
	}
	for bits := 2; bits <= 5; bits++ {
		b.Run(fmt.Sprintf("blocks/bits=%d", bits), func(b *testing.B) {
			measureSweep(b, inputs, 512, true, func(d *chunk.Domain) { d.BlockBits = bits })
		})
	}
}

func measureSweep(b *testing.B, inputs []string, frame int, blocks bool, change func(*chunk.Domain)) {
	d, err := chunk.NewDomain()
	if err != nil {
		b.Fatal(err)
	}
	if change != nil {
		change(&d)
	}
	splitter := chunk.NewSplitter(d)
	for b.Loop() {
		s := &sweep{domain: d, split: splitter.Split, target: frame << 10, seen: map[store.ID]struct{}{}}
		if blocks {
			s.split = splitter.SplitBlocks
		}
		for _, name := range inputs {
			if err := s.add(name); err != nil {
				b.Fatal(err)
			}
		}
		s.flush(0)
		s.flush(1)
		b.ReportMetric(float64(len(s.seen)), "chunks")
		b.ReportMetric(float64(s.raw)/1e6, "plain-MB")
		b.ReportMetric(float64(s.stored)/1e6, "packs-MB")
	}
}
