package mount

import (
	"testing"

	"satchel/layers/dir"
	"satchel/layers/ingest"
	"satchel/layers/layerstest"
)

func TestMountEqualsSource(t *testing.T) {
	needFUSE(t)
	src := t.TempDir()
	layerstest.Hostile(t, src, false)
	st := layerstest.NewStore()
	tree, _, err := dir.Import(t.Context(), src, ingest.New(t.Context(), st, st.Domain()), dir.Options{})
	must(t, err)
	layerstest.SameDirs(t, src, mounted(t, tree, st))
}
