package erofs_test

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"satchel/layers/compose"
	"satchel/layers/dir"
	"satchel/layers/erofs"
	"satchel/layers/ingest"
	"satchel/layers/layerstest"
)

// TestHostileTreeComesThrough imports a directory of everything, composes it,
// writes the image to a file and has the kernel mount that: nothing is lost.
func TestHostileTreeComesThrough(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting an image needs root")
	}
	source := t.TempDir()
	layerstest.Hostile(t, source, false)
	ctx, st := context.Background(), layerstest.NewStore()
	tree, notes, err := dir.Import(ctx, source, ingest.New(ctx, st, st.Domain()), dir.Options{})
	if err != nil || len(notes) > 0 {
		t.Fatalf("import: %v %v", err, notes)
	}
	r, err := compose.Compose(ctx, st, []compose.Layer{{Name: "os", Tree: tree}})
	if err != nil {
		t.Fatal(err)
	}
	im, err := erofs.New(r.Tree, r, erofs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	name := writeImage(t, im)
	fsck(t, "--extract", name)
	mount(t, name, func(at string) {
		sameSeen(t, walked(t, source), walked(t, at))
		silentRsync(t, source, at)
	})
}

// silentRsync fails the test when rsync finds a difference.
func silentRsync(t *testing.T, source, at string) {
	t.Helper()
	bin, err := exec.LookPath("rsync")
	if err != nil {
		t.Log("rsync is not installed")
		return
	}
	out, err := exec.Command(bin, "-aHAXS", "--checksum", "--dry-run", "--itemize-changes", "--delete", source+"/", at+"/").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("rsync: %v\n%.4000s", err, out)
	}
}
