package session

import (
	"errors"
	"os"
	"testing"

	"satchel/layers"
	"satchel/layers/treefs"
	"satchel/layers/workspace"
	"satchel/store"
)

// planned is a start of ana as far as the choice of its versions.
func (h *house) planned(opt Options) (versions map[layers.Kind]store.ID, onTrial bool) {
	h.t.Helper()
	def, err := h.Workspaces.Load("ana")
	must(h.t, err)
	must(h.t, h.conclude(h.t.Context(), "ana"))
	pins, trial, unhold, err := h.plan(h.t.Context(), def, opt)
	must(h.t, err)
	must(h.t, unhold())
	versions = map[layers.Kind]store.ID{}
	for _, p := range pins {
		versions[p.Kind] = p.Version
	}
	return versions, trial != nil
}

// verdict ends a trial: well, or with a reason.
func (h *house) verdict(reason string) {
	h.t.Helper()
	must(h.t, h.Workspaces.UpdateHealth("ana", func(rec *workspace.Health) error {
		if rec.Trial == nil {
			return errors.New("there is no trial")
		}
		if rec.Trial.Reason = reason; reason == "" {
			rec.Pass(rec.Trial.Began)
		}
		return nil
	}))
	must(h.t, h.conclude(h.t.Context(), "ana"))
}

// well makes the heads good.
func (h *house) well() {
	h.t.Helper()
	if _, onTrial := h.planned(Options{}); !onTrial {
		h.t.Fatal("a first start is no trial")
	}
	h.verdict("")
}

func TestWayBack(t *testing.T) {
	h := newHouse(t)
	h.commit("p", layers.Personal, map[string]string{"usr/bin/tool": "before"})
	before := map[string]store.ID{"p": h.head("p"), "s": h.head("s"), "l": h.head("l")}
	h.well()
	good := h.head("os")
	two := h.commit("os", layers.OS, map[string]string{"etc/hostname": "two\n"})

	if got, onTrial := h.planned(Options{}); got[layers.OS] != two || !onTrial {
		t.Fatalf("the upgrade is not tried: os %s", got[layers.OS].Short())
	}
	h.commit("p", layers.Personal, map[string]string{"usr/bin/tool": "spoilt"})
	h.commit("s", layers.System, map[string]string{"etc/new.conf": "x"})
	h.commit("d", layers.Data, map[string]string{"home/ana/text": "kept"})
	h.verdict("it does not come up")

	h.reads("p", "usr/bin/tool", "before")
	h.reads("s", "etc/new.conf", "")
	h.reads("d", "home/ana/text", "kept")
	if h.head("l") != before["l"] {
		t.Error("local, to which nothing was written, has a new version")
	}
	for layer, spoilt := range map[string]string{"p": "usr/bin/tool", "s": "etc/new.conf"} {
		if n := h.versionsWith(layer, spoilt); n == 0 {
			t.Errorf("what the trial wrote to %s is in no version any more", layer)
		}
	}
	for range 2 { // and again
		if got, onTrial := h.planned(Options{}); got[layers.OS] != good || onTrial {
			t.Errorf("after the failure: os %s, trial: %v", got[layers.OS].Short(), onTrial)
		}
	}
	if got, onTrial := h.planned(Options{RetryFailed: true}); got[layers.OS] != two || !onTrial {
		t.Errorf("told to retry: os %s, trial: %v", got[layers.OS].Short(), onTrial)
	}
	h.verdict("again")
	three := h.commit("os", layers.OS, map[string]string{"etc/hostname": "three\n"})
	if got, onTrial := h.planned(Options{}); got[layers.OS] != three || !onTrial {
		t.Errorf("yet another version: os %s, trial: %v", got[layers.OS].Short(), onTrial)
	}
	h.verdict("")
	if got, onTrial := h.planned(Options{}); got[layers.OS] != three || onTrial {
		t.Errorf("after it was well: os %s, trial: %v", got[layers.OS].Short(), onTrial)
	}
}

// versionsWith counts the versions in a layer's history that have a path.
func (h *house) versionsWith(layer, path string) (n int) {
	h.t.Helper()
	head, err := h.Store.Heads().Lookup(h.t.Context(), layer)
	must(h.t, err)
	for entry, err := range h.Repo.Log(h.t.Context(), head) {
		must(h.t, err)
		side, err := h.Repo.Side(h.t.Context(), entry.ID)
		must(h.t, err)
		if side.Tree.Find(path) != nil {
			n++
		}
	}
	return n
}

