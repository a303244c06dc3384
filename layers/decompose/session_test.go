package decompose

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"strings"
	"testing"

	"satchel/layers"
	"satchel/layers/compose"
	"satchel/layers/layerstest"
)

// A guest is a stack whose contents can be read.
type guest struct {
	t     *testing.T
	store *layerstest.Store
	stack []compose.Layer
}

func newGuest(t *testing.T, os layers.Tree) *guest {
	g := &guest{t: t, store: layerstest.NewStore()}
	for _, kind := range layers.Kinds {
		if kind != layers.Group {
			g.stack = append(g.stack, compose.Layer{Name: string(kind), Kind: kind})
		}
	}
	g.stack[0].Tree = os
	return g
}

// file makes an entry with a content, which is in every store of these tests.
func (g *guest) file(path, content string) layers.Entry {
	e := layers.Entry{Path: path, Type: layers.Regular, Mode: 0o644, ModTime: layers.Time{Sec: 1}, Size: int64(len(content))}
	if content != "" {
		ids, err := g.store.Put(context.Background(), []byte(content))
		if err != nil {
			g.t.Fatal(err)
		}
		e.Extents = []layers.Extent{{ID: ids[0], Len: e.Size}}
	}
	return e
}

func dir(path string) layers.Entry {
	return layers.Entry{Path: path, Type: layers.Dir, Mode: 0o755}
}

func whiteout(path string) layers.Entry { return layers.Entry{Path: path, Type: layers.Whiteout} }

func link(path, target string) layers.Entry {
	return layers.Entry{Path: path, Type: layers.Symlink, Mode: 0o777, Target: target}
}

// tree sorts entries, and adds the directories on the way.
func tree(entries ...layers.Entry) layers.Tree {
	out := layers.Tree{dir("")}
	seen := map[string]bool{"": true}
	for _, e := range entries {
		seen[e.Path] = true
	}
	for _, e := range entries {
		out = append(out, e)
		for p := parent(e.Path); !seen[p]; p = parent(p) {
			seen[p] = true
			out = append(out, dir(p))
		}
	}
	out.Sort()
	return out
}

// input describes a session on the guest.
func (g *guest) input(upper layers.Tree) Input {
	ctx := context.Background()
	whole, err := compose.Compose(ctx, g.store, g.stack)
	if err != nil {
		g.t.Fatal(err)
	}
	in := Input{Upper: upper, Lower: whole.Tree, Layers: map[layers.Kind]layers.Tree{}, Bases: map[layers.Kind]layers.Tree{}}
	for _, l := range g.stack[1:] {
		in.Layers[l.Kind], in.Bases[l.Kind] = l.Tree, l.Base
	}
	in.Below = func(kind layers.Kind, path string) *layers.Entry {
		n := 0
		for g.stack[n].Kind != kind {
			n++
		}
		below, err := compose.Compose(ctx, g.store, g.stack[:n])
		if err != nil {
			g.t.Fatal(err)
		}
		return below.Tree.Find(path)
	}
	in.Read = func(e *layers.Entry) ([]byte, error) {
		var data []byte
		for _, x := range e.Extents {
			chunk, err := whole.Get(ctx, x.ID)
			if err != nil {
				return nil, err
			}
			data = append(data, chunk...)
		}
		return data, nil
	}
	in.Owner = func(path string) layers.Kind {
		if i := whole.Owner(path); i >= 0 {
			return g.stack[i].Kind
		}
		return ""
	}
	return in
}

// run decomposes a session and commits it. It returns path by path where the
// changes went.
func (g *guest) run(upper layers.Tree) map[string]Decision {
	out, err := Decompose(context.Background(), g.input(upper))
	if err != nil {
		g.t.Fatal(err)
	}
	for i := range g.stack {
		if r, ok := out.Layers[g.stack[i].Kind]; ok {
			g.stack[i].Tree, g.stack[i].Base = r.Tree, r.Base
		}
	}
	got := map[string]Decision{}
	for _, d := range out.Decisions {
		got[d.Path] = d
	}
	return got
}

