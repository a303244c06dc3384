package registry

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"satchel/layers"
	"satchel/store"
	"satchel/syncer"
)

var (
	adminToken = [32]byte{1}
	month      = 31 * 24 * time.Hour
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// must1 returns a value that came without an error.
func must1[V any](v V, err error) func(testing.TB) V {
	return func(t testing.TB) V {
		t.Helper()
		must(t, err)
		return v
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

// memoryDir is a directory where syncing costs nothing.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "satchel-") //nolint:usetesting // t.TempDir cannot be told where
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newRegistry(t testing.TB) *Registry {
	t.Helper()
	r, err := Create(filepath.Join(memoryDir(t), "registry.db"), "server-1", adminToken)
	must(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

// fleet is a registry with users ana, ben and the publisher pub, group class
// with ana, and layers: os and app of pub's, and three of ana's.
func fleet(t testing.TB) *Registry {
	t.Helper()
	r := newRegistry(t)
	for _, u := range []syncer.User{{Name: "ana"}, {Name: "ben"}, {Name: "pub", Publisher: true}} {
		must1(r.AddUser(u))(t)
	}
	must1(r.AddGroup(syncer.Group{Name: "class", Members: []string{"ana"}}))(t)
	for i, l := range []syncer.LayerInfo{
		{Name: "os", Kind: layers.OS, Owner: "pub"},
		{Name: "app", Kind: layers.Group, Owner: "pub"},
		{Name: "ana/personal", Kind: layers.Personal, Owner: "ana"},
		{Name: "ana/system", Kind: layers.System, Owner: "ana"},
		{Name: "ana/data", Kind: layers.Data, Owner: "ana"},
	} {
		l.ID = store.LayerID{byte(i + 1)}
		must1(r.AddLayer(l))(t)
	}
	return r
}

var (
	osLayer  = store.LayerID{1}
	appLayer = store.LayerID{2}
	anaData  = store.LayerID{5}
)

func anaWork() syncer.Workspace {
	return syncer.Workspace{
		Name: "desk", Owner: "ana", OS: osLayer, Groups: []store.LayerID{appLayer},
		Personal: store.LayerID{3}, System: store.LayerID{4}, Data: anaData,
	}
}

func enrol(t testing.TB, r *Registry, user, name string, key byte) syncer.Device {
	t.Helper()
	secret := [32]byte{2, key}
	must1(r.AddToken(syncer.Token{User: user}, secret))(t)
	return must1(r.Enrol(secret, name, [32]byte{key}, time.Now().Add(month)))(t)
}

// reopened closes a registry and opens it again.
func reopened(t testing.TB, r *Registry) *Registry {
	t.Helper()
	path := r.db.Path()
	must(t, r.Close())
	r, err := Open(path)
	must(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

func TestReopen(t *testing.T) {
	r := fleet(t)
	grant := syncer.Grant{To: "group:class", Access: syncer.Read}
	must1(r.SetGrant(osLayer, grant))(t)
	must1(r.SetGrant(appLayer, grant))(t)
	d := enrol(t, r, "ana", "laptop", 1)
	w := must1(r.PutWorkspace(anaWork()))(t)
	must(t, r.Uploaded(t.Context(), "laptop", []store.ID{{7}}))
	must(t, r.SetAdmin([32]byte{9}))
	want := must1(r.View(d))(t)

	r = reopened(t, r)
	if diff := cmp.Diff(want, must1(r.View(d))(t)); diff != "" {
		t.Errorf("view after opening again:\n%s", diff)
	}
	if len(want.Layers) != 5 || len(want.Workspaces) != 1 || want.Workspaces[0].ID != w.ID {
		t.Errorf("view %+v", want)
	}
	if r.Server() != "server-1" {
		t.Errorf("server %q", r.Server())
	}
	must(t, r.Admin([32]byte{9}))
	wantErr(t, r.Admin(adminToken), syncer.ErrToken)
	must1(r.Seen("laptop", [32]byte{1}))(t)
	if has := must1(r.HasUploaded(t.Context(), "laptop", []store.ID{{7}, {8}}))(t); !slices.Equal(has, []bool{true, false}) {
		t.Errorf("uploads after closing in order: %v", has)
	}
	if l := must1(r.LayerByName("ana/data"))(t); l.ID != anaData {
		t.Errorf("layer by name is %s", l.ID)
	}
}

func TestOpenErrors(t *testing.T) {
	r := fleet(t)
	path := r.db.Path()
	_, err := Open(path)
	wantErr(t, err, store.ErrBusy)
	_, err = Create(path, "other", adminToken)
	wantErr(t, err, store.ErrExist)
	must(t, r.Close())
	_, err = Open(path + ".gone")
	wantErr(t, err, store.ErrNotExist)

	good := must1(os.ReadFile(path))(t)
	damage := func(name string, want error, change func(path string)) {
		t.Run(name, func(t *testing.T) {
			bad := filepath.Join(t.TempDir(), "registry.db")
			must(t, os.WriteFile(bad, good, 0o600))
			change(bad)
			_, err := Open(bad)
			wantErr(t, err, want)
		})
	}
	damage("empty", store.ErrCorrupt, func(p string) { must(t, os.Truncate(p, 0)) })
	damage("cut off", store.ErrCorrupt, func(p string) { must(t, os.Truncate(p, 3*4096)) })
	damage("zeros", store.ErrCorrupt, func(p string) {
		must(t, os.WriteFile(p, append(slices.Clone(good[:2*4096]), make([]byte, len(good)-2*4096)...), 0o600))
	})
	put := func(bucket, key, value []byte) func(string) {
		return func(p string) {
			db := must1(bbolt.Open(p, 0o600, nil))(t)
			must(t, db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(key, value) }))
			must(t, db.Close())
		}
	}
	damage("newer", store.ErrNewer, put(metaBucket, formatKey, []byte("satchel-registry 2")))
	damage("other format", store.ErrCorrupt, put(metaBucket, formatKey, []byte("satchel-heads 1")))
	damage("row", store.ErrCorrupt, put([]byte("users"), []byte("eve"), []byte(`{"publisher":1}`)))
}

func TestChanged(t *testing.T) {
	r := fleet(t)
	changed := func(ch <-chan struct{}) bool {
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
	for name, c := range map[string]struct {
		do   func()
		want bool
	}{
		"touch":         {r.Touch, true},
		"change":        {func() { must1(r.SetUser(syncer.User{Name: "ben", Publisher: true}))(t) }, true},
		"failed change": {func() { _ = r.RemoveUser("eve") }, false},
		"nothing new":   {func() { must1(r.Join("class", "ana"))(t) }, false},
		"reading":       {func() { must1(r.Users())(t) }, false},
	} {
		ch := r.Changed()
		if c.do(); changed(ch) != c.want {
			t.Errorf("%s: changed is %t", name, !c.want)
		}
	}
}

func TestNames(t *testing.T) {
	r := fleet(t)
	for _, name := range []string{"", "a/b", "..", ".a", "a b", strings.Repeat("a", 65), "ä", "a\x00"} {
		_, err := r.AddUser(syncer.User{Name: name})
		wantErr(t, err, syncer.ErrMalformed)
		_, err = r.AddGroup(syncer.Group{Name: name})
		wantErr(t, err, syncer.ErrMalformed)
		_, err = r.AddLayer(syncer.LayerInfo{ID: store.LayerID{9}, Name: "/" + name, Kind: layers.Data, Owner: "ana"})
		wantErr(t, err, syncer.ErrMalformed)
		secret := [32]byte{3}
		token := must1(r.AddToken(syncer.Token{User: "ana"}, secret))(t)
		_, err = r.Enrol(secret, name, [32]byte{4}, time.Now())
		wantErr(t, err, syncer.ErrMalformed)
		must(t, r.RemoveToken(token.ID))
	}
}

func TestMembership(t *testing.T) {
	r := fleet(t)
	must1(r.AddGroup(syncer.Group{Name: "lab"}))(t)
	_, err := r.AddGroup(syncer.Group{Name: "lab"})
	wantErr(t, err, store.ErrExist)
	_, err = r.AddGroup(syncer.Group{Name: "new", Members: []string{"eve"}})
	wantErr(t, err, store.ErrNotExist)
	_, err = r.AddUser(syncer.User{Name: "eve", Groups: []string{"gone"}})
	wantErr(t, err, store.ErrNotExist)

	must1(r.Join("lab", "ben"))(t)
	g := must1(r.Join("lab", "ana"))(t)
	if !slices.Equal(g.Members, []string{"ana", "ben"}) {
		t.Errorf("members %v", g.Members)
	}
	u := must1(r.SetUser(syncer.User{Name: "ana", Publisher: true}))(t)
	if !slices.Equal(u.Groups, []string{"class", "lab"}) || !u.Publisher {
		t.Errorf("user %+v", u)
	}
	u = must1(r.SetUser(syncer.User{Name: "ana", Groups: []string{"lab"}}))(t)
	if !slices.Equal(u.Groups, []string{"lab"}) || u.Publisher {
		t.Errorf("user %+v", u)
	}
	g = must1(r.Leave("lab", "ben"))(t)
	if !slices.Equal(g.Members, []string{"ana"}) {
		t.Errorf("members %v", g.Members)
	}
	_, err = r.Join("lab", "eve")
	wantErr(t, err, store.ErrNotExist)
	_, err = r.Join("gone", "ana")
	wantErr(t, err, store.ErrNotExist)
}

func TestRemovedLeavesNothing(t *testing.T) {
	r := fleet(t)
	ben := enrol(t, r, "ben", "ben-pc", 1)
	for _, to := range []syncer.Principal{"user:ben", "group:class", "device:ben-pc", "all"} {
		must1(r.SetGrant(anaData, syncer.Grant{To: to, Access: syncer.Read}))(t)
	}
	wantErr(t, r.RemoveUser("ben"), store.ErrBusy)
	must(t, r.Uploaded(t.Context(), "ben-pc", []store.ID{{1}}))
	must(t, r.RemoveDevice("ben-pc"))
	_, err := r.Seen("ben-pc", [32]byte{1})
	wantErr(t, err, syncer.ErrCertificate)
	_, err = r.View(ben)
	wantErr(t, err, syncer.ErrCertificate)
	secret := [32]byte{5}
	must1(r.AddToken(syncer.Token{User: "ben"}, secret))(t)
	must(t, r.RemoveUser("ben"))
	must(t, r.RemoveGroup("class"))
	l := must1(r.Layer(anaData))(t)
	if diff := cmp.Diff([]syncer.Grant{{To: "all", Access: syncer.Read}}, l.Grants); diff != "" {
		t.Errorf("grants that are left:\n%s", diff)
	}
	must1(r.AddUser(syncer.User{Name: "ben"}))(t)
	_, err = r.Enrol(secret, "pc", [32]byte{6}, time.Now())
	wantErr(t, err, syncer.ErrToken)
	enrol(t, r, "ben", "ben-pc", 7)
	if has := must1(r.HasUploaded(t.Context(), "ben-pc", []store.ID{{1}}))(t); has[0] {
		t.Error("a device has the uploads of one that had its name")
	}

	err = r.RemoveUser("ana")
	var use *UseError
	if !errors.As(err, &use) || !slices.Equal(use.By, []string{"layer ana/data", "layer ana/personal", "layer ana/system"}) {
		t.Errorf("error %v", err)
	}
}
