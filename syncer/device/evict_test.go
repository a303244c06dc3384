package device

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/store/disk"
	"satchel/store/durable"
	"satchel/syncer"
	"satchel/syncer/publication"
)

// noise is contents of a size that do not get smaller.
func noise(seed, size int) string {
	r := rand.New(rand.NewPCG(uint64(seed), 5)) //nolint:gosec // it has to be the same each time
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

// evictAll gives up all that may go.
func (h *home) evictAll() Eviction {
	h.t.Helper()
	e, err := h.dev.Evict(h.t.Context(), 1, false)
	must(h.t, err)
	return e
}

// isHere reports whether a version is whole on a home: not marked, and with all
// its chunks.
func (h *home) isHere(id store.ID) bool {
	h.t.Helper()
	partial, err := h.st.Heads().Partial(h.t.Context())
	must(h.t, err)
	_, marked := partial[id]
	var ids []store.ID
	err = h.repo.Walker()(h.t.Context(), id, func(c store.ID) bool { ids = append(ids, c); return true })
	must(h.t, err)
	has, err := h.st.Has(h.t.Context(), ids)
	must(h.t, err)
	return !marked && !slices.Contains(has, false)
}

// versions commits several versions of a layer, each with contents of its own,
// and calls between after each.
func (h *home) versions(name string, kind layers.Kind, n int, between func()) (ids []store.ID) {
	h.t.Helper()
	for i := range n {
		ids = append(ids, h.commit(name, kind, map[string]string{"f": noise(len(name)*100+i, 30_000), fmt.Sprint("g", i): name}))
		between()
	}
	return ids
}

// TestEvictKeeps has versions that may go and, for each reason, one that may not.
func TestEvictKeeps(t *testing.T) {
	w := newWorld(t)
	pub := w.withOS()
	a := w.enrolled("ana", "laptop")
	a.bringOS(w)
	a.workspace("ana", "debian-12")
	a.sync()
	var system []store.ID
	pub.versions("debian-12", layers.OS, 4, func() {
		must(t, second(pub.dev.Publish(t.Context(), "debian-12")))
		a.sync()
		system = append(system, a.head("debian-12").Version)
	})
	data := a.versions("ana/data", layers.Data, 8, func() { a.sync() })
	personal := a.versions("ana/personal", layers.Personal, 3, func() {}) // in one push
	a.sync()
	unsent := a.versions("ana/data", layers.Data, 2, func() {})
	local := a.versions("ana/local", layers.Local, 3, func() {})

	pin := func(kind layers.Kind, name string, id store.ID) workspace.Pin {
		return workspace.Pin{Kind: kind, Layer: a.head(name).Layer, Name: name, Version: id}
	}
	must(t, a.set.UpdateHealth("ana", func(rec *workspace.Health) error {
		rec.Good = []workspace.Pin{pin(layers.OS, "debian-12", system[1])}
		rec.Trial = &workspace.Trial{
			Versions: []workspace.Pin{pin(layers.OS, "debian-12", system[2])},
			Before:   []workspace.Pin{pin(layers.Data, "ana/data", data[1])},
		}
		return nil
	}))
	must(t, a.set.SaveSession("ana", workspace.Session{
		Started: time.Now(), State: workspace.Running,
		Composed: []workspace.Pin{pin(layers.Data, "ana/data", data[2])},
		Captured: []workspace.Pin{pin(layers.Data, "ana/data", data[3])},
	}))
	release, err := a.st.Hold(t.Context(), "a mount", data[4])
	must(t, err)
	must(t, a.dev.noteFetched(data[5]))

	trial, err := a.dev.Evict(t.Context(), 1, true)
	must(t, err)
	if !a.isHere(data[0]) {
		t.Error("a trial has evicted a version")
	}
	e := a.evictAll()
	for _, c := range []struct {
		what string
		id   store.ID
		stay string // why; "": it goes
	}{
		{"an old version", data[0], ""},
		{"what may be gone back to", data[1], "go back"},
		{"what a session lies on", data[2], "a session lies on it"},
		{"what a session has captured", data[3], "a session lies on it"},
		{"what something reads", data[4], "something that runs"},
		{"what was fetched by hand", data[5], "fetched by hand"},
		{"another old one", data[6], ""},
		{"what both sides had", data[7], "both sides had"},
		{"what was not sent", unsent[0], "nobody knows"},
		{"a head", unsent[1], "head"},
		{"what was sent with others", personal[0], ""},
		{"the same, later", personal[1], ""},
		{"another head", personal[2], "head"},
		{"what never leaves the device", local[0], "nobody knows"},
		{"an old system", system[0], ""},
		{"the way back", system[1], "go back"},
		{"what is on trial", system[2], "go back"},
		{"the head of the system", system[3], "head"},
	} {
		if here := a.isHere(c.id); here != (c.stay != "") {
			t.Errorf("%s: is here: %v", c.what, here)
		}
		named := func(all []Old) bool { return slices.ContainsFunc(all, func(o Old) bool { return o.Version == c.id }) }
		if went := named(e.Evicted); went != (c.stay == "") {
			t.Errorf("%s: is said to have gone: %v", c.what, went)
		}
		if planned := named(trial.Evicted); planned != (c.stay == "" || c.id == data[4]) {
			t.Errorf("%s: a trial says that it would go: %v", c.what, planned)
		}
		if c.stay == "" || c.stay == "head" {
			continue
		}
		if !slices.ContainsFunc(e.Stay, func(o Old) bool { return o.Version == c.id && strings.Contains(o.Reason, c.stay) }) {
			t.Errorf("%s: no reason like %q: %+v", c.what, c.stay, e.Stay)
		}
	}
	if e.Freed <= 0 || e.Lacking <= 0 {
		t.Errorf("freed %d bytes, and lacks %d: want some of both", e.Freed, e.Lacking)
	}
	must(t, errors.Join(release(), a.set.ClearSession("ana")))
	a.evictAll()
	for _, id := range data[2:5] {
		if a.isHere(id) {
			t.Errorf("version %s stays although its session has ended", id.Short())
		}
	}
	a.sound()
	b := w.enrolled("ana", "desk")
	a.sync()
	b.sync()
	wantSame(t, a, b, "ana/data")
}

func second[T any](_ T, err error) error { return err }

// TestEvictNothingUnknown evicts nothing where it is not known what the server
// has.
func TestEvictNothingUnknown(t *testing.T) {
	w := newWorld(t)
	a, _ := w.pair()
	data := a.versions("ana/data", layers.Data, 3, func() { a.sync() })
	a.close()
	must(t, os.Remove(a.dir+"/"+memoFile))
	a.open()
	if e := a.evictAll(); len(e.Evicted) > 0 {
		t.Errorf("evicted without a memo: %+v", e.Evicted)
	}
	a.sync()
	if e := a.evictAll(); len(e.Evicted) == 0 || a.isHere(data[0]) || !a.isHere(data[2]) {
		t.Errorf("after a sync: %+v", e)
	}
}

// TestEvictedComesBack fetches an evicted version, and rolls back to it.
func TestEvictedComesBack(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	data := a.versions("ana/data", layers.Data, 4, func() { a.sync() })
	a.evictAll()
	old := data[1].Short()
	if _, err := a.repo.Rollback(t.Context(), "ana/data", old); err == nil || !strings.Contains(err.Error(), "satchel fetch ana/data@"+old) {
		t.Errorf("a rollback to what is not here: %v", err)
	}
	must(t, second(a.dev.Fetch(t.Context(), "ana/data", old)))
	if a.evictAll(); !a.isHere(data[1]) {
		t.Error("what was fetched by hand just now was evicted")
	}
	must(t, second(a.repo.Rollback(t.Context(), "ana/data", old)))
	if got := a.files("ana/data")["f"]; got != noise(801, 30_000) {
		t.Errorf("after the rollback the file has %d other bytes", len(got))
	}
	a.sync()
	b.sync()
	wantSame(t, a, b, "ana/data")
	a.sound()
}

// TestMergeWithEvictedBase merges two lines whose base is not here.
func TestMergeWithEvictedBase(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	base := a.commit("ana/data", layers.Data, map[string]string{"both": "one\ntwo\nthree\n", "big": noise(9, 50_000)})
	a.sync()
	b.sync()
	a.commit("ana/data", layers.Data, map[string]string{"both": "ONE\ntwo\nthree\n", "big": ""})
	b.commit("ana/data", layers.Data, map[string]string{"both": "one\ntwo\nTHREE\n", "big": ""})
	// No eviction takes it by itself.
	if e := b.evictAll(); !b.isHere(base) {
		t.Fatalf("the base was evicted: %+v", e)
	}
	must(t, second(b.st.Evict(t.Context(), map[store.ID]store.LayerID{base: b.head("ana/data").Layer})))
	b.sound()
	if b.isHere(base) {
		t.Fatal("the base is here")
	}
	a.sync()
	if rep := reported(t, b.sync(), "ana/data"); rep.Merged.IsZero() {
		t.Errorf("no merge: %+v", rep)
	}
	wantFiles(t, b, "ana/data", map[string]string{"both": "ONE\ntwo\nTHREE\n"})
	a.sync()
	wantSame(t, a, b, "ana/data")
	b.sound()
}

// TestEvictionCrash fails power at each durable step of an eviction. Whatever is
// left, the home is whole, what was not sent is there, and a sync works.
func TestEvictionCrash(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	last := 0
	for n := 0; ; n++ {
		data := a.versions("ana/data", layers.Data, 2, func() { a.sync() })
		unsent := a.commit("ana/data", layers.Data, map[string]string{"n": fmt.Sprint(n)})
		steps := 0
		a.close()
		a.openStore(func(dir string) (*disk.Store, error) {
			return disk.OpenFaulty(dir, func(string, string) (error, bool) { //nolint:revive // as OpenFaulty has it
				if steps++; steps <= n {
					return nil, false
				}
				return errPower, n%2 == 1 && steps == n+1
			})
		})
		_, err := a.dev.Evict(t.Context(), 1, false)
		if err != nil && !errors.Is(err, errPower) {
			t.Fatal(err)
		}
		a.close()
		a.open()
		a.sound()
		if !a.isHere(unsent) || !a.isHere(data[1]) {
			t.Fatalf("power fails at step %d: a version is gone that must not go", n)
		}
		if last = n; err == nil {
			break
		}
		a.sync()
	}
	if last < 5 {
		t.Errorf("power could fail at %d steps only", last)
	}
	a.sync()
	b.sync()
	wantSame(t, a, b, "ana/data")
}

var errPower = errors.New("power failed")

// openStore is open with a store of another kind.
func (h *home) openStore(open func(dir string) (*disk.Store, error)) {
	h.t.Helper()
	h.open()
	must(h.t, h.dev.Close())
	must(h.t, h.st.Close())
	var err error
	h.st, err = open(h.dir + "/" + storeDir)
	must(h.t, err)
	h.repo = repo.New(h.st, "laptop")
	h.dev, err = Open(Options{Home: h.dir, Store: h.st, Repo: h.repo, Workspaces: h.set})
	must(h.t, err)
}

// TestBudget lands new versions within a budget: first by giving up old ones,
// then not at all, then with a larger budget.
func TestBudget(t *testing.T) {
	const size = 3 << 20
	p := newPress(t)
	ana := p.pupil("ana", "laptop")
	next := func(seed int) store.ID {
		t.Helper()
		id := p.version(noise(seed, size))
		p.release(Release{})
		return id
	}
	first := next(1)
	ana.sync()
	at, err := DiskOf(ana.dir)
	must(t, err)
	must(t, SetBudget(ana.dir, at.Used+size/2+size))

	second := next(2)
	if rep := ana.sync(); len(rep.Evicted) > 0 || !ana.isHere(first) {
		t.Errorf("there was room, and %+v went", rep.Evicted)
	}
	third := next(3) // the first one has to go
	rep := ana.sync()
	if ana.head("debian-12").Version != third || !ana.isHere(second) || ana.isHere(first) {
		t.Errorf("third version: %+v", rep)
	}
	if !slices.ContainsFunc(rep.Evicted, func(o Old) bool { return o.Version == first }) || rep.Freed < size*9/10 {
		t.Errorf("the report says that %+v went and %d bytes were freed", rep.Evicted, rep.Freed)
	}

	// Nothing may go any more.
	must(t, ana.set.UpdateHealth("desk", func(rec *workspace.Health) error {
		rec.Good = []workspace.Pin{{Kind: layers.OS, Layer: p.layer(), Name: "debian-12", Version: second}}
		return nil
	}))
	fourth := next(4)
	ana.commit("desk/data", layers.Data, map[string]string{"mine": noise(5, size/3)})
	rep, err = ana.dev.Sync(t.Context())
	if !errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), "raise that with satchel store budget") {
		t.Errorf("what does not fit: %v", err)
	}
	if reported(t, rep, "desk/data").Pushed.IsZero() || ana.head("debian-12").Version != third {
		t.Errorf("what does not fit: %+v", rep)
	}
	st, err := ana.dev.Status(t.Context())
	must(t, err)
	var all []syncer.Report
	p.do("GET", "reports", nil, &all)
	i := slices.IndexFunc(all, func(r syncer.Report) bool { return r.Device == "laptop" })
	if i < 0 || all[i].Disk == nil {
		t.Fatalf("the server knows nothing of the disk: %+v", all)
	}
	for who, d := range map[string]syncer.Disk{"status": st.Disk, "the server": *all[i].Disk} {
		if d.Lacking < size/3 || d.Lacking > size*3/2 || d.Reason != "no room for debian-12" || d.Budget == 0 {
			t.Errorf("%s says of the disk: %+v", who, d)
		}
	}
	ana.sound()

	must(t, SetBudget(ana.dir, 0))
	ana.sync()
	if ana.head("debian-12").Version != fourth || !ana.isHere(fourth) || !ana.isHere(second) {
		t.Error("without a budget it does not land")
	}
	all = nil
	p.do("GET", "reports", nil, &all)
	if d := all[i].Disk; d.Lacking != 0 || d.Reason != "" || d.Budget != 0 {
		t.Errorf("the server is told that it lacks room still: %+v", d)
	}
	ana.sound()
}

