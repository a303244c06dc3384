package delta

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"satchel/layers"
	"satchel/layers/dir"
	"satchel/layers/ingest"
	"satchel/layers/layerstest"
)

// A disk must give the same tree as its files seen through the kernel, down to
// the chunks.
func TestReadEqualsImport(t *testing.T) {
	path := newDisk(t, 12<<30)
	st := layerstest.NewStore()
	pipeline := func() *ingest.Pipeline { return ingest.New(t.Context(), st, st.Domain()) }
	var want layers.Tree
	fill(t, path, func(upper string) {
		layerstest.Hostile(t, upper, !testing.Short())
		unix.Sync()
		var err error
		want, _, err = dir.Import(t.Context(), upper, pipeline(), dir.Options{})
		must(t, err)
	})
	got, notes, err := Read(t.Context(), path, pipeline())
	must(t, err)
	if len(notes) != 0 {
		t.Errorf("notes %v", notes)
	}
	if len(got) != len(want) {
		t.Errorf("%d entries, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if diff := cmp.Diff(want[i], got[i], cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("entry %d (-import +read):\n%s", i, diff)
		}
	}
}

// What a disk gives must come out again as it went in.
func TestReadAndExport(t *testing.T) {
	path := newDisk(t, 1<<30)
	src, dst := filepath.Join(t.TempDir(), "src"), filepath.Join(t.TempDir(), "dst")
	must(t, os.Mkdir(dst, 0o755))
	must(t, os.Mkdir(src, 0o755))
	needRoot(t)
	layerstest.Hostile(t, src, false)
	fill(t, path, func(upper string) { command(t, "rsync", "-aHAXS", src+"/", upper+"/") })
	st := layerstest.NewStore()
	tree, _, err := Read(t.Context(), path, ingest.New(t.Context(), st, st.Domain()))
	must(t, err)
	notes, err := dir.Export(t.Context(), tree, st, dst, dir.ExportOptions{})
	must(t, err)
	if len(notes) != 0 {
		t.Errorf("notes %v", notes)
	}
	layerstest.SameDirs(t, src, dst)
}
