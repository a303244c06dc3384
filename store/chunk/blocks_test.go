package chunk

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func splitBlocks(t testing.TB, s *Splitter, data []byte) (chunks [][]byte) {
	t.Helper()
	err := s.SplitBlocks(iotest.HalfReader(bytes.NewReader(data)), func(c []byte) error {
		chunks = append(chunks, bytes.Clone(c))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return chunks
}

// blockDomain has small blocks, so that little input is many chunks.
func blockDomain() Domain {
	d := testDomain()
	d.Min, d.Max, d.Block, d.BlockBits = 64, 16<<10, 512, 2
	return d
}

// oneFile returns the blocks of a file as a file system keeps them: the rest of
// the last one is zeros.
func oneFile(r *rand.Rand, block int) []byte {
	n := 1 + r.IntN(40*block)
	b := make([]byte, (n+block-1)/block*block)
	for i := range n {
		b[i] = byte(r.Uint32()) | 1
	}
	if n%block == 0 || n%block > block-blockTail { // too full to end in enough zeros
		b = append(b, make([]byte, block)...)
	}
	return b
}

func TestSplitBlocksJoins(t *testing.T) {
	d := blockDomain()
	s := NewSplitter(d)
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		data := make([]byte, rapid.IntRange(0, 300_000).Draw(rt, "size"))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		chunks := splitBlocks(t, s, data)
		if !bytes.Equal(bytes.Join(chunks, nil), data) {
			rt.Fatal("the chunks do not add up to the stream")
		}
		for i, c := range chunks {
			if len(c) > d.Max || len(c) == 0 || i < len(chunks)-1 && len(c)%d.Block != 0 {
				rt.Fatalf("chunk %d of %d has %d bytes", i, len(chunks), len(c))
			}
		}
	})
}

// TestSplitBlocksGolden pins the cuts, by hash, by the length of a chunk and
// by zeros.
func TestSplitBlocksGolden(t *testing.T) {
	data := slices.Concat(testData(400_000, 7), make([]byte, 9_600), bytes.Repeat([]byte{1}, 600_000))
	var blocks []int
	for _, c := range splitBlocks(t, NewSplitter(testDomain()), data) {
		blocks = append(blocks, (len(c)+4095)/4096)
	}
	want := []int{23, 11, 6, 15, 25, 11, 2, 5, 1, 1, 64, 64, 19}
	if !slices.Equal(blocks, want) {
		t.Errorf("chunks of %v blocks, want %v", blocks, want)
	}
}

// TestSplitBlocksFindsFilesAnywhere lays the same files out in another order,
// with others between them: their chunks are the same ones.
func TestSplitBlocksFindsFilesAnywhere(t *testing.T) {
	d := blockDomain()
	s := NewSplitter(d)
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		files := make([][]byte, 20)
		for i := range files {
			files[i] = oneFile(r, d.Block)
		}
		first := bytes.Join(files, nil)
		r.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		var second []byte
		for _, f := range files {
			second = append(append(second, f...), oneFile(r, d.Block)...)
		}
		have := map[string]bool{}
		for _, c := range splitBlocks(t, s, second) {
			have[string(c)] = true
		}
		for _, c := range splitBlocks(t, s, first) {
			if !have[string(c)] {
				rt.Fatalf("a chunk of %d bytes is not among those of the other image", len(c))
			}
		}
	})
}

// TestSplitBlocksIsLocal changes one block: what lies far from it stays.
func TestSplitBlocksIsLocal(t *testing.T) {
	d := blockDomain()
	s := NewSplitter(d)
	data := testData(1<<20, 9)
	before := map[string]bool{}
	for _, c := range splitBlocks(t, s, data) {
		before[string(c)] = true
	}
	data[500_000]++
	fresh := 0
	for _, c := range splitBlocks(t, s, data) {
		if !before[string(c)] {
			fresh += len(c)
		}
	}
	if fresh == 0 || fresh > 2*d.Max {
		t.Errorf("%d bytes are in new chunks after a change of one", fresh)
	}
}
