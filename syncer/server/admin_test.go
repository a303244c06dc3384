package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"satchel/layers"
	"satchel/store"
	"satchel/syncer"
)

// An adminTest is a server and its administrator.
type adminTest struct {
	*Server
	token string
	url   string
}

func newAdminTest(t *testing.T) *adminTest {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "satchel-") //nolint:usetesting // t.TempDir cannot be told where
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	dir = filepath.Join(dir, "server")
	made, err := Init(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		web.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &adminTest{s, made.AdminToken, web.URL}
}

// send makes a request and returns the status of the answer, and the answer.
func (a *adminTest) send(t *testing.T, method, path string, body io.Reader) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, a.url+"/v1/admin/"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+a.token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b
}

// do makes a request with in as JSON, unless it is nil, and decodes the answer
// to out, unless that is nil. It returns the refusal.
func (a *adminTest) do(t *testing.T, method, path string, in, out any) error {
	t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	status, b := a.send(t, method, path, body)
	if status >= 300 {
		var e syncer.Error
		if err := json.Unmarshal(b, &e); err != nil || e.Code == "" {
			t.Fatalf("%s %s: status %d with %q, which is no refusal", method, path, status, b)
		}
		return e.Err()
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	}
	return nil
}

// ok is do for what must go well.
func (a *adminTest) ok(t *testing.T, method, path string, in, out any) {
	t.Helper()
	if err := a.do(t, method, path, in, out); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
}

// school adds the publisher pub with the layers debian, granted to all, and
// office, and the users named, all in the group class.
func (a *adminTest) school(t *testing.T, users ...string) (debian, office syncer.LayerInfo) {
	t.Helper()
	a.ok(t, "POST", "users", syncer.User{Name: "pub", Publisher: true}, nil)
	a.ok(t, "POST", "layers", syncer.LayerInfo{Name: "debian", Kind: layers.OS, Owner: "pub"}, &debian)
	a.ok(t, "POST", "layers", syncer.LayerInfo{Name: "apps/office", Kind: layers.Group, Owner: "pub"}, &office)
	a.ok(t, "PUT", "layers/debian/grants/all", syncer.Grant{Access: syncer.Read}, nil)
	a.ok(t, "POST", "groups", syncer.Group{Name: "class"}, nil)
	for _, u := range users {
		a.ok(t, "POST", "users", syncer.User{Name: u}, nil)
		a.ok(t, "PUT", "groups/class/members/"+u, nil, nil)
	}
	return debian, office
}