func (g *guest) layer(kind layers.Kind) *compose.Layer {
	for i := range g.stack {
		if g.stack[i].Kind == kind {
			return &g.stack[i]
		}
	}
	return nil
}

func status(pkg, path, content string) string {
	return fmt.Sprintf("Package: %s\nStatus: install ok installed\nConffiles:\n %s %x\n\n", pkg, path, md5.Sum([]byte(content)))
}

// debian is the start of a real system: a package with a configuration file,
// and /bin as a link.
func debian(t *testing.T) *guest {
	g := newGuest(t, nil)
	g.stack[0].Tree = tree(
		g.file("usr/bin/nano", "nano 1"), g.file("etc/nanorc", "set 1"), link("bin", "usr/bin"),
		g.file("var/lib/dpkg/info/nano.list", "/.\n/bin/nano\n/etc/nanorc\n/usr/lib/nano\n"), g.file("usr/lib/nano/plugin", "p"),
		g.file("var/lib/dpkg/status", status("nano", "/etc/nanorc", "set 1")),
		g.file("etc/passwd", "root:x:0:0::/root:/bin/sh\n"), dir("home"), dir("tmp"), dir("var/log"), dir("etc/systemd/system"))
	return g
}

func TestASessionAsUsersHaveThem(t *testing.T) {
	g := debian(t)
	got := g.run(tree(
		// apt install of a service with a user of its own
		g.file("usr/sbin/served", "elf"), g.file("etc/served.conf", "port 1"), dir("var/lib/served"),
		g.file("usr/lib/systemd/system/served.service", "unit"),
		link("etc/systemd/system/multi-user.target.wants/served.service", "/usr/lib/systemd/system/served.service"),
		g.file("var/lib/dpkg/info/served.list", "/.\n/usr/sbin/served\n/etc/served.conf\n/var/lib/served\n"),
		g.file("var/lib/dpkg/status", status("nano", "/etc/nanorc", "set 1")+status("served", "/etc/served.conf", "port 1")),
		g.file("etc/passwd", "root:x:0:0::/root:/bin/sh\nserved:x:900:900::/:/bin/false\n"),
		g.file("var/lib/served/state", "s"), g.file("etc/ld.so.cache", "c"), g.file("var/cache/apt/pkgcache.bin", "c"),
		// what the user did
		g.file("etc/nanorc", "set 2"), g.file("home/ana/letter", "dear"), g.file("home/ana/.cache/x/y", "c"),
		g.file("tmp/x", "t"), g.file("var/log/syslog", "l"), g.file("etc/machine-id", "m"), g.file("etc/hostname", "desk"),
		g.file("usr/local/bin/own", "sh"),
	))
	for path, want := range map[string]layers.Kind{
		"usr/sbin/served": layers.Personal, "etc/served.conf": layers.Personal, "var/lib/served": layers.Personal,
		"etc/systemd/system/multi-user.target.wants/served.service": layers.Personal,
		"var/lib/dpkg/status":           layers.Personal,
		"var/lib/dpkg/info/served.list": layers.Personal,
		"etc/passwd":                    layers.System, "etc/nanorc": layers.System, "etc/hostname": layers.System, "var/lib/served/state": layers.System,
		"etc/ld.so.cache": Discard, "var/cache/apt/pkgcache.bin": Discard, "tmp/x": Discard,
		"home/ana/letter": layers.Data, "home/ana": layers.Data,
		"home/ana/.cache/x/y": layers.Local, "var/log/syslog": layers.Local, "etc/machine-id": layers.Local,
		"usr/local/bin/own": layers.Personal,
	} {
		if d, ok := got[path]; !ok || d.Kind != want || d.Rule == "" || d.Reason == "" {
			t.Errorf("%s: got %+v, want it in %s", path, d, want)
		}
	}
	for _, path := range []string{"", "etc", "home", "tmp", "var/lib/dpkg"} {
		if d, ok := got[path]; ok {
			t.Errorf("the directory %q was only traversed, but: %s", path, d)
		}
	}
	base := g.layer(layers.Personal).Base
	if e := base.Find("var/lib/dpkg/status"); e == nil || !e.Same(g.stack[0].Tree.Find("var/lib/dpkg/status")) {
		t.Errorf("the base of dpkg's status is %+v", e)
	}
	if len(base) > 10 || base.Find("usr/sbin/served") != nil {
		t.Errorf("the base holds what hides nothing: %+v", base)
	}
}

