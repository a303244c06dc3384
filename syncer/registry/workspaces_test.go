package registry

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"satchel/layers"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/syncer"
)

func TestPutWorkspace(t *testing.T) {
	r := fleet(t)
	_, err := r.PutWorkspace(anaWork())
	var rights *RightsError
	if !errors.Is(err, syncer.ErrForbidden) || !errors.As(err, &rights) || rights.Layer != osLayer || rights.Need != syncer.Read {
		t.Fatalf("without the right to read: %v", err)
	}
	must1(r.SetGrant(osLayer, syncer.Grant{To: "user:ana", Access: syncer.Read}))(t)
	must1(r.SetGrant(appLayer, syncer.Grant{To: "group:class", Access: syncer.Read}))(t)
	bens := anaWork()
	bens.Owner = "ben"
	for _, id := range []store.LayerID{osLayer, appLayer, {3}, {4}, anaData} {
		must1(r.SetGrant(id, syncer.Grant{To: "user:ben", Access: syncer.Read}))(t)
	}
	_, err = r.PutWorkspace(bens)
	if !errors.As(err, &rights) || rights.Layer != (store.LayerID{3}) || rights.Need != syncer.Write {
		t.Errorf("without the right to write: %v", err)
	}

	w := must1(r.PutWorkspace(anaWork()))(t)
	if _, err := store.ParseLayerID(w.ID); err != nil || w.Revision != 1 {
		t.Errorf("workspace %+v", w)
	}
	again := w
	again.Revision = 0
	if got := must1(r.PutWorkspace(again))(t); !cmp.Equal(got, w) {
		t.Errorf("what was put again is %+v", got)
	}
	for name, c := range map[string]struct {
		change func(w *syncer.Workspace)
		want   error
	}{
		"stale":           {func(w *syncer.Workspace) { w.Revision, w.Groups = 0, nil }, store.ErrMoved},
		"ahead":           {func(w *syncer.Workspace) { w.Revision = 2 }, store.ErrMoved},
		"taken name":      {func(w *syncer.Workspace) { w.ID, w.Revision = "", 0 }, store.ErrExist},
		"another's":       {func(w *syncer.Workspace) { w.Owner = "ben" }, syncer.ErrForbidden},
		"not there":       {func(w *syncer.Workspace) { w.ID = newID(16) }, syncer.ErrForbidden},
		"layer not there": {func(w *syncer.Workspace) { w.Data = store.LayerID{99} }, syncer.ErrForbidden},
		"no layer":        {func(w *syncer.Workspace) { w.Data = store.LayerID{} }, syncer.ErrMalformed},
		"other kind":      {func(w *syncer.Workspace) { w.Data, w.System = w.System, w.Data }, syncer.ErrMalformed},
		"layer twice":     {func(w *syncer.Workspace) { w.Groups = append(w.Groups, w.Groups...) }, syncer.ErrMalformed},
		"name":            {func(w *syncer.Workspace) { w.Name = "../x" }, syncer.ErrMalformed},
		"ID":              {func(w *syncer.Workspace) { w.ID = "x" }, syncer.ErrMalformed},
		"options":         {func(w *syncer.Workspace) { w.Options.CPUs = -1 }, syncer.ErrMalformed},
		"reset of data": {func(w *syncer.Workspace) {
			w.Options.Reset = map[layers.Kind]workspace.ResetRule{layers.Data: workspace.Daily}
		}, syncer.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			bad := copyWorkspace(w)
			c.change(&bad)
			_, err := r.PutWorkspace(bad)
			wantErr(t, err, c.want)
		})
	}
	wantErr(t, r.RemoveLayer(anaData), store.ErrBusy)
	if got := must1(r.Workspace(w.ID))(t); !cmp.Equal(got, w) {
		t.Errorf("after all refusals it is %+v", got)
	}
}

func TestAccess(t *testing.T) {
	r := fleet(t)
	ana, pad, ben := enrol(t, r, "ana", "pc", 1), enrol(t, r, "ana", "pad", 2), enrol(t, r, "ben", "ben-pc", 3)
	pub := enrol(t, r, "pub", "pub-pc", 4)
	want := func(layer store.LayerID, access ...syncer.Access) {
		t.Helper()
		var got []syncer.Access
		for _, d := range []syncer.Device{ana, pad, ben, pub} {
			got = append(got, must1(r.Access(d, layer))(t))
		}
		if !slices.Equal(got, access) {
			t.Errorf("access to %s: %q, want %q", layer, got, access)
		}
	}
	grant := func(layer store.LayerID, to syncer.Principal, access syncer.Access) {
		t.Helper()
		must1(r.SetGrant(layer, syncer.Grant{To: to, Access: access}))(t)
	}
	want(anaData, "write", "write", "", "")
	want(osLayer, "", "", "", "write")
	want(store.LayerID{99}, "", "", "", "")
	grant(osLayer, "all", "read")
	want(osLayer, "read", "read", "read", "write")
	grant(osLayer, "device:pad", "write")
	want(osLayer, "read", "write", "read", "write")
	grant(osLayer, "all", "")
	grant(osLayer, "group:class", "read")
	want(osLayer, "read", "write", "", "write")
	must1(r.Leave("class", "ana"))(t)
	want(osLayer, "", "write", "", "write")
	must1(r.SetUser(syncer.User{Name: "pub"}))(t)
	want(osLayer, "", "write", "", "read")
	must1(r.Revoke("pad"))(t)
	want(anaData, "write", "", "", "")
}

