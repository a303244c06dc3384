package chunk

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// testDomain is fixed, so that its cuts and IDs can be compared with those of
// other versions.
func testDomain() Domain {
	d := Domain{Polynomial: 0x3DA3358B4DC173, Min: defaultMin, Max: defaultMax, AverageBits: defaultAverageBits, Block: defaultBlock, BlockBits: defaultBlockBits}
	copy(d.Key[:], "whats the Elvish word for friend")
	return d
}

// testData returns n bytes that are the same each time.
func testData(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func split(t testing.TB, s *Splitter, data []byte) [][]byte {
	t.Helper()
	var chunks [][]byte
	err := s.Split(bytes.NewReader(data), func(c []byte) error {
		chunks = append(chunks, bytes.Clone(c))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return chunks
}

// TestIDVectors compares with the keyed_hash vectors that the BLAKE3 authors
// publish, whose key is that of testDomain.
func TestIDVectors(t *testing.T) {
	for input, want := range map[string]string{
		"":     "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26",
		"\x00": "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b",
	} {
		if got := testDomain().ID([]byte(input)).String(); got != want {
			t.Errorf("ID(%q) = %s, want %s", input, got, want)
		}
	}
}

func TestIDDependsOnKey(t *testing.T) {
	a, b := testDomain(), testDomain()
	b.Key[0]++
	data := []byte("the same bytes")
	if a.ID(data) == b.ID(data) {
		t.Error("two keys give the same ID")
	}
	if first := a.ID(data); first != a.ID(bytes.Clone(data)) {
		t.Error("one key gives two IDs")
	}
}

func TestSplitJoins(t *testing.T) {
	s := NewSplitter(testDomain()) // one for all: it must forget the stream before
	for _, n := range []int{0, 1, 63, 64, 65, defaultMin - 1, defaultMin, defaultMin + 1, 200_000, defaultMax, 3_000_000} {
		data := testData(n, uint64(n))
		chunks := split(t, s, data)
		if !bytes.Equal(bytes.Join(chunks, nil), data) {
			t.Errorf("%d bytes: the chunks do not add up to the stream", n)
		}
		for i, c := range chunks {
			if len(c) > defaultMax || len(c) < defaultMin && i < len(chunks)-1 || len(c) == 0 {
				t.Errorf("%d bytes: chunk %d of %d has %d bytes", n, i, len(chunks), len(c))
			}
		}
		if again := split(t, NewSplitter(testDomain()), data); len(again) != len(chunks) {
			t.Errorf("%d bytes: a new splitter makes %d chunks, a used one %d", n, len(again), len(chunks))
		}
	}
}

// TestSplitGolden pins the cuts: if they move, nothing dedups against what is
// stored already. The first sizes are those of new domains, the second those
// of domains made before.
func TestSplitGolden(t *testing.T) {
	now, before := testDomain(), testDomain()
	before.Min, before.Max, before.AverageBits = 32<<10, 256<<10, 15
	for _, c := range []struct {
		domain Domain
		want   []int
	}{
		{now, []int{76548, 69316, 58690, 57498, 62066, 52897, 70470, 63331, 53704, 35480}},
		{before, []int{76548, 69316, 73361, 49015, 33248, 111229, 39632, 58467, 32926, 56258}},
	} {
		var lens []int
		for _, c := range split(t, NewSplitter(c.domain), testData(600_000, 7)) {
			lens = append(lens, len(c))
		}
		if !slices.Equal(lens, c.want) {
			t.Errorf("least %d bytes: chunks of %v bytes, want %v", c.domain.Min, lens, c.want)
		}
	}
}

func TestSplitAverage(t *testing.T) {
	const n = 16 << 20
	chunks := split(t, NewSplitter(testDomain()), testData(n, 8))
	if avg := n / len(chunks); avg < 48<<10 || avg > 80<<10 {
		t.Errorf("%d chunks of %d bytes on average: want about 64 KiB", len(chunks), avg)
	}
}

// TestSplitIsLocal inserts bytes near the start: most chunks stay.
func TestSplitIsLocal(t *testing.T) {
	data := testData(4<<20, 9)
	changed := bytes.Join([][]byte{data[:100_000], []byte("inserted"), data[100_000:]}, nil)
	before := map[string]bool{}
	for _, c := range split(t, NewSplitter(testDomain()), data) {
		before[string(c)] = true
	}
	chunks := split(t, NewSplitter(testDomain()), changed)
	fresh := 0
	for _, c := range chunks {
		if !before[string(c)] {
			fresh++
		}
	}
	if fresh > 3 {
		t.Errorf("%d of %d chunks changed after one insertion: want at most 3", fresh, len(chunks))
	}
}

func TestSplitOddReaders(t *testing.T) {
	data := testData(500_000, 10)
	want := len(split(t, NewSplitter(testDomain()), data))
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"one byte": iotest.OneByteReader, "half": iotest.HalfReader, "end with data": iotest.DataErrReader,
	} {
		n := 0
		err := NewSplitter(testDomain()).Split(wrap(bytes.NewReader(data)), func([]byte) error { n++; return nil })
		if err != nil || n != want {
			t.Errorf("%s: %d chunks, %v: want %d", name, n, err, want)
		}
	}
}

func TestSplitErrors(t *testing.T) {
	broken := errors.New("broken")
	s := NewSplitter(testDomain())
	data := testData(1<<20, 11)
	n := 0
	if err := s.Split(bytes.NewReader(data), func([]byte) error { n++; return broken }); !errors.Is(err, broken) || n != 1 {
		t.Errorf("emit fails: %v after %d chunks, want %v after 1", err, n, broken)
	}
	if err := s.Split(iotest.ErrReader(broken), func([]byte) error { return nil }); !errors.Is(err, broken) {
		t.Errorf("read fails: %v, want %v", err, broken)
	}
	late := iotest.TimeoutReader(bytes.NewReader(data)) // fails at the second read
	if err := s.Split(late, func([]byte) error { return nil }); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("second read fails: %v, want %v", err, iotest.ErrTimeout)
	}
	if got, want := len(split(t, s, data)), len(split(t, NewSplitter(testDomain()), data)); got != want {
		t.Errorf("after errors the splitter makes %d chunks, a new one %d", got, want)
	}
}

func TestNewDomain(t *testing.T) {
	a, err := NewDomain()
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewDomain()
	if err != nil {
		t.Fatal(err)
	}
	if a.Key == b.Key || a.Polynomial == b.Polynomial {
		t.Error("two domains share their secrets")
	}
	if err := a.Check(); err != nil {
		t.Error(err)
	}
}

func TestDomainJSON(t *testing.T) {
	want := testDomain()
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Domain
	if err := json.Unmarshal(b, &got); err != nil || got != want {
		t.Errorf("%s reads as %+v, %v", b, got, err)
	}
}

func TestDomainRefusesBadJSON(t *testing.T) {
	good, err := json.Marshal(testDomain())
	if err != nil {
		t.Fatal(err)
	}
	for what, edit := range map[string][2]string{
		"short key":            {`"77`, `"`},
		"key of other letters": {`"77`, `"xx`},
		"empty key":            {`"key":"776861747320746865`, `"key":"`},
		"no polynomial":        {`3da3358b4dc173`, ``},
		"reducible polynomial": {`3da3358b4dc173`, `3da3358b4dc172`},
		"low polynomial":       {`3da3358b4dc173`, `3`},
		"min above max":        {`"min":49152`, `"min":1000000`},
		"min below window":     {`"min":49152`, `"min":10`},
		"max above a chunk":    {`"max":262144`, `"max":5000000`},
		"no average":           {`"average_bits":14`, `"average_bits":0`},
		"small blocks":         {`"block":4096`, `"block":256`},
		"odd blocks":           {`"block":4096`, `"block":5000`},
		"blocks above max":     {`"block":4096`, `"block":524288`},
		"no block bits":        {`"block_bits":4`, `"block_bits":0`},
		"bits without blocks":  {`"block":4096`, `"block":0`},
		"not a number":         {`"min":49152`, `"min":"x"`},
	} {
		text := strings.Replace(string(good), edit[0], edit[1], 1)
		if text == string(good) {
			t.Fatalf("%s: the edit changes nothing", what)
		}
		var d Domain
		if err := json.Unmarshal([]byte(text), &d); err == nil {
			t.Errorf("%s: %s is taken", what, text)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte("short"), uint16(0))
	f.Add(testData(5000, 1), uint16(3))
	d := testDomain()
	d.Min, d.Max, d.AverageBits = 64, 1024, 6 // so that little input is many chunks
	f.Fuzz(func(t *testing.T, data []byte, cut uint16) {
		s := NewSplitter(d)
		if n := int(cut) % (len(data) + 1); n > 0 {
			split(t, s, data[:n])
		}
		if got := bytes.Join(split(t, s, data), nil); !bytes.Equal(got, data) {
			t.Errorf("%d bytes in, %d bytes out", len(data), len(got))
		}
	})
}