func TestConfigurationFiles(t *testing.T) {
	g := debian(t)
	upgrade := func(content string) layers.Tree {
		return tree(g.file("usr/bin/nano", "nano 2"), g.file("etc/nanorc", content), g.file("var/lib/dpkg/status", status("nano", "/etc/nanorc", "set 9")))
	}
	if d := g.run(upgrade("set 9"))["etc/nanorc"]; d.Kind != layers.Personal || !strings.Contains(d.Reason, "nano") {
		t.Errorf("as the package brought it: %s", d)
	}
	if d := g.run(tree(g.file("etc/nanorc", "mine")))["etc/nanorc"]; d.Kind != layers.System {
		t.Errorf("edited: %s", d)
	}
	if d := g.run(upgrade("set 9"))["etc/nanorc"]; d.Kind != layers.System || !strings.Contains(d.Reason, "kept in system") {
		t.Errorf("put back where system holds it: %s", d)
	}
	if d := g.run(tree(whiteout("usr/bin/nano")))["usr/bin/nano"]; d.Kind != layers.Personal || d.Action != Removed || d.Rule != "dpkg" {
		t.Errorf("a file of a package, removed: %s", d)
	}
	if g.layer(layers.Personal).Tree.Find("usr/bin/nano").Type != layers.Whiteout {
		t.Error("want a whiteout in personal")
	}
}

func TestRemovalLeavesNoTrace(t *testing.T) {
	g := debian(t)
	g.run(tree(g.file("opt/app/bin", "1"), g.file("opt/app/etc", "2")))
	g.layer(layers.System).Tree = layers.Tree{g.file("opt/app/etc", "3")}
	d := g.run(tree(whiteout("opt")))["opt"]
	if d.Action != Removed || !strings.Contains(d.Reason, "with 3 paths under it") {
		t.Errorf("got %s", d)
	}
	for _, kind := range []layers.Kind{layers.Personal, layers.System} {
		if left := g.layer(kind).Tree.Under("opt"); len(left) > 0 || g.layer(kind).Tree.Find("opt") != nil {
			t.Errorf("%s still holds %+v", kind, left)
		}
	}
}

func TestNamesOfOneFile(t *testing.T) {
	g := debian(t)
	g.run(tree(g.file("home/ana/a", "same"), layers.Entry{Path: "home/ana/b", Type: layers.Hardlink, Target: "home/ana/a"},
		layers.Entry{Path: "usr/share/c", Type: layers.Hardlink, Target: "home/ana/a"}))
	if e := g.layer(layers.Data).Tree.Find("home/ana/b"); e == nil || e.Type != layers.Hardlink || e.Target != "home/ana/a" {
		t.Errorf("in one layer, names stay linked: got %+v", e)
	}
	if e := g.layer(layers.Personal).Tree.Find("usr/share/c"); e == nil || e.Type != layers.Regular || e.Size != 4 {
		t.Errorf("in another layer the name has a file of its own: got %+v", e)
	}
	g.run(tree(whiteout("home/ana/a")))
	if e := g.layer(layers.Data).Tree.Find("home/ana/b"); e == nil || e.Type != layers.Regular || e.Size != 4 {
		t.Errorf("the name that is left carries the file: got %+v", e)
	}
}

func TestWhatWasOnlyTouchedIsNoChange(t *testing.T) {
	g := debian(t)
	later := dir("etc")
	later.ModTime.Sec = 99
	if got := g.run(tree(later, g.file("etc/nanorc", "set 1"), whiteout("etc/never-there"))); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	touched := g.file("etc/nanorc", "set 1")
	touched.ModTime.Sec = 99
	if d := g.run(tree(touched))["etc/nanorc"]; d.Action != Changed {
		t.Errorf("a new time of a file is a change: got %s", d)
	}
}

