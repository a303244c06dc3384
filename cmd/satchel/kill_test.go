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
// [testscript.Main] has put this very build into PATH.
func satchelCommand(home string, argv ...string) *exec.Cmd {
	return exec.Command("satchel", append([]string{"--home", home}, argv...)...)
}

func satchel(t testing.TB, home string, argv ...string) []byte {
	t.Helper()
	cmd := satchelCommand(home, argv...)
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
	cmd := satchelCommand(home, argv...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
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
	t.Parallel()
	home, old, changed := t.TempDir(), t.TempDir(), t.TempDir()
	writeTree(t, old, 1, 40)
	writeTree(t, changed, 2, 120)
	satchel(t, home, "layer", "import", "--kind", "data", "notes", old)
	first, _ := headOf(t, home, "notes")

	begun := time.Now()
	satchel(t, t.TempDir(), "layer", "import", "--kind", "data", "notes", changed)
	moment := moments{whole: time.Since(begun)}
	for i := range 50 {
		moment.tried(killAfter(t, moment.next(), home, "layer", "import", "--kind", "data", "notes", changed))
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
	moment.enough(t, 10)
}

// moments are random ones within the time that some work takes, which differs
// with what else the machine does and is found out on the way.
type moments struct {
	whole, last  time.Duration
	tries, kills int
}

func (m *moments) next() time.Duration {
	m.last = time.Duration(rand.Int64N(int64(m.whole)))
	return m.last
}

// tried notes whether the work was killed before it ended.
func (m *moments) tried(killed bool) {
	m.tries++
	if killed {
		m.kills++
		m.whole += m.whole / 10
	} else {
		m.whole = max(m.last, time.Millisecond)
	}
}

func (m *moments) enough(t *testing.T, least int) {
	t.Helper()
	t.Logf("killed %d of %d before they ended", m.kills, m.tries)
	if m.kills < least {
		t.Errorf("only %d of %d were killed in mid-work", m.kills, m.tries)
	}
}

// TestKilledCapture kills a capture at 20 random moments. Each time all heads
// are old or all are new, and doing it again captures everything.
func TestKilledCapture(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
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
	prepared := t.TempDir()
	satchel(t, prepared, "layer", "import", "--kind", "os", "base", base)
	satchel(t, prepared, "workspace", "create", "ana", "--os", "base")
	c := capturing{prepared, image, filepath.Join(upper, "upper/home/ana")}
	moment := moments{whole: c.capture(t)}
	for range 20 {
		moment.tried(c.killedCapture(t, moment.next()))
	}
	moment.enough(t, 5)
}

// capturing is what captures are made of in a test: a home with the workspace
// ana, her delta disk, and what is in her home directory there.
type capturing struct{ prepared, image, files string }

// home returns a new home as a session leaves it that was cut off.
func (c *capturing) home(t *testing.T) string {
	t.Helper()
	home := filepath.Join(t.TempDir(), "home")
	if out, err := exec.Command("cp", "-r", c.prepared, home).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	leaveSession(t, home, c.image)
	return home
}

// capture returns how long it takes.
func (c *capturing) capture(t *testing.T) time.Duration {
	t.Helper()
	home := c.home(t)
	begun := time.Now()
	satchel(t, home, "capture", "ana")
	return time.Since(begun)
}

// killedCapture kills a capture after some time and then does it again.
func (c *capturing) killedCapture(t *testing.T, after time.Duration) (killed bool) {
	t.Helper()
	home := c.home(t)
	killed = killAfter(t, after, home, "capture", "ana")
	data, _ := headOf(t, home, "ana/data")
	system, _ := headOf(t, home, "ana/system")
	if data.Version.IsZero() != system.Version.IsZero() {
		t.Errorf("after the kill, data is at %v but system at %v", data.Version, system.Version)
	}
	satchel(t, home, "store", "verify")
	satchel(t, home, "capture", "ana", "--json")
	satchel(t, home, "store", "verify")
	again, _ := headOf(t, home, "ana/data")
	if !data.Version.IsZero() && again.Version != data.Version {
		t.Errorf("capturing again made version %v of %v", again.Version, data.Version)
	}
	out := filepath.Join(t.TempDir(), "out")
	satchel(t, home, "layer", "export", "ana/data", out)
	sameTree(t, c.files, filepath.Join(out, "home/ana"))
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