// A trial that a crash ends is tried once more; the third start goes back.
func TestCrashesInATrial(t *testing.T) {
	h := newHouse(t)
	h.well()
	good := h.head("os")
	two := h.commit("os", layers.OS, map[string]string{"etc/hostname": "two\n"})
	for range workspace.Tries {
		if got, onTrial := h.planned(Options{}); got[layers.OS] != two || !onTrial {
			t.Fatalf("os %s, trial: %v", got[layers.OS].Short(), onTrial)
		}
		h.commit("s", layers.System, map[string]string{"etc/new.conf": "x"})
	}
	if got, onTrial := h.planned(Options{}); got[layers.OS] != good || onTrial {
		t.Errorf("the third start: os %s, trial: %v", got[layers.OS].Short(), onTrial)
	}
	h.reads("s", "etc/new.conf", "")
	verdicts, err := h.Workspaces.Verdicts("ana")
	must(t, err)
	if last := verdicts[len(verdicts)-1]; last.Outcome != workspace.Failed || last.Version != two || last.Reason == "" {
		t.Errorf("the last verdict is %+v", last)
	}
}

// What keeps a start from its versions shows nothing of them.
func TestPlanThatFails(t *testing.T) {
	h := newHouse(t)
	must(t, h.Workspaces.Update("ana", func(d *workspace.Definition) error {
		d.Options.Reset = map[layers.Kind]workspace.ResetRule{layers.System: workspace.OnUpgrade}
		return nil
	}))
	h.well()
	h.commit("s", layers.System, map[string]string{"etc/new.conf": "s"})
	before := h.head("s")
	two := h.commit("os", layers.OS, map[string]string{"etc/hostname": "two\n"})
	def, err := h.Workspaces.Load("ana")
	must(t, err)
	gone := store.ID{9}
	must(t, h.Store.Heads().CompareAndSwap(t.Context(), store.Move{Layer: def.OS.ID, From: two, To: gone}))
	for range workspace.Tries + 1 {
		if _, _, _, err := h.plan(t.Context(), def, Options{}); !errors.Is(err, store.ErrNotExist) {
			t.Fatalf("a version that is not here: error %v", err)
		}
	}
	must(t, h.Store.Heads().CompareAndSwap(t.Context(), store.Move{Layer: def.OS.ID, From: gone, To: two}))
	rec, err := h.Workspaces.LoadHealth("ana")
	must(t, err)
	if rec.Trial == nil || rec.Trial.Starts != 0 || len(rec.Failed) > 0 {
		t.Errorf("starts that failed for other reasons left %+v", rec)
	}
	h.planned(Options{})
	h.reads("s", "etc/new.conf", "")
	h.verdict("no")
	if h.reads("s", "etc/new.conf", "s"); h.head("s") == before {
		t.Error("going back is no new version")
	}
}

func TestFirstStartHasNoWayBack(t *testing.T) {
	h := newHouse(t)
	h.planned(Options{})
	h.commit("s", layers.System, map[string]string{"etc/new.conf": "x"})
	h.verdict("it does not come up")
	h.reads("s", "etc/new.conf", "x")
	if got, onTrial := h.planned(Options{}); got[layers.OS] != h.head("os") || !onTrial {
		t.Errorf("the next start: os %s, trial: %v", got[layers.OS].Short(), onTrial)
	}
}

// Whatever becomes of the layer, gc keeps what there is to go back to.
func TestCollectKeepsTheWayBack(t *testing.T) {
	h := newHouse(t)
	h.well()
	old, err := h.Store.Heads().Lookup(t.Context(), "os")
	must(t, err)
	_, err = h.Repo.Create(t.Context(), "os2")
	must(t, err)
	h.commit("os2", layers.OS, map[string]string{"etc/hostname": "two\n"})
	next, err := h.Store.Heads().Lookup(t.Context(), "os2")
	must(t, err)
	must(t, h.Workspaces.Update("ana", func(d *workspace.Definition) error {
		d.OS = workspace.Layer{ID: next.Layer, Name: next.Name}
		return nil
	}))
	must(t, h.Store.Heads().Remove(t.Context(), old.Layer, old.Version))
	collect := func() {
		_, err := h.Store.GC(t.Context(), h.Repo.Walker(), h.Workspaces.Kept)
		must(t, err)
	}
	collect()
	if got, onTrial := h.planned(Options{}); got[layers.OS] != next.Version || !onTrial {
		t.Fatalf("os %s, trial: %v", got[layers.OS].Short(), onTrial)
	}
	collect()
	h.verdict("no")
	collect()
	if got, onTrial := h.planned(Options{}); got[layers.OS] != old.Version || onTrial {
		t.Fatalf("after the failure: os %s, trial: %v", got[layers.OS].Short(), onTrial)
	}
	side, err := h.Repo.Side(t.Context(), old.Version)
	must(t, err)
	if b, err := treefs.New(t.Context(), side.Tree, h.Store).ReadFile("etc/hostname"); string(b) != "debian\n" {
		t.Errorf("the old os has %q, %v", b, err)
	}
	h.planned(Options{RetryFailed: true})
	h.verdict("") // now nothing needs the old one
	collect()
	if has, err := h.Store.Has(t.Context(), []store.ID{old.Version}); err != nil || has[0] {
		t.Errorf("what nobody goes back to is still there: %v, %v", has, err)
	}
}

