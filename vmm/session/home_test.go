package session

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/dir"
	"satchel/layers/ingest"
	"satchel/layers/repo"
	"satchel/layers/treefs"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/store/disk"
)

// A house is a home for tests that run no guest. It has the workspace ana on a
// small os layer.
type house struct {
	*Host
	t *testing.T
}

func newHouse(t *testing.T) *house {
	t.Helper()
	return newHouseAt(t, filepath.Join(t.TempDir(), "home"))
}

func newHouseAt(t *testing.T, home string) *house {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	h := &house{t: t}
	h.open(home)
	def := workspace.Definition{Name: "ana"}
	for name, l := range map[string]*workspace.Layer{"os": &def.OS, "p": &def.Personal, "s": &def.System, "l": &def.Local, "d": &def.Data} {
		head, err := h.Repo.Create(t.Context(), name)
		must(t, err)
		*l = workspace.Layer{ID: head.Layer, Name: name}
	}
	h.commit("os", layers.OS, map[string]string{"etc/hostname": "debian\n", "home/README": "homes\n"})
	must(t, h.Workspaces.Create(def))
	return h
}

// open opens the home, or makes it.
func (h *house) open(home string) {
	h.t.Helper()
	must(h.t, os.MkdirAll(home, 0o700))
	st, err := disk.Open(filepath.Join(home, "store"))
	if err != nil {
		st, err = disk.Create(filepath.Join(home, "store"))
	}
	must(h.t, err)
	h.t.Cleanup(func() { st.Close() })
	h.Host = &Host{Home: home, Store: st, Repo: repo.New(st, "test"), Workspaces: workspace.Open(home)}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lay writes files below a directory, all of the same age.
func lay(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		file := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, os.WriteFile(file, []byte(content), 0o644))
		must(t, os.Chtimes(file, time.Time{}, time.Unix(1_750_000_000, 0)))
	}
}

// commit makes a version of a layer that holds just the files.
func (h *house) commit(layer string, kind layers.Kind, files map[string]string) store.ID {
	h.t.Helper()
	ctx := h.t.Context()
	root := h.t.TempDir()
	lay(h.t, root, files)
	w, err := h.Store.Begin(ctx, "test")
	must(h.t, err)
	defer w.Close()
	pl := ingest.New(ctx, w, h.Store.Domain())
	tree, _, err := dir.Import(ctx, root, pl, dir.Options{})
	must(h.t, errors.Join(err, pl.Wait()))
	head, err := h.Store.Heads().Lookup(ctx, layer)
	must(h.t, err)
	ids, err := h.Repo.Commit(ctx, w, repo.Commit{Head: head, Kind: kind, Tree: tree})
	must(h.t, err)
	return ids[0]
}

// disk makes a delta disk with those files, as if a guest had unmounted it.
func (h *house) disk(files map[string]string) string {
	h.t.Helper()
	root := h.t.TempDir()
	lay(h.t, filepath.Join(root, "upper"), files)
	must(h.t, os.MkdirAll(filepath.Join(root, "upper"), 0o755))
	image := filepath.Join(h.t.TempDir(), "delta.img")
	tool(h.t, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-O", "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,"+
		"sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum", "-d", root, image, "256M")
	tool(h.t, "tune2fs", "-C", "1", image)
	return image
}

// tool runs one of e2fsprogs's programs.
func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = filepath.Join("/usr/sbin", name)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not here: apt-get install e2fsprogs", name)
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// leave leaves what a session does that was cut off: its record and its disk.
func (h *house) leave(image string) workspace.Session {
	h.t.Helper()
	def, err := h.Workspaces.Load("ana")
	must(h.t, err)
	versions, err := h.current(h.t.Context(), def)
	must(h.t, err)
	self, err := workspace.Self()
	must(h.t, err)
	rec := workspace.Session{Started: time.Now(), State: workspace.Running, Process: self, Delta: h.Workspaces.Delta("ana"), Composed: versions}
	must(h.t, h.Workspaces.SaveSession("ana", rec))
	h.put(image)
	return rec
}

// put puts a copy of a disk where the workspace's is.
func (h *house) put(image string) {
	h.t.Helper()
	if out, err := exec.Command("cp", "--sparse=always", image, h.Workspaces.Delta("ana")).CombinedOutput(); err != nil {
		h.t.Fatalf("%v\n%s", err, out)
	}
}

func (h *house) settled() *Captured {
	h.t.Helper()
	got, err := h.Settle(h.t.Context(), "ana", nil)
	must(h.t, err)
	if left := h.left(); len(left) > 0 {
		h.t.Errorf("the capture left %q", left)
	}
	return got
}

// left lists what is in the workspace's directory of a session.
func (h *house) left() (names []string) {
	h.t.Helper()
	entries, err := os.ReadDir(h.Workspaces.Dir("ana"))
	must(h.t, err)
	for _, e := range entries {
		switch e.Name() {
		case "workspace.json", "lock", "decisions.json", "health.json":
		default:
			names = append(names, e.Name())
		}
	}
	return names
}

// reads checks the content of a file in the head of a layer; "": there is none.
func (h *house) reads(layer, path, want string) {
	h.t.Helper()
	tree, err := h.Repo.Tree(h.t.Context(), layer)
	must(h.t, err)
	got, err := treefs.New(h.t.Context(), tree, h.Store).ReadFile(path)
	if string(got) != want || (err == nil) != (want != "") {
		h.t.Errorf("layer %s has %q at %s, %v: want %q", layer, got, path, err, want)
	}
}

func (h *house) head(layer string) store.ID {
	h.t.Helper()
	head, err := h.Store.Heads().Lookup(h.t.Context(), layer)
	must(h.t, err)
	return head.Version
}
