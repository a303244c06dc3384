package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer"
	"satchel/syncer/identity"
	"satchel/syncer/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memoryDir is a directory where writing durably costs little.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "satchel-test-") //nolint:usetesting // another file system than the tests'
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// site is a server that serves on loopback.
type site struct {
	*Server
	t     testing.TB
	url   string
	admin string // token
	stop  func() // ends it, and waits
}

func serve(t testing.TB, opt Options) *site {
	t.Helper()
	dir := filepath.Join(memoryDir(t), "srv")
	made, err := Init(dir)
	ok(t, err)
	return open(t, dir, made, opt)
}

func open(t testing.TB, dir string, made Made, opt Options) *site {
	t.Helper()
	s, err := Open(dir, opt)
	ok(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		defer close(done)
		done <- errors.Join(s.Serve(ctx, l, 10*time.Second), s.Close())
	}()
	w := &site{Server: s, t: t, url: "https://" + l.Addr().String(), admin: made.AdminToken}
	w.stop = func() {
		cancel()
		if err, first := <-done; first && err != nil {
			t.Errorf("serve: %v", err)
		}
	}
	t.Cleanup(w.stop)
	return w
}

// client speaks HTTP with a certificate, or without.
func (s *site) client(key *identity.Key, cert []byte) *http.Client {
	s.t.Helper()
	config, err := identity.ClientTLS(s.authority.Certificate(), key, cert)
	ok(s.t, err)
	tr := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// token makes a user, if there is none, and a token for several devices.
func (s *site) token(user string) string {
	s.t.Helper()
	if _, err := s.registry.AddUser(syncer.User{Name: user, Publisher: user == "pub"}); err != nil {
		wantErr(s.t, err, store.ErrExist)
	}
	secret := identity.NewSecret()
	_, err := s.registry.AddToken(syncer.Token{User: user, Uses: 10, Expires: time.Now().Add(time.Hour)}, identity.HashSecret(secret))
	ok(s.t, err)
	return secret
}

// gadget is an enrolled device with a store of its own.
type gadget struct {
	site *site
	http *http.Client
	key  *identity.Key
	csr  []byte
	got  syncer.Enrolled
	st   *disk.Store
	repo *repo.Repo
}

func (s *site) enrol(user, name string) *gadget {
	s.t.Helper()
	key, csr, err := identity.NewKey()
	ok(s.t, err)
	g := &gadget{site: s, http: s.client(nil, nil), key: key, csr: csr}
	ok(s.t, g.json("POST", "/v1/enrol", syncer.EnrolRequest{Token: s.token(user), Name: name, CSR: csr}, &g.got))
	g.http = s.client(key, g.got.Certificate)
	g.st, err = disk.CreateIn(filepath.Join(memoryDir(s.t), "store"), g.got.Domain)
	ok(s.t, err)
	s.t.Cleanup(func() { g.st.Close() })
	g.repo = repo.New(g.st, name)
	return g
}

// do makes a request and returns the answer's body, or the refusal.
func (g *gadget) do(method, path string, body io.Reader) ([]byte, error) {
	req, err := http.NewRequestWithContext(g.site.t.Context(), method, g.site.url+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := g.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		var e syncer.Error
		if err := json.Unmarshal(b, &e); err != nil {
			return nil, errors.New(resp.Status + ": " + string(b))
		}
		return nil, e.Err()
	}
	return b, err
}

func (g *gadget) json(method, path string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if b, err = g.do(method, path, bytes.NewReader(b)); err == nil && out != nil {
		err = json.Unmarshal(b, out)
	}
	return err
}

func (g *gadget) state() (st syncer.State, err error) {
	err = g.json("GET", "/v1/state", nil, &st)
	return st, err
}

func newID() (id store.LayerID) {
	rand.Read(id[:])
	return id
}

// create makes a layer on the device and the server.
func (g *gadget) create(name string, kind layers.Kind) syncer.Layer {
	g.site.t.Helper()
	var l syncer.Layer
	ok(g.site.t, g.json("POST", "/v1/layers", syncer.NewLayer{ID: newID(), Name: name, Kind: kind}, &l))
	_, err := g.st.Heads().Add(g.site.t.Context(), l.ID, name)
	ok(g.site.t, err)
	return l
}

// tree is a tree of files, whose chunks it puts.
func tree(t testing.TB, w store.Writer, files map[string]string) layers.Tree {
	t.Helper()
	var tr layers.Tree
	for path, text := range files {
		e := layers.Entry{Path: path, Type: layers.Regular, Mode: 0o644, Size: int64(len(text))}
		if text != "" {
			ids, err := w.Put(t.Context(), []byte(text))
			ok(t, err)
			e.Extents = []layers.Extent{{ID: ids[0], Len: e.Size}}
		}
		tr = append(tr, e)
	}
	tr.Sort()
	return tr
}

// commit makes a version on the device and moves its head there.
func (g *gadget) commit(l syncer.Layer, files map[string]string) store.ID {
	g.site.t.Helper()
	ctx := g.site.t.Context()
	w, err := g.st.Begin(ctx, "test")
	ok(g.site.t, err)
	defer w.Close()
	head, err := g.st.Heads().Head(ctx, l.ID)
	ok(g.site.t, err)
	ids, err := g.repo.Commit(ctx, w, repo.Commit{Head: head, Kind: l.Kind, Tree: tree(g.site.t, w, files)})
	ok(g.site.t, err)
	return ids[0]
}

// version writes a version that nothing moves to.
func (g *gadget) version(v layers.Version, files map[string]string) store.ID {
	g.site.t.Helper()
	ctx := g.site.t.Context()
	w, err := g.st.Begin(ctx, "test")
	ok(g.site.t, err)
	defer w.Close()
	id, err := manifest.Write(ctx, w, v, tree(g.site.t, w, files), nil)
	ok(g.site.t, err)
	ok(g.site.t, w.Flush(ctx))
	return id
}

// reach is all that a version reaches on the device.
func (g *gadget) reach(v store.ID) (ids []store.ID) {
	g.site.t.Helper()
	seen := map[store.ID]bool{}
	ok(g.site.t, manifest.Walk(g.st, g.st.Heads().Partial)(g.site.t.Context(), v, func(id store.ID) bool {
		if seen[id] {
			return false
		}
		seen[id] = true
		ids = append(ids, id)
		return true
	}))
	return ids
}

// stream makes a request with a stream and reads the stream of the answer.
func (g *gadget) stream(path string, write func(*wire.Writer) error) (*wire.Reader, error) {
	var b bytes.Buffer
	w := wire.NewWriter(&b)
	if err := errors.Join(write(w), w.Close()); err != nil {
		return nil, err
	}
	got, err := g.do("POST", path, &b)
	return wire.NewReader(bytes.NewReader(got)), err
}

func at(l store.LayerID, verb string) string { return "/v1/layers/" + l.String() + "/" + verb }

func (g *gadget) upload(l store.LayerID, ids ...store.ID) error {
	_, err := g.stream(at(l, "upload"), func(w *wire.Writer) error {
		return g.st.Frames(g.site.t.Context(), ids, w.Frame)
	})
	return err
}

func (g *gadget) offer(l store.LayerID, ids ...store.ID) ([]bool, error) {
	r, err := g.stream(at(l, "offer"), func(w *wire.Writer) error { return w.IDs(ids) })
	if err != nil {
		return nil, err
	}
	rec, err := r.Next()
	if err != nil {
		return nil, err
	}
	return rec.Wants(len(ids))
}

// frames puts the frames of an answer into the device's store.
func (g *gadget) frames(r *wire.Reader) (ids []store.ID, err error) {
	ctx := g.site.t.Context()
	w, err := g.st.Begin(ctx, "test")
	if err != nil {
		return nil, err
	}
	defer w.Close()
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return ids, w.Flush(ctx)
		}
		if err != nil {
			return ids, err
		}
		got, err := w.PutFrame(ctx, rec.Frame())
		if err != nil {
			return ids, err
		}
		ids = append(ids, got...)
	}
}

func (g *gadget) fetch(l store.LayerID, ids ...store.ID) ([]store.ID, error) {
	r, err := g.stream(at(l, "fetch"), func(w *wire.Writer) error { return w.IDs(ids) })
	if err != nil {
		return nil, err
	}
	return g.frames(r)
}

func (g *gadget) history(l store.LayerID, want store.ID, have ...store.ID) ([]store.ID, error) {
	b, err := json.Marshal(syncer.HistoryRequest{Want: want, Have: have})
	if err != nil {
		return nil, err
	}
	got, err := g.do("POST", at(l, "history"), bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return g.frames(wire.NewReader(bytes.NewReader(got)))
}

func (g *gadget) push(l store.LayerID, from, to store.ID) error {
	return g.json("POST", at(l, "push"), syncer.PushRequest{From: from, To: to}, nil)
}

// send uploads all that a version reaches and pushes it.
func (g *gadget) send(l syncer.Layer, from, to store.ID) {
	g.site.t.Helper()
	ok(g.site.t, g.upload(l.ID, g.reach(to)...))
	ok(g.site.t, g.push(l.ID, from, to))
}
