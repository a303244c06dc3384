package server

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer"
)

// A tarFile is an entry of an archive; a name that ends in a slash is a
// directory's.
type tarFile struct {
	name, data string
	header     tar.Header
}

func archive(t *testing.T, files ...tarFile) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := f.header
		h.Name, h.Size = f.name, int64(len(f.data))
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// workspace makes a workspace of a user and returns its data layer.
func (a *adminTest) workspace(t *testing.T, user, name string) syncer.LayerInfo {
	t.Helper()
	debian, err := a.registry.LayerByName("debian")
	if err != nil {
		t.Fatal(err)
	}
	a.ok(t, "POST", "workspaces", syncer.Workspace{Name: name, Owner: user, OS: debian.ID}, nil)
	l, err := a.registry.LayerByName(user + "/" + name + "/data")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (a *adminTest) handOut(t *testing.T, query string, files ...tarFile) (out syncer.Handout, err error) {
	t.Helper()
	status, b := a.send(t, "POST", "handouts?"+query, archive(t, files...))
	if status != 200 {
		var e syncer.Error
		if err := json.Unmarshal(b, &e); err != nil {
			t.Fatalf("status %d, %q", status, b)
		}
		return out, e.Err()
	}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out, nil
}

// handedOut is handOut for what must reach all layers.
func (a *adminTest) handedOut(t *testing.T, query string, files ...tarFile) syncer.Handout {
	t.Helper()
	out, err := a.handOut(t, query, files...)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range out.Layers {
		if l.Error != "" {
			t.Errorf("layer %s: %s", l.Layer, l.Error)
		}
	}
	return out
}

// write has a device add files to a layer, or change those that are there.
func write(t *testing.T, st *disk.Store, layer store.LayerID, files ...layers.Entry) {
	t.Helper()
	ctx := t.Context()
	w, err := st.Begin(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	head, err := st.Heads().Head(ctx, layer)
	if err != nil {
		t.Fatal(err)
	}
	var tree layers.Tree
	if !head.Version.IsZero() {
		tree = treeAt(t, st, head.Version)
	}
	for _, e := range files {
		if e.Type == layers.Regular {
			ids, err := w.Put(ctx, []byte(e.Target)) // where the tests have the contents
			if err != nil {
				t.Fatal(err)
			}
			e.Size = int64(len(e.Target))
			e.Extents, e.Target = []layers.Extent{{ID: ids[0], Len: e.Size}}, ""
		}
		if at, is := tree.Index(e.Path); is {
			tree[at] = e
		} else {
			tree = slices.Insert(tree, at, e)
		}
	}
	_, err = repo.New(st, "laptop").Commit(ctx, w, repo.Commit{Head: head, Kind: layers.Data, Tree: tree, Message: "session"})
	if err != nil {
		t.Fatal(err)
	}
}

func file(path, data string) layers.Entry {
	return layers.Entry{Path: path, Type: layers.Regular, Mode: 0o600, UID: 1001, GID: 1001, Target: data}
}

func directoryOf(path string, uid uint32) layers.Entry {
	return layers.Entry{Path: path, Type: layers.Dir, Mode: 0o700, UID: uid, GID: uid}
}

func treeAt(t *testing.T, st *disk.Store, version store.ID) layers.Tree {
	t.Helper()
	v, err := manifest.ReadVersion(t.Context(), st, version)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := manifest.ReadTree(t.Context(), st, v.Tree)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// entry returns a layer's entry at a path.
func (a *adminTest) entry(t *testing.T, layer store.LayerID, path string) *layers.Entry {
	t.Helper()
	head, err := a.store.Heads().Head(t.Context(), layer)
	if err != nil {
		t.Fatal(err)
	}
	e := treeAt(t, a.store, head.Version).Find(path)
	if e == nil {
		t.Fatalf("nothing is at %s", path)
	}
	return e
}

// list returns the contents of a layer's files, the owners of its directories
// and where its links point, by path. The day of a hand-out is TODAY.
func (a *adminTest) list(t *testing.T, layer store.LayerID) map[string]string {
	t.Helper()
	head, err := a.store.Heads().Head(t.Context(), layer)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, e := range treeAt(t, a.store, head.Version) {
		var s string
		switch e.Type {
		case layers.Dir:
			s = fmt.Sprintf("dir %o of %d:%d", e.Mode, e.UID, e.GID)
		case layers.Regular:
			for _, x := range e.Extents {
				b, err := a.store.Get(t.Context(), x.ID)
				if err != nil {
					t.Fatal(err)
				}
				s += string(b)
			}
		default:
			s = e.Type.String() + " " + e.Target
		}
		found[undated(e.Path)] = s
	}
	return found
}

// undated puts a word in the place of the date in a name.
func undated(path string) string {
	if i := strings.Index(path, ", 20"); i >= 0 {
		return path[:i+2] + "TODAY" + path[i+len(", 2006-01-02"):]
	}
	return path
}

func TestHandout(t *testing.T) {
	a := newAdminTest(t)
	a.school(t, "ana", "ben")
	ana, ben, home := a.workspace(t, "ana", "desk"), a.workspace(t, "ben", "desk"), a.workspace(t, "ben", "home")
	write(t, a.store, ben.ID, directoryOf("home/ben", 1001), directoryOf("home/ben/Handouts", 1002))
	changed := a.registry.Changed()
	out := a.handedOut(t, "to=group:class&title=Week+3&workspace=desk",
		tarFile{name: "sheet.txt", data: "questions"},
		tarFile{name: "data/", header: tar.Header{Typeflag: tar.TypeDir, Mode: 0o2777}},
		tarFile{name: "data/a.csv", data: "1,2"},
		tarFile{name: "b.csv", header: tar.Header{Typeflag: tar.TypeLink, Linkname: "data/a.csv"}},
		tarFile{name: "latest", header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: "data"}})
	if out.Title != "Week 3" || out.Files != 3 || out.Bytes != 15 || len(out.Layers) != 2 {
		t.Errorf("hand-out %+v", out)
	}
	select {
	case <-changed:
	default:
		t.Error("devices that wait were not told")
	}
	want := map[string]string{
		"home/ana":                     "dir 755 of 1000:1000",
		"home/ana/Handouts":            "dir 755 of 1000:1000",
		"home/ana/Handouts/sheet.txt":  "questions",
		"home/ana/Handouts/b.csv":      "1,2",
		"home/ana/Handouts/data":       "dir 755 of 1000:1000",
		"home/ana/Handouts/data/a.csv": "1,2",
		"home/ana/Handouts/latest":     "symlink data",
	}
	if diff := cmp.Diff(want, a.list(t, ana.ID)); diff != "" {
		t.Error(diff)
	}
	benHas := a.list(t, ben.ID)
	if benHas["home/ben/Handouts"] != "dir 700 of 1002:1002" || benHas["home/ben/Handouts/data"] != "dir 755 of 1002:1002" {
		t.Errorf("layer %v", benHas)
	}
	tree := treeAt(t, a.store, out.Layers[1].Version)
	if e := tree.Find("home/ben/Handouts/sheet.txt"); e.UID != 1002 || e.Mode != 0o644 {
		t.Errorf("file %+v", e)
	}
	v, err := manifest.ReadVersion(t.Context(), a.store, out.Layers[1].Version)
	if err != nil || v.Message != "hand-out: Week 3" || v.Device != "server" || len(v.Parents) != 1 || v.Kind != layers.Data {
		t.Errorf("version %+v, %v", v, err)
	}
	if head, err := a.store.Heads().Head(t.Context(), home.ID); err != nil || !head.Version.IsZero() {
		t.Errorf("a workspace of another name has %+v, %v", head, err)
	}
}

// What users have made or changed stays, however often a hand-out comes.
func TestHandoutKeepsFiles(t *testing.T) {
	a := newAdminTest(t)
	a.school(t, "ana")
	ana := a.workspace(t, "ana", "desk")
	const dir = "home/ana/Handouts/"
	write(t, a.store, ana.ID,
		file(dir+"mine.txt", "mine"), file(dir+"same.txt", "same"), file(dir+"x", "a file"), file(dir+"dir/f", "f"),
		layers.Entry{Path: dir + "gone.txt", Type: layers.Whiteout}, layers.Entry{Path: dir + "old", Type: layers.Whiteout})
	files := []tarFile{
		{name: "mine.txt", data: "theirs"}, {name: "same.txt", data: "same"}, {name: "x/y", data: "y"},
		{name: "dir", data: "a file"}, {name: "gone.txt", data: "back"}, {name: "old/z", data: "z"},
	}
	want := map[string]string{
		dir + "mine.txt":                    "mine",
		dir + "mine (from Week, TODAY).txt": "theirs",
		dir + "same.txt":                    "same",
		dir + "x":                           "a file",
		dir + "x (from Week, TODAY)":        "dir 755 of 1001:1001",
		dir + "x (from Week, TODAY)/y":      "y",
		dir + "dir/f":                       "f",
		dir + "dir (from Week, TODAY)":      "a file",
		dir + "gone.txt":                    "back",
		dir + "old":                         "dir 755 of 1001:1001",
		dir + "old/z":                       "z",
	}
	var version store.ID
	for range 3 {
		out := a.handedOut(t, "to=user:ana&title=Week", files...)
		if diff := cmp.Diff(want, a.list(t, ana.ID)); diff != "" {
			t.Fatal(diff)
		}
		if !version.IsZero() && out.Layers[0].Version != version {
			t.Error("handing out the same made a new version")
		}
		if version = out.Layers[0].Version; len(out.Layers[0].Kept) != 3 {
			t.Errorf("kept %q", out.Layers[0].Kept)
		}
	}
	if e := treeAt(t, a.store, version).Find(dir + "old"); !e.Opaque {
		t.Error("a directory in the place of a whiteout shows what that hid")
	}
}

// A corrected hand-out takes the place of one that nobody has worked on.
func TestHandoutReplacesItsOwn(t *testing.T) {
	a := newAdminTest(t)
	a.school(t, "ana")
	ana := a.workspace(t, "ana", "desk")
	const dir = "home/ana/Handouts/"
	first := []tarFile{{name: "read", data: "1"}, {name: "work", data: "1"}}
	second := []tarFile{{name: "read", data: "2"}, {name: "work", data: "2"}}
	a.handedOut(t, "to=all&title=T", first...)
	write(t, a.store, ana.ID, file(dir+"work", "done"))
	a.handedOut(t, "to=all&title=Other", tarFile{name: "other", data: "3"})
	for range 2 {
		a.handedOut(t, "to=all&title=T", second...)
	}
	got := a.list(t, ana.ID)
	for path, data := range map[string]string{"read": "2", "work": "done", "work (from T, TODAY)": "2", "other": "3"} {
		if got[dir+path] != data {
			t.Errorf("%s holds %q, want %q", path, got[dir+path], data)
		}
	}
	if len(got) != 6 {
		t.Errorf("layer %v", got)
	}
}

// What a user has added to a file that was handed out is not replaced, be it
// only an attribute; a newer time is nothing that a user added.
func TestHandoutKeepsAttributes(t *testing.T) {
	change := map[string]func(*layers.Entry){
		"mode":  func(e *layers.Entry) { e.Mode = 0o600 },
		"owner": func(e *layers.Entry) { e.UID = 1001 },
		"group": func(e *layers.Entry) { e.GID = 1001 },
		"xattr": func(e *layers.Entry) { e.Xattrs = []layers.Xattr{{Name: "user.mark", Value: []byte("7")}} },
		"time":  func(e *layers.Entry) { e.ModTime.Sec++ },
	}
	a := newAdminTest(t)
	a.school(t, "ana")
	ana := a.workspace(t, "ana", "desk")
	const dir = "home/ana/Handouts/"
	var first, second []tarFile
	for name := range change {
		first = append(first, tarFile{name: name, data: "1"})
		second = append(second, tarFile{name: name, data: "2"})
	}
	a.handedOut(t, "to=all&title=T", first...)
	head, err := a.store.Heads().Head(t.Context(), ana.ID)
	if err != nil {
		t.Fatal(err)
	}
	var changed []layers.Entry
	for _, e := range treeAt(t, a.store, head.Version) {
		if edit := change[strings.TrimPrefix(e.Path, dir)]; edit != nil {
			e.Target = "1"
			edit(&e)
			changed = append(changed, e)
		}
	}
	write(t, a.store, ana.ID, changed...)
	a.handedOut(t, "to=all&title=T", second...)
	got := a.list(t, ana.ID)
	for name := range change {
		want := [2]string{"1", "2"}
		if name == "time" {
			want = [2]string{"2", ""}
		}
		if have := [2]string{got[dir+name], got[dir+name+" (from T, TODAY)"]}; have != want {
			t.Errorf("after a change of the %s: %q and beside it %q, want %q", name, have[0], have[1], want)
		}
	}
	for _, e := range changed {
		if at := a.entry(t, ana.ID, e.Path); !strings.HasSuffix(e.Path, "time") && !at.SameAttrs(&e) {
			t.Errorf("%s has other attributes: %+v", e.Path, at)
		}
	}
}

func TestHandoutHostile(t *testing.T) {
	a := newAdminTest(t)
	a.school(t, "ana")
	ana := a.workspace(t, "ana", "desk")
	good := tarFile{name: "good", data: "good"}
	for name, bad := range map[string]tarFile{
		"device":       {name: "null", header: tar.Header{Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}},
		"block device": {name: "sda", header: tar.Header{Typeflag: tar.TypeBlock, Devmajor: 8}},
		"fifo":         {name: "fifo", header: tar.Header{Typeflag: tar.TypeFifo}},
		"set-uid":      {name: "su", data: "#!", header: tar.Header{Mode: 0o4755}},
		"set-gid":      {name: "sg", data: "#!", header: tar.Header{Mode: 0o2755}},
		"capabilities": {name: "cap", data: "#!", header: tar.Header{PAXRecords: map[string]string{
			"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		}}},
	} {
		_, err := a.handOut(t, "to=all", good, bad)
		wantRefusal(t, err, syncer.ErrMalformed, bad.name)
		if head, _ := a.store.Heads().Head(t.Context(), ana.ID); !head.Version.IsZero() {
			t.Fatalf("%s: a hand-out that was refused made a version", name)
		}
	}
	status, b := a.send(t, "POST", "handouts?to=all", strings.NewReader("this is not an archive, however long it may be"))
	if status != 400 {
		t.Errorf("status %d, %s", status, b)
	}
	status, b = a.send(t, "POST", "handouts?to=all", bytes.NewReader(archive(t, good).Bytes()[:514]))
	if status != 400 {
		t.Errorf("archive that was cut off: status %d, %s", status, b)
	}

	if _, err := a.handOut(t, "to=all", tarFile{name: "../../../../etc/passwd", data: "root"}, tarFile{name: "/etc/shadow", data: "root"},
		tarFile{name: "up", header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: "../../.."}}, tarFile{name: "up/etc/hosts", data: "root"}); err == nil {
		for path := range a.list(t, ana.ID) {
			if path != "home/ana" && path != "home/ana/Handouts" && !strings.HasPrefix(path, "home/ana/Handouts/") {
				t.Errorf("the archive made %q", path)
			}
		}
	} else {
		wantRefusal(t, err, syncer.ErrMalformed)
	}
}

func TestHandoutRequests(t *testing.T) {
	a := newAdminTest(t)
	a.school(t, "ana", "ben")
	ana := a.workspace(t, "ana", "desk")
	good := tarFile{name: "good", data: "good"}
	for query, want := range map[string]error{
		"":                      syncer.ErrMalformed,
		"to=device:pc":          syncer.ErrMalformed,
		"to=user:eve":           store.ErrNotExist,
		"to=group:gone":         store.ErrNotExist,
		"to=user:ben":           store.ErrNotExist, // who has no workspace
		"to=all&workspace=gone": store.ErrNotExist,
		"to=all&into=a/../b":    syncer.ErrMalformed,
		"to=all&into=..":        syncer.ErrMalformed,
		"to=all&into=a%00b":     syncer.ErrMalformed,
		"to=all&into=a//b":      syncer.ErrMalformed,
		"to=all&title=a/b":      syncer.ErrMalformed,
		"to=all&title=%ff":      syncer.ErrMalformed,
		"to=all&title=" + strings.Repeat("t", maxTitle+1): syncer.ErrMalformed,
	} {
		_, err := a.handOut(t, query, good)
		wantRefusal(t, err, want)
	}
	a.handedOut(t, "to=all&into="+url.QueryEscape("/srv/{user}/in/"), good)
	if got := a.list(t, ana.ID); got["srv/ana/in/good"] != "good" {
		t.Errorf("layer %v", got)
	}
}

// What a device pushes while files are handed out stays.
func TestHandoutRace(t *testing.T) {
	a := newAdminTest(t)
	a.school(t, "ana")
	ana := a.workspace(t, "ana", "desk")
	dir := a.store.Dir()
	pushes := atomic.Int32{}
	pushes.Store(3)
	faulty, err := disk.OpenFaulty(dir, func(op, name string) (error, bool) {
		// The packs of a version are written after its head was read.
		if op == "rename" && strings.Contains(name, "packs") && pushes.Load() > 0 {
			n := pushes.Add(-1)
			st, err := disk.Open(dir)
			if err != nil {
				t.Error(err)
				return nil, false
			}
			defer st.Close()
			write(t, st, ana.ID, file(fmt.Sprintf("home/ana/%d", n), "pushed"))
		}
		return nil, false
	})
	if err != nil {
		t.Fatal(err)
	}
	sound := a.store
	a.store, a.repo = faulty, repo.New(faulty, deviceName)
	defer func() { a.store = sound; faulty.Close() }()
	out := a.handedOut(t, "to=all", tarFile{name: "good", data: "good"})
	if pushes.Load() != 0 {
		t.Fatalf("%d pushes did not come in between", pushes.Load())
	}
	got := a.list(t, ana.ID)
	for _, path := range []string{"home/ana/0", "home/ana/1", "home/ana/2", "home/ana/Handouts/good"} {
		if _, ok := got[path]; !ok {
			t.Errorf("%s is lost: %v", path, got)
		}
	}
	if head, _ := a.store.Heads().Head(t.Context(), ana.ID); head.Version != out.Layers[0].Version {
		t.Errorf("head %s, answer %s", head.Version, out.Layers[0].Version)
	}
}

// A whole class gets a hand-out, and one whose layer is damaged does not keep
// the others from theirs. The contents are stored once.
func TestHandoutClass(t *testing.T) {
	a := newAdminTest(t)
	var users []string
	for i := range 30 {
		users = append(users, fmt.Sprintf("user%02d", i))
	}
	a.school(t, users...)
	for _, u := range users {
		a.workspace(t, u, "desk")
	}
	odd, err := a.registry.LayerByName("user07/desk/data")
	if err != nil {
		t.Fatal(err)
	}
	write(t, a.store, odd.ID, file("home/user07", "a file where the home should be"))
	before, err := a.store.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("all the same ", 100_000)
	out, err := a.handOut(t, "to=group:class", tarFile{name: "large", data: large})
	if err != nil || len(out.Layers) != 30 {
		t.Fatalf("%d layers, %v", len(out.Layers), err)
	}
	for _, l := range out.Layers {
		if failed := l.Layer == odd.Name; failed != (l.Error != "") || failed != l.Version.IsZero() {
			t.Errorf("layer %+v", l)
		}
	}
	after, err := a.store.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.UniqueBytes - before.UniqueBytes; grown > int64(len(large))+30*4096 {
		t.Errorf("the store grew by %d bytes for a file of %d", grown, len(large))
	}
	if leases, err := a.store.Stats(t.Context()); err != nil || leases.Leases != 0 {
		t.Errorf("%d leases are left, %v", leases.Leases, err)
	}
}