// Versions that are gone all the same are no way back, and no obstacle.
func TestWayBackThatIsGone(t *testing.T) {
	h := newHouse(t)
	h.well()
	must(t, h.Workspaces.UpdateHealth("ana", func(rec *workspace.Health) error {
		rec.Good[0].Version = store.ID{1}
		return nil
	}))
	_, err := h.Store.GC(t.Context(), h.Repo.Walker(), h.Workspaces.Kept)
	must(t, err)
	if got, onTrial := h.planned(Options{}); got[layers.OS] != h.head("os") || !onTrial {
		t.Errorf("os %s, trial: %v", got[layers.OS].Short(), onTrial)
	}
}

func TestResetRules(t *testing.T) {
	h := newHouse(t)
	must(t, h.Workspaces.Update("ana", func(d *workspace.Definition) error {
		d.Options.Reset = map[layers.Kind]workspace.ResetRule{layers.Personal: workspace.EveryStart, layers.System: workspace.OnUpgrade}
		return nil
	}))
	h.well()
	fill := func() {
		h.commit("p", layers.Personal, map[string]string{"usr/bin/tool": "p"})
		h.commit("s", layers.System, map[string]string{"etc/new.conf": "s"})
		h.commit("l", layers.Local, map[string]string{"var/cache/x": "l"})
	}
	fill()
	if got, _ := h.planned(Options{}); got[layers.Personal] != h.head("p") {
		t.Error("the start is not composed of the layer made afresh")
	}
	h.reads("p", "usr/bin/tool", "")
	h.reads("s", "etc/new.conf", "s")
	h.reads("l", "var/cache/x", "l")
	if h.versionsWith("p", "usr/bin/tool") == 0 {
		t.Error("a reset takes versions out of history")
	}
	fill()
	h.commit("os", layers.OS, map[string]string{"etc/hostname": "two\n"})
	h.planned(Options{})
	h.reads("p", "usr/bin/tool", "")
	h.reads("s", "etc/new.conf", "")
	h.verdict("no") // before the trial was before the resets
	h.reads("p", "usr/bin/tool", "p")
	h.reads("s", "etc/new.conf", "s")
	h.planned(Options{}) // the way back is no upgrade
	h.reads("p", "usr/bin/tool", "")
	h.reads("s", "etc/new.conf", "s")
}

// What a session left is captured, and then reset; what cannot be captured
// keeps a start from it.
func TestResetWaitsForTheCapture(t *testing.T) {
	h := newHouse(t)
	stub(t)
	must(t, h.Workspaces.Update("ana", func(d *workspace.Definition) error {
		d.Options.Reset = map[layers.Kind]workspace.ResetRule{layers.System: workspace.EveryStart}
		return nil
	}))
	h.commit("s", layers.System, map[string]string{"etc/new.conf": "s"})
	h.leave(h.disk(work))
	must(t, os.Truncate(h.Workspaces.Delta("ana"), 1<<20))
	if _, _, err := h.Start(t.Context(), "ana", Options{}); err == nil {
		t.Fatal("a session was started on work that is not captured")
	}
	h.reads("s", "etc/new.conf", "s")
}

// A tree without what a guest needs fails at once; anything else that keeps a
// guest from starting shows nothing of its versions.
func TestStartsThatFailOnTrial(t *testing.T) {
	h := newHouse(t)
	stub(t)
	h.well()
	good := h.head("os")
	two := h.commit("os", layers.OS, map[string]string{"etc/hostname": "two\n"})
	t.Setenv("SATCHEL_GUEST", "/nonexistent")
	for range workspace.Tries + 2 {
		if _, _, err := h.Start(t.Context(), "ana", Options{}); err == nil {
			t.Fatal("there is no binary for guests, and one was started")
		}
		rec, err := h.Workspaces.LoadHealth("ana")
		must(t, err)
		if rec.Trial.Starts > 0 || len(rec.Failed) > 0 {
			t.Fatalf("a start that failed for other reasons left %+v", rec)
		}
	}
	stub(t)
	_, _, err := h.Start(t.Context(), "ana", Options{})
	var failed *FailedTrial
	if !errors.As(err, &failed) || failed.Versions[0].Version != two || failed.Back[0].Version != good {
		t.Fatalf("an os without a kernel: %v", err)
	}
	if got, onTrial := h.planned(Options{}); got[layers.OS] != good || onTrial {
		t.Errorf("the next start: os %s, trial: %v", got[layers.OS].Short(), onTrial)
	}
}
