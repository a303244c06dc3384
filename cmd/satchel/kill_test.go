package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"satchel/layers/workspace"
	"satchel/store"
	"satchel/store/disk"
)

// satchelCommand is the command line of a satchel process that can be killed.
func satchelCommand(t *testing.T, home string, argv ...string) *exec.Cmd {
	t.Helper()
	exe, err := exec.LookPath("satchel") // put into PATH by testscript.Main
	if err != nil {
		exe = buildSatchel(t)
	}
	return exec.Command(exe, append([]string{"--home", home}, argv...)...)
}

var built string

func buildSatchel(t *testing.T) string {
	t.Helper()
	if built == "" {
		dir, err := os.MkdirTemp("", "satchel-test-*")
		if err != nil {
			t.Fatal(err)
		}
		built = filepath.Join(dir, "satchel")
		if out, err := exec.Command("go", "build", "-o", built, "satchel/cmd/satchel").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return built
}

func satchel(t *testing.T, home string, argv ...string) []byte {
	t.Helper()
	cmd := satchelCommand(t, home, argv...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("satchel %q: %v\n%s%s", argv, err, out, errs.String())
	}
	return out
}

// killAfter starts the command and kills it, unless it has ended by then.
func killAfter(t *testing.T, after time.Duration, home string, argv ...string) (killed bool) {
	t.Helper()
	cmd := satchelCommand(t, home, argv...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { cmd.Process.Kill() }) //nolint:errcheck // it has ended
	err := cmd.Wait()
	return !timer.Stop() || err != nil
}

func headOf(t *testing.T, home, layer string) (store.Head, bool) {
	t.Helper()
	st, err := disk.Open(filepath.Join(home, "store"))
	if err != nil {
		return store.Head{}, false
	}
	defer st.Close()
	head, err := st.Heads().Lookup(t.Context(), layer)
	return head, err == nil
}

// writeTree writes files whose contents follow from the seed.
func writeTree(t *testing.T, dir string, seed uint64, files int) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 1))
	for i := range files {
		name := filepath.Join(dir, fmt.Sprint(i%7), fmt.Sprint(i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		content := make([]byte, rnd.IntN(300_000))
		for j := range content {
			content[j] = byte(rnd.Uint32())
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func sameTree(t *testing.T, a, b string) {
	t.Helper()
	if out, err := exec.Command("diff", "-r", a, b).CombinedOutput(); err != nil {
		t.Errorf("trees differ: %v\n%.2000s", err, out)
	}
}

// TestKilledImport kills an import at 50 random moments. Each time the head is
// the old or the new version, whole, and the store verifies.
func TestKilledImport(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	home, old, changed := t.TempDir(), t.TempDir(), t.TempDir()
	writeTree(t, old, 1, 40)
	writeTree(t, changed, 2, 120)
	satchel(t, home, "layer", "import", "--kind", "data", "notes", old)
	first, _ := headOf(t, home, "notes")

	begun := time.Now()
	satchel(t, t.TempDir(), "layer", "import", "--kind", "data", "notes", changed)
	whole := time.Since(begun)
	kills := 0
	for i := range 50 {
		if killAfter(t, time.Duration(rand.Int64N(int64(whole))), home, "layer", "import", "--kind", "data", "notes", changed) {
			kills++
		}
		satchel(t, home, "store", "verify")
		head, ok := headOf(t, home, "notes")
		if !ok {
			t.Fatalf("after kill %d there is no head", i)
		}
		want := old
		if head.Version != first.Version {
			want = changed
		}
		out := filepath.Join(t.TempDir(), "out")
		satchel(t, home, "layer", "export", "notes", out)
		sameTree(t, want, out)
		if head.Version != first.Version { // begin again from the old state, in part
			satchel(t, home, "layer", "rollback", "notes", first.Version.String())
			first, _ = headOf(t, home, "notes")
			satchel(t, home, "store", "gc")
		}
	}
	t.Logf("killed %d of 50 imports before they ended", kills)
	if kills < 10 {
		t.Errorf("only %d imports were killed in mid-work", kills)
	}
}

// TestKilledCapture kills a capture at 20 random moments. Each time all heads
// are old or all are new, and doing it again captures everything.
func TestKilledCapture(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	if _, err := exec.LookPath("mke2fs"); err != nil {
		t.Skip("mke2fs is not here: apt-get install e2fsprogs")
	}
	base, upper := t.TempDir(), t.TempDir()
	writeTree(t, base, 3, 5)
	writeTree(t, filepath.Join(upper, "upper/home/ana"), 4, 80)
	writeTree(t, filepath.Join(upper, "upper/etc/tool"), 5, 20)
	if err := os.Mkdir(filepath.Join(upper, "work"), 0o755); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "delta.img")
	for _, argv := range [][]string{
		{"mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-O", "^orphan_file", "-d", upper, image, "512M"},
		{"tune2fs", "-C", "1", image}, // as if a guest had mounted it
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", argv, err, out)
		}
	}
	kills := 0
	begun := time.Now()
	captureAll(t, base, upper, image, 0)
	whole := time.Since(begun)
	for range 20 {
		if captureAll(t, base, upper, image, time.Duration(rand.Int64N(int64(whole)))) {
			kills++
		}
	}
	t.Logf("killed %d of 20 captures before they ended", kills)
	if kills < 5 {
		t.Errorf("only %d captures were killed in mid-work", kills)
	}
}

// captureAll lays a home out as after a session, and captures it: killed first
// after that time if it is not zero, and then to the end.
func captureAll(t *testing.T, base, upper, image string, after time.Duration) (killed bool) {
	t.Helper()
	home := t.TempDir()
	satchel(t, home, "layer", "import", "--kind", "os", "base", base)
	satchel(t, home, "workspace", "create", "ana", "--os", "base")
	leaveSession(t, home, image)
	if after > 0 {
		killed = killAfter(t, after, home, "capture", "ana")
		data, _ := headOf(t, home, "ana/data")
		system, _ := headOf(t, home, "ana/system")
		if data.Version.IsZero() != system.Version.IsZero() {
			t.Errorf("after the kill, data is at %v but system at %v", data.Version, system.Version)
		}
		satchel(t, home, "store", "verify")
	}
	satchel(t, home, "capture", "ana", "--json")
	satchel(t, home, "store", "verify")
	out := filepath.Join(t.TempDir(), "out")
	satchel(t, home, "layer", "export", "ana/data", out)
	sameTree(t, filepath.Join(upper, "upper/home/ana"), filepath.Join(out, "home/ana"))
	return killed
}

// leaveSession writes what a session leaves that was cut off: its record and
// its delta disk.
func leaveSession(t *testing.T, home, image string) {
	t.Helper()
	st, err := disk.Open(filepath.Join(home, "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	set := workspace.Open(home)
	def, err := set.Load("ana")
	if err != nil {
		t.Fatal(err)
	}
	rec := workspace.Session{Started: time.Now(), State: workspace.Running, Delta: set.Delta("ana")}
	if rec.Process, err = workspace.Self(); err != nil {
		t.Fatal(err)
	}
	for _, l := range def.Stack() {
		head, err := st.Heads().Head(t.Context(), l.ID)
		if err != nil {
			t.Fatal(err)
		}
		rec.Composed = append(rec.Composed, workspace.Pin{Kind: l.Kind, Layer: l.ID, Name: l.Name, Version: head.Version})
	}
	if err := set.SaveSession("ana", rec); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "--sparse=always", image, rec.Delta).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