func wantRefusal(t *testing.T, err, want error, words ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
	for _, w := range words {
		if err != nil && !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestAdminPeople(t *testing.T) {
	a := newAdminTest(t)
	var u syncer.User
	a.ok(t, "POST", "users", syncer.User{Name: "ana"}, &u)
	if u.Name != "ana" || u.Created.IsZero() {
		t.Errorf("user %+v", u)
	}
	wantRefusal(t, a.do(t, "POST", "users", syncer.User{Name: "ana"}, nil), store.ErrExist)
	a.ok(t, "PUT", "users/ana", syncer.User{Publisher: true}, &u)
	if !u.Publisher {
		t.Errorf("user %+v", u)
	}
	wantRefusal(t, a.do(t, "PUT", "users/ana", syncer.User{Name: "ben"}, nil), syncer.ErrMalformed)

	var g syncer.Group
	a.ok(t, "POST", "groups", syncer.Group{Name: "class"}, nil)
	a.ok(t, "PUT", "groups/class/members/ana", nil, &g)
	if diff := cmp.Diff([]string{"ana"}, g.Members); diff != "" {
		t.Error(diff)
	}
	a.ok(t, "DELETE", "groups/class/members/ana", nil, &g)
	if len(g.Members) != 0 {
		t.Errorf("members %v", g.Members)
	}

	var token syncer.Token
	a.ok(t, "POST", "tokens", syncer.Token{User: "ana"}, &token)
	if token.Secret == "" || token.Uses != 1 {
		t.Errorf("token %+v", token)
	}
	var tokens []syncer.Token
	a.ok(t, "GET", "tokens", nil, &tokens)
	if len(tokens) != 1 || tokens[0].Secret != "" || tokens[0].ID != token.ID {
		t.Errorf("tokens %+v", tokens)
	}
	a.ok(t, "DELETE", "tokens/"+token.ID, nil, nil)
	wantRefusal(t, a.do(t, "DELETE", "tokens/"+token.ID, nil, nil), store.ErrNotExist)
	wantRefusal(t, a.do(t, "POST", "devices/pc/revoke", nil, nil), store.ErrNotExist)
	for _, list := range []string{"users", "groups", "devices", "tokens", "layers", "workspaces"} {
		if status, b := a.send(t, "GET", list, nil); status != 200 || !strings.HasPrefix(string(b), "[") {
			t.Errorf("%s: status %d, %q", list, status, b)
		}
	}
	a.ok(t, "DELETE", "groups/class", nil, nil)
	a.ok(t, "DELETE", "users/ana", nil, nil)
}

func TestAdminRefuses(t *testing.T) {
	a := newAdminTest(t)
	wantRefusal(t, a.do(t, "POST", "users", map[string]any{"name": "ana", "publsher": true}, nil), syncer.ErrMalformed, "publsher")
	wantRefusal(t, a.do(t, "POST", "users", map[string]any{"name": "ana", "groups": strings.Repeat("x", syncer.MaxJSON)}, nil), syncer.ErrTooLarge)
	wantRefusal(t, a.do(t, "GET", "nothing", nil, nil), store.ErrNotExist)
	if status, b := a.send(t, "PATCH", "users", nil); status != http.StatusMethodNotAllowed || !json.Valid(b) {
		t.Errorf("status %d, %q", status, b)
	}
	a.token += "x"
	for _, path := range []string{"users", "nothing", "handouts"} {
		wantRefusal(t, a.do(t, "GET", path, nil, nil), syncer.ErrToken)
	}
}

func TestAdminLayers(t *testing.T) {
	a := newAdminTest(t)
	debian, office := a.school(t, "ana")
	if debian.ID.IsZero() || office.ID.IsZero() {
		t.Fatalf("layers %+v, %+v", debian, office)
	}
	wantRefusal(t, a.do(t, "POST", "layers", syncer.LayerInfo{Name: "debian", Kind: layers.OS, Owner: "pub"}, nil), store.ErrExist)
	wantRefusal(t, a.do(t, "POST", "layers", syncer.LayerInfo{Name: "x", Kind: layers.OS, Owner: "ana"}, nil), syncer.ErrForbidden)
	head, err := a.store.Heads().Lookup(t.Context(), "apps/office")
	if err != nil || head.Layer != office.ID {
		t.Errorf("head %+v, %v", head, err)
	}
	var got syncer.LayerInfo
	changed := a.registry.Changed()
	a.ok(t, "PUT", "layers/"+url.PathEscape("apps/office")+"/grants/group:class", syncer.Grant{To: "group:class", Access: syncer.Write}, &got)
	select {
	case <-changed:
	default:
		t.Error("devices that wait were not told")
	}
	if diff := cmp.Diff([]syncer.Grant{{To: "group:class", Access: syncer.Write}}, got.Grants); diff != "" {
		t.Error(diff)
	}
	wantRefusal(t, a.do(t, "PUT", "layers/debian/grants/all", syncer.Grant{}, nil), syncer.ErrMalformed)
	wantRefusal(t, a.do(t, "PUT", "layers/debian/grants/user:eve", syncer.Grant{Access: syncer.Read}, nil), store.ErrNotExist)
	a.ok(t, "DELETE", "layers/"+office.ID.String()+"/grants/group:class", nil, &got)
	if len(got.Grants) != 0 {
		t.Errorf("grants %v", got.Grants)
	}

	version := store.ID{7}
	if err := a.store.Heads().CompareAndSwap(t.Context(), store.Move{Layer: office.ID, To: version}); err != nil {
		t.Fatal(err)
	}
	var all []syncer.LayerInfo
	a.ok(t, "GET", "layers", nil, &all)
	if len(all) != 2 || all[0].Version != version || !all[1].Version.IsZero() {
		t.Errorf("layers %+v", all)
	}
	a.ok(t, "DELETE", "layers/"+url.PathEscape("apps/office"), nil, nil)
	if _, err := a.store.Heads().Head(t.Context(), office.ID); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("the head of a removed layer: %v", err)
	}
}

func TestAdminWorkspaces(t *testing.T) {
	a := newAdminTest(t)
	debian, office := a.school(t, "ana")
	desk := syncer.Workspace{Name: "desk", Owner: "ana", OS: debian.ID, Groups: []store.LayerID{office.ID}}
	wantRefusal(t, a.do(t, "POST", "workspaces", desk, nil), syncer.ErrForbidden,
		"satchel admin layer grant apps/office read user:ana")
	var all []syncer.LayerInfo
	if a.ok(t, "GET", "layers", nil, &all); len(all) != 2 {
		t.Errorf("a workspace that was refused left layers %+v", all)
	}
	a.ok(t, "PUT", "layers/"+office.ID.String()+"/grants/user:ana", syncer.Grant{Access: syncer.Read}, nil)
	var w syncer.Workspace
	a.ok(t, "POST", "workspaces", desk, &w)
	data, err := a.registry.LayerByName("ana/desk/data")
	if err != nil || w.Data != data.ID || data.Kind != layers.Data || data.Owner != "ana" || w.Revision != 1 {
		t.Errorf("workspace %+v with data layer %+v, %v", w, data, err)
	}
	wantRefusal(t, a.do(t, "POST", "workspaces", desk, nil), store.ErrExist)
	wantRefusal(t, a.do(t, "DELETE", "layers/debian", nil, nil), store.ErrBusy, "desk of ana")
	wantRefusal(t, a.do(t, "DELETE", "users/ana", nil, nil), store.ErrBusy, "desk")

	w.Groups, w.Owner = nil, ""
	a.ok(t, "PUT", "workspaces/"+w.ID, w, &w)
	if w.Revision != 2 || w.Owner != "ana" || len(w.Groups) != 0 {
		t.Errorf("workspace %+v", w)
	}
	stale := w
	stale.Revision, stale.Name = 1, "other"
	wantRefusal(t, a.do(t, "PUT", "workspaces/"+w.ID, stale, nil), store.ErrMoved)
	stale.Revision, stale.Owner = 2, "pub"
	wantRefusal(t, a.do(t, "PUT", "workspaces/"+w.ID, stale, nil), syncer.ErrMalformed)
	a.ok(t, "DELETE", "workspaces/"+w.ID, nil, nil)
	wantRefusal(t, a.do(t, "PUT", "workspaces/"+w.ID, w, nil), store.ErrNotExist)
	a.ok(t, "DELETE", "layers/"+url.PathEscape("ana/desk/data"), nil, nil)
}
