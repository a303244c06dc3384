package device

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"satchel/layers"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/syncer"
)

func TestWorkspacesMadeOnBothSides(t *testing.T) {
	w := newWorld(t)
	w.withOS()
	a, b := w.enrolled("ana", "laptop"), w.enrolled("ana", "desk")
	a.bringOS(w)
	b.bringOS(w)
	a.workspace("home", "debian-12")
	b.workspace("office", "debian-12")
	a.commit("home/data", layers.Data, map[string]string{"f": "home"})
	b.commit("office/data", layers.Data, map[string]string{"f": "office"})
	if rep := a.sync(); !slices.Equal(rep.Workspaces, []string{"home"}) {
		t.Errorf("workspaces %v", rep.Workspaces)
	}
	if rep := b.sync(); !slices.Equal(rep.Workspaces, []string{"office", "home"}) {
		t.Errorf("workspaces %v", rep.Workspaces)
	}
	a.sync()
	for _, name := range []string{"home", "office"} {
		wantSame(t, a, b, name+"/data")
		x, err := a.set.Load(name)
		must(t, err)
		y, err := b.set.Load(name)
		must(t, err)
		if px, py := project(&x), project(&y); !same(&px, &py) {
			t.Errorf("%s: %+v and %+v", name, x, y)
		}
	}
}

func TestWorkspaceOptionsAndNames(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	set := func(h *home, name string, memory int64) {
		must(t, h.set.Update(name, func(d *workspace.Definition) error { d.Options.Memory = memory; return nil }))
	}
	want := func(h *home, name string, memory int64) {
		t.Helper()
		d, err := h.set.Load(name)
		if err != nil || d.Options.Memory != memory {
			t.Errorf("%s: memory %d, %v; want %d", name, d.Options.Memory, err, memory)
		}
	}
	set(a, "ana", 1<<30)
	a.sync()
	b.sync()
	want(b, "ana", 1<<30)
	for _, o := range []workspace.Options{
		{Memory: 1 << 30, Health: workspace.Mark{Within: 60}},
		{Memory: 1 << 30, Health: workspace.Mark{Within: 60}, Reset: map[layers.Kind]workspace.ResetRule{layers.System: workspace.Daily}},
		{Memory: 1 << 30},
	} { // each differs in nothing else from the one before
		must(t, a.set.Update("ana", func(d *workspace.Definition) error { d.Options = o; return nil }))
		a.sync()
		b.sync()
		if d, err := b.set.Load("ana"); err != nil || !cmp.Equal(d.Options, o) {
			t.Errorf("options %+v, %v; want %+v", d.Options, err, o)
		}
	}

	must(t, b.set.Rename("ana", "main"))
	set(b, "main", 2<<30)
	b.sync()
	wantNote(t, a.sync("ana"), "workspace ana is called main now")
	want(a, "main", 2<<30)
	if _, err := a.set.Load("ana"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("the old name: %v", err)
	}

	set(a, "main", 3<<30) // both at once: the server's, that is who was first
	set(b, "main", 4<<30)
	a.sync()
	wantNote(t, b.sync(), "changed here and on the server")
	want(b, "main", 3<<30)
	if rep := b.sync(); len(rep.Notes)+len(rep.Workspaces) > 0 {
		t.Errorf("still not the same: %+v", rep)
	}
}

func TestWorkspaceRenamedWhileItsSessionRuns(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	unlock, err := a.set.Lock("ana")
	must(t, err)
	must(t, b.set.Rename("ana", "main"))
	b.sync()
	wantNote(t, a.sync(), "once its session has ended")
	must(t, unlock())
	a.sync()
	if _, err := a.set.Load("main"); err != nil {
		t.Error(err)
	}
}

func TestWorkspaceNameTaken(t *testing.T) {
	w := newWorld(t)
	w.withOS()
	a, b := w.enrolled("ana", "laptop"), w.enrolled("ana", "desk")
	for _, h := range []*home{a, b} {
		h.bringOS(w)
		h.workspace("ana", "debian-12")
		h.commit("ana/data", layers.Data, map[string]string{"by": h.dir})
	}
	a.sync()
	wantNote(t, b.sync(), "satchel workspace rename ana NEW")
	must(t, b.set.Rename("ana", "mine"))
	b.sync()
	a.sync()
	b.sync()
	// The layers' names collide as well, on both sides; their files must not.
	for _, h := range []*home{a, b} {
		for name, by := range map[string]string{"ana": a.dir, "mine": b.dir} {
			d, err := h.set.Load(name)
			must(t, err)
			wantFiles(t, h, d.Data.Name, map[string]string{"by": by})
		}
	}
}