// TestPlanRoom has a plan tell what comes to a device, and what does not fit there.
func TestPlanRoom(t *testing.T) {
	const size = 2 << 20
	p := newPress(t)
	ana := p.pupil("ana", "laptop")
	plan := func() syncer.PlannedDevice {
		t.Helper()
		var got syncer.Plan
		p.do("POST", "plan", publication.Assignment{
			Workspace: "desk", To: "device:laptop", OS: publication.Source{Layer: p.layer(), Channel: publication.Stable},
		}, &got)
		if len(got.Devices) != 1 {
			t.Fatalf("a plan for %d devices", len(got.Devices))
		}
		return got.Devices[0]
	}
	// Half of it compresses to next to nothing.
	p.version(noise(1, size) + strings.Repeat("satchel ", size/8))
	p.release(Release{})
	d := plan()
	if d.Bytes < size*5/4 || d.Space < size*9/10 || d.Space > size*12/10 || d.Moved != d.Space || d.Lacking != 0 {
		t.Errorf("%+v: want more bytes of files than the %d or so on disk", d, size)
	}
	if d.Room == nil || *d.Room <= 0 {
		t.Errorf("what the device said of its disk is not in the plan: %+v", d)
	}
	at, err := DiskOf(ana.dir)
	must(t, err)
	must(t, SetBudget(ana.dir, at.Used+size/2))
	_, err = ana.dev.Sync(t.Context())
	if !errors.Is(err, ErrNoRoom) {
		t.Fatalf("a sync without room: %v", err)
	}
	if d := plan(); d.Lacking < size/4 || d.Lacking > size || d.Room == nil || *d.Room > size/2 {
		t.Errorf("with a budget: %+v", d)
	}
}

