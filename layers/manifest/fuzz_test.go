package manifest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// seed adds the golden vectors.
func seed(f *testing.F) {
	names, err := filepath.Glob("testdata/*.v?")
	if err != nil || len(names) == 0 {
		f.Fatalf("no vectors in testdata: %v", err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

func FuzzVersion(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decodeVersion(b)
		if err != nil {
			return
		}
		again, err := encodeVersion(v)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("encodes to %x, error %v", again, err)
		}
	})
}

func FuzzNode(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decodeNode(b)
		if err != nil {
			return
		}
		if again := encodeNode(t, n); !bytes.Equal(again, b) {
			t.Errorf("encodes to\n%x", again)
		}
	})
}

// encodeNode writes a node as it was, wherever it should have been cut.
func encodeNode(t *testing.T, n *node) []byte {
	w := &nodeWriter{level: n.level}
	for i := range n.records {
		body, err := appendRecord(nil, &n.records[i])
		if err != nil {
			t.Fatal(err)
		}
		w.append(n.records[i].Path, body, 1)
	}
	for _, c := range n.children {
		w.append(c.first, appendChild(nil, c), c.entries)
	}
	return w.encode()
}

func FuzzList(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) <= headerLen {
			return
		}
		level := b[headerLen]
		l, extents, size, err := parseList(b, level)
		if err != nil {
			return
		}
		again := listHeader(level, len(l.extents)+len(l.refs))
		for _, x := range l.extents {
			again = appendExtent(again, x)
		}
		for _, r := range l.refs {
			again = appendListRef(again, r)
		}
		if !bytes.Equal(again, b) {
			t.Errorf("encodes to\n%x", again)
		}
		ref := listRef{extents: extents, bytes: size}
		if _, err := decodeList(b, level, ref); err != nil && extents > 0 {
			t.Errorf("list of %d extents and %d bytes: %v", extents, size, err)
		}
	})
}

func TestMagicIsLostByCuttingIt(t *testing.T) {
	if bytes.ContainsRune([]byte(Magic[1:]), rune(Magic[0])) || len(Magic) < 2 {
		t.Errorf("the first byte of %q occurs in it again", Magic)
	}
}

func TestNodesAreOfUsefulSize(t *testing.T) {
	ends := 0
	var path [4]byte
	for i := range 1 << 16 {
		path[1], path[2] = byte(i), byte(i>>8)
		if endsNode(0, string(path[:])) {
			ends++
		}
	}
	if want := 1 << 16 / (nodeMask + 1); ends < want/2 || ends > want*2 {
		t.Errorf("%d of %d paths end a node, want about %d", ends, 1<<16, want)
	}
}
