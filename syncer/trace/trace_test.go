package trace

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"satchel/store"
	"satchel/syncer"
)

func drawID(t *rapid.T) (id store.ID) {
	copy(id[:], rapid.SliceOfN(rapid.Byte(), len(id), len(id)).Draw(t, "id"))
	return id
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &Trace{Chunks: []store.ID{}}
		for range rapid.IntRange(1, 5).Draw(t, "layers") {
			id := drawID(t)
			want.Stack = append(want.Stack, Layer{store.LayerID(id[:16]), drawID(t)})
		}
		for range rapid.IntRange(0, 20).Draw(t, "chunks") {
			want.Chunks = append(want.Chunks, drawID(t))
		}
		b := want.Encode()
		got, err := Decode(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, %v: want %+v", got, err, want)
		}
		i := rapid.IntRange(0, len(b)-1).Draw(t, "at")
		b[i] ^= 1
		if _, err := Decode(b); err == nil {
			t.Fatalf("byte %d was changed, and nobody noticed", i)
		}
	})
}

// golden is the example of docs/format/trace.md.
func golden() *Trace {
	return &Trace{
		Stack:  []Layer{{store.LayerID{1}, store.ID{2}}},
		Chunks: []store.ID{{3}, {4}},
	}
}

func TestGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/trace.hex")
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	if got := golden().Encode(); !bytes.Equal(got, want) {
		t.Errorf("encoded %x, want %x", got, want)
	}
	if got, err := Decode(want); err != nil || !reflect.DeepEqual(got, golden()) {
		t.Errorf("decoded %+v, %v", got, err)
	}
}

func TestTooMany(t *testing.T) {
	x := golden()
	x.Chunks = make([]store.ID, MaxChunks+1)
	got, err := Decode(x.Encode())
	if err != nil || len(got.Chunks) != MaxChunks {
		t.Errorf("%v: %v", got, err)
	}
	x.Stack = make([]Layer, MaxLayers+1)
	if _, err := Decode(x.Encode()); !errors.Is(err, syncer.ErrMalformed) {
		t.Errorf("too many layers: %v", err)
	}
	b := golden().Encode()
	b[4] = 2
	if _, err := Decode(b); !errors.Is(err, store.ErrNewer) {
		t.Errorf("a newer version: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(golden().Encode())
	f.Add([]byte("SLTR"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Decode(b)
		if err == nil && !bytes.Equal(got.Encode(), b) {
			t.Errorf("%x decodes to %+v, which encodes otherwise", b, got)
		}
	})
}