func TestWorkspaceRemoved(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	def, err := b.set.Load("ana")
	must(t, err)
	must(t, b.set.Remove("ana"))
	b.sync()
	if _, err := b.set.Load("ana"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("what was removed here came back: %v", err)
	}
	b.sync("ana") // asked for by name
	back, err := b.set.Load("ana")
	if err != nil || back.Data != def.Data {
		t.Errorf("asked for: %+v, %v", back, err)
	}
	w.do("DELETE", "workspaces/"+def.ID, nil, nil)
	wantNote(t, a.sync(), "was removed on the server")
	if _, err := a.set.Load("ana"); err != nil {
		t.Errorf("removed here too: %v", err)
	}
	if _, err := a.dev.Sync(t.Context(), "none"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("unknown workspace: %v", err)
	}
}

func TestWorkspaceNeedsPublishedOS(t *testing.T) {
	w := newWorld(t)
	a := w.enrolled("ana", "laptop")
	a.layer("own-os", layers.OS, map[string]string{"f": "x"})
	a.workspace("ana", "own-os")
	wantNote(t, a.sync(), "satchel publish own-os")
	p := w.enrolled("pub", "press")
	p.layer("own-os", layers.OS, map[string]string{"f": "x"})
	p.workspace("lab", "own-os")
	p.sync()
	if got := p.sync(); len(got.Workspaces)+len(got.Notes) > 0 || reported(t, got, "own-os").Found != syncer.Equal {
		t.Errorf("report %+v", got)
	}
}

func TestSyncOfOneWorkspace(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	a.workspace("other", "debian-12")
	a.sync()
	a.commit("ana/data", layers.Data, map[string]string{"f": "1"})
	a.commit("other/data", layers.Data, map[string]string{"f": "1"})
	a.sync("other")
	b.sync()
	wantSame(t, a, b, "other/data")
	if !b.head("ana/data").Version.IsZero() {
		t.Error("a workspace was synced that was not named")
	}
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	a.commit("ana/data", layers.Data, map[string]string{"f": large(4, 200_000)})
	a.sync()
	b.commit("ana/personal", layers.Personal, map[string]string{"f": large(2, 100_000)})
	layer := func(st Status, kind layers.Kind) LayerStatus {
		t.Helper()
		if len(st.Workspaces) != 1 {
			t.Fatalf("status %+v", st)
		}
		for _, l := range st.Workspaces[0].Layers {
			if l.Kind == string(kind) {
				return l
			}
		}
		t.Fatalf("no %s layer", kind)
		return LayerStatus{}
	}
	st, err := b.dev.Status(t.Context())
	must(t, err)
	if !st.Online || st.LastSync.IsZero() || st.Expires.IsZero() || st.Device != "desk" || st.Workspaces[0].Ready {
		t.Errorf("status %+v", st)
	}
	if l := layer(st, layers.Data); l.Relation != syncer.Behind || l.Down.Bytes < 100_000 || l.Ready {
		t.Errorf("data %+v", l)
	}
	if l := layer(st, layers.Personal); l.Relation != syncer.Ahead || l.Up.Bytes < 50_000 || !l.Ready {
		t.Errorf("personal %+v", l)
	}
	if l := layer(st, layers.OS); l.Relation != syncer.Equal || !l.Ready {
		t.Errorf("os %+v", l)
	}
	b.sync()
	w.stop()
	b.commit("ana/data", layers.Data, map[string]string{"g": "x"})
	st, err = b.dev.Status(t.Context())
	must(t, err)
	if st.Online || st.Reason == "" || !st.Workspaces[0].Ready || layer(st, layers.Data).Relation != syncer.Ahead {
		t.Errorf("off line: %+v", st)
	}
	w.start()
}