func TestRegistriesThatComposeMadeAreComparedByContent(t *testing.T) {
	g := debian(t)
	g.run(tree(g.file("etc/passwd", "root:x:0:0::/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\n")))
	g.stack[0].Tree = tree(append(g.stack[0].Tree[1:], g.file("etc/group", "g"))...)
	*g.stack[0].Tree.Find("etc/passwd") = g.file("etc/passwd", "root:x:0:0::/root:/bin/sh\nlab:x:900:900::/:/bin/sh\n")
	merged := "root:x:0:0::/root:/bin/sh\nlab:x:900:900::/:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\n"
	if got := g.run(tree(g.file("etc/passwd", merged))); len(got) != 0 {
		t.Errorf("a copy of what was merged: got %v", got)
	}
	g.run(tree(g.file("etc/passwd", merged+"bo:x:1001:1001::/home/bo:/bin/sh\n")))
	if e := g.layer(layers.System).Base.Find("etc/passwd"); e == nil || !e.Same(g.stack[0].Tree.Find("etc/passwd")) {
		t.Errorf("the new base is what is below now: got %+v", e)
	}
}

func TestRecordingGoesIntoOneLayer(t *testing.T) {
	g := debian(t)
	in := g.input(tree(g.file("usr/bin/app", "1"), g.file("etc/app", "2"), g.file("home/ana/x", "3"), g.file("var/log/app", "4"), g.file("tmp/x", "5")))
	in.Into = layers.Group
	out, err := Decompose(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	got := out.Layers[layers.Group].Tree
	for path, want := range map[string]bool{"usr/bin/app": true, "etc/app": true, "home/ana/x": true, "var/log/app": false, "tmp/x": false} {
		if (got.Find(path) != nil) != want {
			t.Errorf("%s: in the layer: %v, want %v", path, !want, want)
		}
	}
	if len(out.Layers) != 1 {
		t.Errorf("got %d layers, want one", len(out.Layers))
	}
}

func TestInputsThatAreRefused(t *testing.T) {
	g := debian(t)
	g.run(tree(g.file("home/x", "1")))
	in := g.input(nil)
	in.Bases = nil
	if _, err := Decompose(context.Background(), in); !errors.Is(err, ErrNoBase) {
		t.Errorf("without bases: got %v", err)
	}
	var bad *layers.PathError
	if _, err := Decompose(context.Background(), g.input(layers.Tree{dir("b"), dir("a")})); !errors.As(err, &bad) {
		t.Errorf("a tree out of order: got %v", err)
	}
	in = g.input(tree(g.file("etc/nanorc", "2")))
	broken := errors.New("broken disk")
	in.Read = func(*layers.Entry) ([]byte, error) { return nil, broken }
	if _, err := Decompose(context.Background(), in); !errors.Is(err, broken) {
		t.Errorf("when reading fails: got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Decompose(ctx, g.input(tree(g.file("etc/nanorc", "2")))); !errors.Is(err, context.Canceled) {
		t.Errorf("when cancelled: got %v", err)
	}
}

func TestExplain(t *testing.T) {
	g := debian(t)
	for path, want := range map[string]string{
		"etc/nanorc":   "/etc/nanorc was changed, and that goes to the system layer: it is a configuration file of package nano that was edited; until now os provided it. Rule: dpkg conffile.",
		"usr/bin/nano": "/usr/bin/nano was changed, and that goes to the personal layer: it belongs to package nano; until now os provided it. Rule: dpkg.",
		"tmp/x":        "discarded",
		"home/ana":     "/home/ana was added, and that goes to the data layer: files of the users. Rule: data home (built-in rules, line ",
		"unheard/of":   "no rule",
	} {
		d, err := Explain(context.Background(), g.input(nil), path)
		if err != nil || !strings.Contains(d.String(), want) {
			t.Errorf("got %s, %v, want %q", d, err, want)
		}
	}
	if _, err := Explain(context.Background(), g.input(nil), "/x"); err == nil {
		t.Error("want an error for a path that is not relative")
	}
}