// TestOwnWorkOverBudget has a user's own layers land whatever the budget says.
func TestOwnWorkOverBudget(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	must(t, SetBudget(b.dir, 1))
	a.commit("ana/data", layers.Data, map[string]string{"work": noise(1, 1<<20)})
	a.sync()
	rep := b.sync()
	wantSame(t, a, b, "ana/data")
	wantNote(t, rep, "more than it may")
	if again := b.sync(); len(again.Notes) > 0 {
		t.Errorf("what was of no use is tried again, with nothing changed: %q", again.Notes)
	}
}

// TestTrimAgain is over budget because of what cannot go yet: it goes when it can,
// although no head has moved since.
func TestTrimAgain(t *testing.T) {
	w := newWorld(t)
	a, _ := w.pair()
	data := a.versions("ana/data", layers.Data, 3, func() { a.sync() })
	release, err := a.st.Hold(t.Context(), "a mount", data[0])
	must(t, err)
	a.cramped()
	a.sync()
	must(t, release())
	if a.sync(); a.isHere(data[0]) {
		t.Error("what was read at first stays afterwards")
	}
	a.sync() // there is nothing left to give up
	if _, err := a.dev.Fetch(t.Context(), "ana/data", data[0].Short()); !errors.Is(err, ErrNoRoom) {
		t.Errorf("a fetch beyond the budget: %v, want %v", err, ErrNoRoom)
	}
	must(t, SetBudget(a.dir, 0))
	must(t, second(a.dev.Fetch(t.Context(), "ana/data", data[0].Short())))
	a.cramped()
	if a.sync(); !a.isHere(data[0]) {
		t.Error("what was fetched just now went")
	}
	long := map[store.ID]time.Time{data[0]: time.Now().Add(-2 * rest)}
	must(t, durable.WriteJSON(a.dir+"/"+fetchedName, fetchedFile{fetchedHeader, long}))
	if a.sync(); a.isHere(data[0]) {
		t.Error("what was fetched by hand stays for good")
	}
}
