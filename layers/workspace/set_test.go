package workspace

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"satchel/layers"
	"satchel/store"
	"satchel/store/durable"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func layer(n byte, name string) Layer { return Layer{ID: store.LayerID{n}, Name: name} }

func definition(name string) Definition {
	return Definition{
		Name: name, ID: "0123456789abcdef0123456789abcdef", Created: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		OS: layer(1, "debian-12"), Groups: []Layer{layer(2, "office"), layer(3, "lab")},
		Personal: layer(4, name+"/personal"), System: layer(5, name+"/system"),
		Local: layer(6, name+"/local"), Data: layer(7, name+"/data"),
		Options: Options{
			Memory: 1 << 30, CPUs: 2, Rules: []string{"data /srv"},
			Health: Mark{Within: 600, Check: "systemctl is-active cups"},
			Reset:  map[layers.Kind]ResetRule{layers.Personal: EveryStart, layers.System: OnUpgrade},
		},
	}
}

func created(t *testing.T, names ...string) *Set {
	t.Helper()
	s := Open(t.TempDir())
	for _, n := range names {
		must(t, s.Create(definition(n)))
	}
	return s
}

func TestCreateLoadList(t *testing.T) {
	s := created(t)
	names, err := s.List()
	if err != nil || len(names) != 0 {
		t.Errorf("empty home lists %v, %v", names, err)
	}
	for _, n := range []string{"zoo", "ana", "A.b-c_9"} {
		must(t, s.Create(definition(n)))
	}
	names, err = s.List()
	must(t, err)
	if want := []string{"A.b-c_9", "ana", "zoo"}; !slices.Equal(names, want) {
		t.Errorf("list %v, want %v", names, want)
	}
	got, err := s.Load("ana")
	must(t, err)
	if diff := cmp.Diff(definition("ana"), got); diff != "" {
		t.Error(diff)
	}
	if err := s.Create(definition("ana")); !errors.Is(err, store.ErrExist) {
		t.Errorf("second creation: %v, want %v", err, store.ErrExist)
	}
	if _, err := s.Load("bob"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("absent: %v, want %v", err, store.ErrNotExist)
	}
}

func TestStack(t *testing.T) {
	d := definition("ana")
	var kinds []layers.Kind
	for _, p := range d.Stack() {
		kinds = append(kinds, p.Kind)
	}
	want := []layers.Kind{layers.OS, layers.Group, layers.Group, layers.Personal, layers.System, layers.Local, layers.Data}
	if !slices.Equal(kinds, want) {
		t.Errorf("stack %v, want %v", kinds, want)
	}
}

func TestCreateRefuses(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*Definition)
	}{
		{"no name", func(d *Definition) { d.Name = "" }},
		{"long name", func(d *Definition) { d.Name = strings.Repeat("n", MaxName+1) }},
		{"parent", func(d *Definition) { d.Name = ".." }},
		{"hidden", func(d *Definition) { d.Name = ".lock" }},
		{"option", func(d *Definition) { d.Name = "-rf" }},
		{"slash", func(d *Definition) { d.Name = "a/b" }},
		{"control", func(d *Definition) { d.Name = "a\nb" }},
		{"not ASCII", func(d *Definition) { d.Name = "año" }},
		{"no os", func(d *Definition) { d.OS = Layer{} }},
		{"no data", func(d *Definition) { d.Data = Layer{} }},
		{"a layer twice", func(d *Definition) { d.Groups[1] = d.Groups[0] }},
		{"too many groups", func(d *Definition) { d.Groups = make([]Layer, MaxGroups+1) }},
		{"memory", func(d *Definition) { d.Options.Memory = -1 }},
	}
	s := created(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := definition("ana")
			tt.spoil(&d)
			if err := s.Create(d); err == nil {
				t.Error("accepted")
			}
		})
	}
	if names, _ := s.List(); len(names) != 0 {
		t.Errorf("created %v", names)
	}
}