func TestAddLayer(t *testing.T) {
	r := fleet(t)
	good := syncer.LayerInfo{ID: store.LayerID{9}, Name: "new", Kind: layers.Data, Owner: "ana"}
	for name, c := range map[string]struct {
		change func(l *syncer.LayerInfo)
		want   error
	}{
		"ID":        {func(l *syncer.LayerInfo) { l.ID = store.LayerID{} }, syncer.ErrMalformed},
		"taken ID":  {func(l *syncer.LayerInfo) { l.ID = anaData }, store.ErrExist},
		"name":      {func(l *syncer.LayerInfo) { l.Name = "ana/data" }, store.ErrExist},
		"kind":      {func(l *syncer.LayerInfo) { l.Kind = "wide" }, syncer.ErrMalformed},
		"local":     {func(l *syncer.LayerInfo) { l.Kind = layers.Local }, syncer.ErrMalformed},
		"owner":     {func(l *syncer.LayerInfo) { l.Owner = "eve" }, store.ErrNotExist},
		"publisher": {func(l *syncer.LayerInfo) { l.Kind = layers.Group }, syncer.ErrForbidden},
		"grant":     {func(l *syncer.LayerInfo) { l.Grants = []syncer.Grant{{To: "user:eve", Access: "read"}} }, store.ErrNotExist},
		"access":    {func(l *syncer.LayerInfo) { l.Grants = []syncer.Grant{{To: "all", Access: "own"}} }, syncer.ErrMalformed},
		"principal": {func(l *syncer.LayerInfo) { l.Grants = []syncer.Grant{{To: "eve", Access: "read"}} }, syncer.ErrMalformed},
	} {
		bad := good
		c.change(&bad)
		if _, err := r.AddLayer(bad); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
	must1(r.AddLayer(good))(t)
}

func BenchmarkView(b *testing.B) {
	r := fleet(b)
	for i := range 2000 {
		id := store.LayerID{0xff, byte(i), byte(i >> 8)}
		must1(r.AddLayer(syncer.LayerInfo{ID: id, Name: "l/" + id.String(), Kind: layers.Data, Owner: "ben"}))(b)
	}
	d := enrol(b, r, "ana", "pc", 1)
	b.Run("unchanged", func(b *testing.B) {
		for b.Loop() {
			must1(r.View(d))(b)
		}
	})
	b.Run("changed", func(b *testing.B) {
		for b.Loop() {
			r.views.Clear()
			must1(r.View(d))(b)
		}
	})
}

// TestWhatAUserMayHave fills a user's share, which others keep theirs beside.
func TestWhatAUserMayHave(t *testing.T) {
	r := fleet(t)
	must1(r.SetGrant(osLayer, syncer.Grant{To: "all", Access: syncer.Read}))(t)
	must1(r.SetGrant(appLayer, syncer.Grant{To: "all", Access: syncer.Read}))(t)
	large := anaWork()
	large.Options.Rules = []string{strings.Repeat("x", maxWorkspace)}
	if _, err := r.PutWorkspace(large); !errors.Is(err, syncer.ErrTooLarge) {
		t.Errorf("a large workspace: %v", err)
	}
	w := must1(r.PutWorkspace(anaWork()))(t)
	for i := range maxLayers { // not through the file, which takes long
		id := store.LayerID{0xff, byte(i), byte(i >> 8)}
		r.layers.rows[layerKey(id)] = syncer.LayerInfo{ID: id, Owner: "ana"}
		if i < maxWorkspaces {
			other := w
			other.ID, other.Name = id.String(), "w"+id.String()
			r.works.rows[other.ID] = other
		}
	}
	next := anaWork()
	next.Name = "next"
	if _, err := r.PutWorkspace(next); !errors.Is(err, syncer.ErrTooLarge) {
		t.Errorf("one workspace more: %v", err)
	}
	w.Options.CPUs++
	must1(r.PutWorkspace(w))(t)
	l := syncer.LayerInfo{ID: store.LayerID{0xfe}, Name: "new", Kind: layers.Data, Owner: "ana"}
	if _, err := r.AddLayer(l); !errors.Is(err, syncer.ErrTooLarge) {
		t.Errorf("one layer more: %v", err)
	}
	l.Owner = "ben"
	must1(r.AddLayer(l))(t)
}
