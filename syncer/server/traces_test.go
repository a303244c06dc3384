package server

import (
	"errors"
	"os"
	"testing"
	"time"

	"satchel/store"
	"satchel/syncer/trace"
)

func TestTracesAge(t *testing.T) {
	tr, err := openTraces(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	stack := store.ID{1}
	want := func(what string, wanted, there bool) {
		t.Helper()
		_, err := tr.read(stack)
		if tr.wanted(stack) != wanted || there != (err == nil) || err != nil && !errors.Is(err, store.ErrNotExist) {
			t.Errorf("%s: wanted %v, read: %v", what, tr.wanted(stack), err)
		}
	}
	want("at first", true, false)
	first := &trace.Trace{Stack: []trace.Layer{{Layer: store.LayerID{1}, Version: store.ID{2}}}, Chunks: []store.ID{{3}}}
	if err := tr.keep(stack, first); err != nil {
		t.Fatal(err)
	}
	want("a new one", false, true)
	old := time.Now().Add(-traceLife - time.Hour)
	if err := os.Chtimes(tr.path(stack), old, old); err != nil {
		t.Fatal(err)
	}
	want("an old one", true, true)
	if err := os.WriteFile(tr.path(stack), []byte("SLTR"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("a damaged one", true, false)
}