func TestUpdate(t *testing.T) {
	s := created(t, "ana")
	var all sync.WaitGroup
	for range 20 { // none is lost
		all.Go(func() {
			if err := s.Update("ana", func(d *Definition) error { d.Options.CPUs++; return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	refused := errors.New("no")
	for _, change := range []func(*Definition) error{
		func(d *Definition) error { d.Options.CPUs = 0; return refused },
		func(d *Definition) error { d.OS = Layer{}; return nil },
	} {
		if err := s.Update("ana", change); err == nil {
			t.Error("a bad change was made")
		}
	}
	must(t, s.Update("ana", func(d *Definition) error { d.Name = "bob"; return nil }))
	d, err := s.Load("ana")
	must(t, err)
	if d.Options.CPUs != 22 || d.Name != "ana" {
		t.Errorf("definition %+v", d)
	}
	if err := s.Update("bob", func(*Definition) error { return nil }); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
}

func TestRemove(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(t *testing.T, s *Set)
		remove  error
		discard error
	}{
		{"plain", func(*testing.T, *Set) {}, nil, nil},
		{"delta disk", func(t *testing.T, s *Set) {
			t.Helper()
			must(t, os.WriteFile(s.Delta("ana"), []byte("work"), 0o600))
		}, ErrUncaptured, nil},
		{"session", func(t *testing.T, s *Set) {
			t.Helper()
			must(t, s.SaveSession("ana", Session{State: Running}))
		}, ErrUncaptured, nil},
		{"running", func(t *testing.T, s *Set) {
			t.Helper()
			unlock, err := s.Lock("ana")
			must(t, err)
			t.Cleanup(func() { must(t, unlock()) })
		}, store.ErrBusy, store.ErrBusy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := created(t, "ana", "bob")
			tt.prepare(t, s)
			err := s.Remove("ana")
			if !errors.Is(err, tt.remove) {
				t.Errorf("remove: %v, want %v", err, tt.remove)
			}
			if err != nil {
				if err = s.Discard("ana"); !errors.Is(err, tt.discard) {
					t.Errorf("discard: %v, want %v", err, tt.discard)
				}
			}
			names, lerr := s.List()
			must(t, lerr)
			if gone := !slices.Contains(names, "ana"); gone != (err == nil) || !slices.Contains(names, "bob") {
				t.Errorf("left: %v", names)
			}
			if err == nil {
				must(t, s.Create(definition("ana"))) // the name is free again
			}
		})
	}
	if err := created(t).Remove("ana"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
}

// A crash may leave a directory half made or half removed.
func TestLeftoversAreCleared(t *testing.T) {
	s := created(t, "ana")
	for _, d := range []string{".new-bob/x", ".removed-ana/y"} {
		must(t, os.MkdirAll(filepath.Join(s.dir, d), 0o700))
	}
	must(t, s.Create(definition("bob")))
	must(t, s.Remove("ana"))
	entries, err := os.ReadDir(s.dir)
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{".lock", "bob"}; !slices.Equal(names, want) {
		t.Errorf("left: %v, want %v", names, want)
	}
}

func TestLoadRefuses(t *testing.T) {
	good, err := os.ReadFile(filepath.Join("testdata", "workspace.json"))
	must(t, err)
	tests := []struct {
		name     string
		old, new string
		want     error
	}{
		{"newer", `"version": 1`, `"version": 4`, store.ErrNewer},
		{"no version", `"version": 1`, `"version": 0`, store.ErrCorrupt},
		{"other format", `satchel workspace`, `satchel session`, store.ErrCorrupt},
		{"misspelt", `"memory"`, `"memroy"`, store.ErrCorrupt},
		{"cut", `"groups"`, "", store.ErrCorrupt},
		{"other name", `"ana"`, `"bob"`, store.ErrCorrupt},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := created(t, "ana")
			before, after, ok := strings.Cut(string(good), tt.old)
			if !ok {
				t.Fatalf("no %s in the file", tt.old)
			}
			b := before
			if tt.new != "" {
				b += tt.new + after
			}
			must(t, os.WriteFile(filepath.Join(s.Dir("ana"), definitionFile), []byte(b), 0o600))
			if _, err := s.Load("ana"); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

// The files in testdata are what the versions of the formats look like, for good.
func TestGolden(t *testing.T) {
	s := created(t, "ana")
	must(t, s.SaveSession("ana", suspendedDisk()))
	for vector, name := range map[string]string{"workspace3.json": definitionFile, "session3.json": sessionFile} {
		want, err := os.ReadFile(filepath.Join("testdata", vector))
		must(t, err)
		got, err := os.ReadFile(filepath.Join(s.Dir("ana"), name))
		must(t, err)
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestOldVersions reads definitions from before workspaces had IDs, and from
// before they had rules of health and reset.
func TestOldVersions(t *testing.T) {
	s := created(t, "ana")
	for _, name := range []string{"workspace2.json", "workspace.json"} {
		old, err := os.ReadFile(filepath.Join("testdata", name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(s.Dir("ana"), definitionFile), old, 0o600))
		want := definition("ana")
		want.Options.Health, want.Options.Reset = Mark{}, nil
		if name == "workspace.json" {
			want.ID = ""
		}
		got, err := s.Load("ana")
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	must(t, s.Update("ana", func(d *Definition) error { d.ID = strings.Repeat("a", 32); return nil }))
	if got, err := s.Load("ana"); err != nil || got.ID != strings.Repeat("a", 32) {
		t.Errorf("ID %q, error %v", got.ID, err)
	}
}

func TestIDs(t *testing.T) {
	s := created(t)
	seen := map[string]bool{}
	for _, name := range []string{"ana", "bob"} {
		d := definition(name)
		d.ID = ""
		must(t, s.Create(d))
		d, err := s.Load(name)
		must(t, err)
		if len(d.ID) != 32 || seen[d.ID] {
			t.Errorf("%s has the ID %q", name, d.ID)
		}
		seen[d.ID] = true
	}
	for _, id := range []string{"0", strings.Repeat("g", 32), strings.Repeat("A", 32), strings.Repeat("0", 33), strings.Repeat("0", 30) + "é"} {
		d := definition("zoo")
		d.ID = id
		if err := s.Create(d); err == nil || !strings.Contains(err.Error(), "ID") {
			t.Errorf("ID %q: error %v", id, err)
		}
	}
}

func TestRename(t *testing.T) {
	s := created(t, "ana", "bob")
	want := definition("ana")
	want.Name = "zoo"
	must(t, s.Rename("ana", "zoo"))
	got, err := s.Load("zoo")
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Lstat(filepath.Join(s.Dir("zoo"), renamedFile)); err == nil {
		t.Error("two definitions are left")
	}
	must(t, s.Rename("zoo", "zoo"))
	unlock, err := s.Lock("zoo") // the lock is free again, and still one
	must(t, err)
	for name, c := range map[string]struct {
		old, name string
		want      error
	}{
		"busy": {"zoo", "x", store.ErrBusy}, "taken": {"bob", "zoo", store.ErrExist},
		"absent": {"ana", "x", store.ErrNotExist}, "impossible": {"bob", ".x", errName},
	} {
		if err := s.Rename(c.old, c.name); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
	must(t, unlock())
	must(t, os.WriteFile(s.Delta("bob"), []byte("work"), 0o600))
	must(t, s.SaveSession("zoo", session()))
	for _, old := range []string{"bob", "zoo"} {
		if err := s.Rename(old, "x"); !errors.Is(err, ErrUncaptured) {
			t.Errorf("%s: error %v, want %v", old, err, ErrUncaptured)
		}
	}
	if names, err := s.List(); err != nil || !slices.Equal(names, []string{"bob", "zoo"}) {
		t.Errorf("left: %v, %v", names, err)
	}
}

// TestRenameCutOff stops before and after the directory has its other name,
// and then renames once more.
func TestRenameCutOff(t *testing.T) {
	for _, moved := range []bool{false, true} {
		s := created(t, "ana")
		is, other := "ana", definition("ana")
		other.Name = "zoo"
		must(t, writeDefinition(filepath.Join(s.Dir("ana"), renamedFile), other))
		if moved {
			must(t, os.Rename(s.Dir("ana"), s.Dir("zoo")))
			is = "zoo"
		}
		if names, err := s.List(); err != nil || !slices.Equal(names, []string{is}) {
			t.Errorf("left: %v, %v", names, err)
		}
		d, err := s.Load(is)
		must(t, err)
		if d.Name != is || d.Data.ID != other.Data.ID {
			t.Errorf("%s has the definition of %s", is, d.Name)
		}
		must(t, s.Rename(is, "eve"))
		if d, err := s.Load("eve"); err != nil || d.Name != "eve" {
			t.Errorf("%s renamed again: %v, %v", is, d.Name, err)
		}
		must(t, s.Update("eve", func(d *Definition) error { d.Options.CPUs = 5; return nil }))
		if d, err := s.Load("eve"); err != nil || d.Options.CPUs != 5 {
			t.Errorf("changed after: %+v, %v", d, err)
		}
	}
}

func session() Session {
	return Session{
		Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), State: Running,
		Process:  Process{PID: 4711, Start: 123456, Boot: "2c8d9e2e-0000-4000-8000-000000000000"},
		Delta:    "/home/ana/.local/share/satchel/workspaces/ana/delta.img",
		Composed: []Pin{{layers.OS, store.LayerID{1}, "debian-12", store.ID{0xA}}, {layers.Data, store.LayerID{7}, "ana/data", store.ID{}}},
		Captured: []Pin{{layers.Data, store.LayerID{7}, "ana/data", store.ID{0xB}}},
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"workspace.json", "workspace2.json", "workspace3.json", "session.json", "session2.json", "session3.json", "health.json"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var d onDisk
		if err := durable.DecodeJSON(b, durable.Header{Format: definitionFormat, Version: definitionVersion}, &d); err == nil {
			_ = d.Check()
		} else if !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrNewer) {
			t.Errorf("error of no kind: %v", err)
		}
		var rec healthOnDisk
		if err := durable.DecodeJSON(b, durable.Header{Format: healthFormat, Version: healthVersion}, &rec); err == nil && rec.check() == nil {
			rec.Choose(slices.Concat(rec.Good, Public(rec.kept())))
			rec.Fail(time.Now())
			if err := rec.check(); err != nil {
				t.Errorf("a failure spoils the record: %v", err)
			}
		}
		var s sessionOnDisk
		if err := durable.DecodeJSON(b, durable.Header{Format: sessionFormat, Version: sessionVersion}, &s); err == nil && s.check() == nil && s.State == "" {
			t.Error("a session without a state")
		}
	})
}
