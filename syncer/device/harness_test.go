package device

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"satchel/layers"
	"satchel/layers/ingest"
	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer"
	"satchel/syncer/client"
	"satchel/syncer/identity"
	"satchel/syncer/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// memoryDir returns a directory that costs no disk writes.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "satchel-test-") //nolint:usetesting // another file system than the tests'
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// world is a server with its network.
type world struct {
	t     *testing.T
	dir   string
	addr  string
	made  server.Made
	admin *client.Admin
	http  *http.Server
	srv   *server.Server
	done  chan struct{}

	mu       sync.Mutex
	requests []string // method and path of each
	// cut, when not nil, is asked about each request that was served: true has
	// its answer lost.
	cut func(*http.Request) bool
	// before, when not nil, is called before each request is served. An error is
	// the answer.
	before func(*http.Request) error
	// alter, when not nil, changes answers.
	alter func(r *http.Request, body []byte) []byte
	// life of certificates; 0: as servers have it.
	life time.Duration
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: filepath.Join(memoryDir(t), "server"), addr: "127.0.0.1:0"}
	var err error
	w.made, err = server.Init(w.dir)
	must(t, err)
	w.start()
	t.Cleanup(w.stop)
	ca, err := client.Authority(t.Context(), w.url(), w.made.Fingerprint)
	must(t, err)
	conf, err := identity.ClientTLS(ca, nil, nil)
	must(t, err)
	w.admin, err = client.NewAdmin(client.Options{Server: w.url(), TLS: conf}, w.made.AdminToken)
	must(t, err)
	w.do("POST", "users", syncer.User{Name: "ana"}, nil)
	w.do("POST", "users", syncer.User{Name: "pub", Publisher: true}, nil)
	return w
}

func (w *world) url() string { return "https://" + w.addr }

func (w *world) start() {
	var err error
	w.srv, err = server.Open(w.dir, server.Options{Hosts: []string{"127.0.0.1"}, Life: w.life})
	must(w.t, err)
	l, err := net.Listen("tcp", w.addr)
	must(w.t, err)
	w.addr = l.Addr().String()
	w.http = &http.Server{Handler: http.HandlerFunc(w.serve), TLSConfig: w.srv.TLS(), ErrorLog: log.New(io.Discard, "", 0)}
	w.http.TLSConfig = w.http.TLSConfig.Clone()
	w.done = make(chan struct{})
	go func() {
		defer close(w.done)
		_ = w.http.Serve(tls.NewListener(l, withHTTP2(w.http.TLSConfig))) // it ends when it is closed
	}()
}

func withHTTP2(c *tls.Config) *tls.Config {
	if len(c.NextProtos) == 0 {
		c.NextProtos = []string{"h2", "http/1.1"}
	}
	return c
}

func (w *world) stop() {
	w.http.Close()
	<-w.done
	must(w.t, w.srv.Close())
}

// serve counts requests and loses answers.
func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.requests = append(w.requests, r.Method+" "+r.URL.Path)
	cut, before, alter := w.cut, w.before, w.alter
	w.mu.Unlock()
	if before != nil {
		if err := before(r); err != nil {
			refusal, status := syncer.ToError(err)
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(status)
			_ = json.NewEncoder(rw).Encode(refusal) // the client will tell
			return
		}
	}
	if cut == nil && alter == nil {
		w.srv.Handler().ServeHTTP(rw, r)
		return
	}
	held := &answer{header: http.Header{}}
	w.srv.Handler().ServeHTTP(held, r)
	if cut != nil && cut(r) {
		panic(http.ErrAbortHandler)
	}
	if alter != nil {
		body := alter(r, held.body.Bytes())
		held.body.Reset()
		held.body.Write(body)
	}
	maps.Copy(rw.Header(), held.header)
	rw.WriteHeader(held.code())
	_, _ = rw.Write(held.body.Bytes()) // the client will tell
}

// answer keeps an answer back.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(code int)        { a.status = code }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }
func (a *answer) Flush()                      {}

func (a *answer) code() int {
	if a.status == 0 {
		return http.StatusOK
	}
	return a.status
}

// counted returns what was requested since the last call.
func (w *world) counted() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	got := w.requests
	w.requests = nil
	return got
}

// lose loses the answers to requests whose path ends so, n times. The channel is
// closed when the first is lost.
func (w *world) lose(suffix string, n int) (lost <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := make(chan struct{})
	done := sync.OnceFunc(func() { close(first) })
	w.cut = func(r *http.Request) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		if n == 0 || !strings.HasSuffix(r.URL.Path, suffix) {
			return false
		}
		n--
		done()
		return true
	}
	return first
}

// hook sets what is called before each request.
func (w *world) hook(before func(*http.Request) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before = before
}

// lie sets what changes answers; nil: nothing.
func (w *world) lie(alter func(r *http.Request, body []byte) []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alter = alter
}

// restart stops the server and starts it with certificates of that life.
func (w *world) restart(life time.Duration) {
	w.t.Helper()
	w.stop()
	must(w.t, w.admin.Close()) // a POST on a connection that is gone is not sent again
	w.life = life
	w.start()
}

func (w *world) do(method, path string, in, out any) {
	w.t.Helper()
	must(w.t, w.admin.Do(w.t.Context(), method, path, in, out))
}

// token makes a token of a user.
func (w *world) token(user string) string {
	w.t.Helper()
	var got syncer.Token
	w.do("POST", "tokens", syncer.Token{User: user, Uses: 1, Expires: time.Now().Add(time.Hour)}, &got)
	return got.Secret
}

// home is a home and its device.
type home struct {
	t    *testing.T
	dir  string
	st   *disk.Store
	repo *repo.Repo
	set  *workspace.Set
	dev  *Device
}

// newHome returns a home with a store of its own.
func newHome(t *testing.T, name string) *home {
	h := &home{t: t, dir: memoryDir(t)}
	st, err := disk.Create(filepath.Join(h.dir, storeDir))
	must(t, err)
	h.st, h.repo, h.set = st, repo.New(st, name), workspace.Open(h.dir)
	t.Cleanup(h.close)
	return h
}

func (h *home) close() {
	if h.dev != nil {
		must(h.t, h.dev.Close())
	}
	if h.st != nil {
		must(h.t, h.st.Close())
	}
	h.dev, h.st = nil, nil
}

func (w *world) enrolOptions(user, name string) EnrolOptions {
	return EnrolOptions{URL: w.url(), Token: w.token(user), Fingerprint: w.made.Fingerprint, Name: name}
}

// enrolled returns a fresh home of a user, enrolled.
func (w *world) enrolled(user, name string) *home {
	w.t.Helper()
	h := newHome(w.t, name)
	h.enrol(w.enrolOptions(user, name))
	return h
}

func (h *home) enrol(opt EnrolOptions) {
	h.t.Helper()
	h.close()
	_, err := Enrol(h.t.Context(), h.dir, opt)
	must(h.t, err)
	h.open()
}

func (h *home) open() {
	h.t.Helper()
	conf, err := Load(h.dir)
	must(h.t, err)
	h.st, err = disk.Open(filepath.Join(h.dir, storeDir))
	must(h.t, err)
	h.repo, h.set = repo.New(h.st, conf.Device), workspace.Open(h.dir)
	h.dev, err = Open(Options{Home: h.dir, Store: h.st, Repo: h.repo, Workspaces: h.set})
	must(h.t, err)
}

// plain makes the parts of a home that need no server.
func (h *home) plain() {
	h.repo, h.set = repo.New(h.st, "test"), workspace.Open(h.dir)
}

func (h *home) sync(names ...string) Report {
	h.t.Helper()
	rep, err := h.dev.Sync(h.t.Context(), names...)
	must(h.t, err)
	return rep
}

// workspace makes a workspace over an os layer of that name, with layers as
// satchel workspace create names them.
func (h *home) workspace(name, osLayer string) {
	h.t.Helper()
	at, err := h.st.Heads().Lookup(h.t.Context(), osLayer)
	must(h.t, err)
	def := workspace.Definition{Name: name, OS: workspace.Layer{ID: at.Layer, Name: at.Name}}
	for kind, l := range map[layers.Kind]*workspace.Layer{
		layers.Personal: &def.Personal, layers.System: &def.System, layers.Local: &def.Local, layers.Data: &def.Data,
	} {
		head, err := h.repo.Create(h.t.Context(), name+"/"+string(kind))
		must(h.t, err)
		*l = workspace.Layer{ID: head.Layer, Name: head.Name}
	}
	must(h.t, h.set.Create(def))
}

// layer makes a layer with one version.
func (h *home) layer(name string, kind layers.Kind, files map[string]string) {
	h.t.Helper()
	_, err := h.repo.Create(h.t.Context(), name)
	must(h.t, err)
	h.commit(name, kind, files)
}

// commit makes a version of a layer in which the files are those; empty ones
// are removed.
func (h *home) commit(name string, kind layers.Kind, files map[string]string) store.ID {
	h.t.Helper()
	id, err := h.tryCommit(h.t.Context(), name, kind, files)
	must(h.t, err)
	return id
}

func (h *home) tryCommit(ctx context.Context, name string, kind layers.Kind, files map[string]string) (_ store.ID, err error) {
	w, err := h.st.Begin(ctx, "test")
	if err != nil {
		return store.ID{}, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	head, err := h.st.Heads().Lookup(ctx, name)
	if err != nil {
		return store.ID{}, err
	}
	tree, err := h.repo.Tree(ctx, name)
	if err != nil {
		return store.ID{}, err
	}
	tree = slices.DeleteFunc(tree, func(e layers.Entry) bool { _, ok := files[e.Path]; return ok })
	pipe := ingest.New(ctx, w, h.st.Domain())
	var added []*layers.Entry
	for path, content := range files {
		if content == "" {
			continue
		}
		e := &layers.Entry{Path: path, Type: layers.Regular, Mode: 0o644, ModTime: layers.Time{Sec: int64(len(content))}}
		if err := pipe.AddStream(e, strings.NewReader(content)); err != nil {
			return store.ID{}, err
		}
		added = append(added, e)
	}
	if err := pipe.Wait(); err != nil {
		return store.ID{}, err
	}
	for _, e := range added {
		tree = append(tree, *e)
	}
	tree.Sort()
	ids, err := h.repo.Commit(ctx, w, repo.Commit{Head: head, Kind: kind, Tree: tree, Message: "test"})
	if err != nil {
		return store.ID{}, err
	}
	return ids[0], nil
}

// files returns the contents of all files of a version.
func (h *home) files(ref string) map[string]string {
	h.t.Helper()
	tree, err := h.repo.Tree(h.t.Context(), ref)
	must(h.t, err)
	files := map[string]string{}
	for _, e := range tree {
		var b []byte
		for _, x := range e.Extents {
			chunk, err := h.st.Get(h.t.Context(), x.ID)
			must(h.t, err)
			b = append(b, chunk...)
		}
		files[e.Path] = string(b)
	}
	return files
}

func (h *home) head(name string) store.Head {
	h.t.Helper()
	head, err := h.st.Heads().Lookup(h.t.Context(), name)
	must(h.t, err)
	return head
}

// history returns all versions in a layer's history.
func (h *home) history(name string) map[store.ID]bool {
	h.t.Helper()
	seen := map[store.ID]bool{}
	for e, err := range h.repo.Log(h.t.Context(), h.head(name)) {
		must(h.t, err)
		seen[e.ID] = true
	}
	return seen
}

// sound checks the whole store, and that gc finds all that it needs.
func (h *home) sound() {
	h.t.Helper()
	_, err := h.st.GC(h.t.Context(), h.repo.Walker())
	must(h.t, err)
	res, err := h.st.Verify(h.t.Context(), h.repo.Walker(), nil)
	must(h.t, err)
	if !res.OK() {
		h.t.Errorf("store is damaged: %v %+v", res.Err(), res)
	}
}

// wantSame checks that a layer is the same on two homes, in all its files.
func wantSame(t *testing.T, a, b *home, name string) {
	t.Helper()
	if x, y := a.head(name), b.head(name); x.Version != y.Version || x.Layer != y.Layer {
		t.Errorf("layer %s: %v and %v", name, x, y)
	}
	if x, y := a.files(name), b.files(name); !maps.Equal(x, y) {
		t.Errorf("layer %s: %v and %v", name, x, y)
	}
}

func wantFiles(t *testing.T, h *home, ref string, want map[string]string) {
	t.Helper()
	if got := h.files(ref); !maps.Equal(got, want) {
		t.Errorf("%s holds %v, want %v", ref, got, want)
	}
}

// wantNote checks that a report says something.
func wantNote(t *testing.T, rep Report, parts ...string) {
	t.Helper()
	for _, part := range parts {
		said := slices.ContainsFunc(rep.Notes, func(n string) bool { return strings.Contains(n, part) }) ||
			slices.ContainsFunc(rep.Layers, func(l LayerReport) bool { return strings.Contains(l.Note, part) })
		if !said {
			t.Errorf("no note says %q: %q %+v", part, rep.Notes, rep.Layers)
		}
	}
}

// reported returns what a report says of a layer.
func reported(t *testing.T, rep Report, name string) LayerReport {
	t.Helper()
	i := slices.IndexFunc(rep.Layers, func(l LayerReport) bool { return l.Name == name })
	if i < 0 {
		t.Fatalf("no report of layer %s: %+v", name, rep)
	}
	return rep.Layers[i]
}

// large returns contents of several chunks.
func large(seed, size int) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "%d line %d of %d\n", (i*7919+seed*104729)%1000003, i, seed)
	}
	return b.String()
}

// withOS publishes an os layer and lets everybody read it.
func (w *world) withOS() *home {
	w.t.Helper()
	pub := w.enrolled("pub", "press")
	pub.layer("debian-12", layers.OS, map[string]string{"etc/os-release": "Debian 12", "usr/big": large(1, 300_000)})
	_, err := pub.dev.Publish(w.t.Context(), "debian-12")
	must(w.t, err)
	w.do("PUT", "layers/debian-12/grants/all", syncer.Grant{To: "all", Access: syncer.Read}, nil)
	return pub
}

// pair returns two devices of ana with one workspace of that name.
func (w *world) pair() (a, b *home) {
	w.t.Helper()
	w.withOS()
	a, b = w.enrolled("ana", "laptop"), w.enrolled("ana", "desk")
	a.bringOS(w)
	a.workspace("ana", "debian-12")
	a.sync()
	b.sync()
	return a, b
}

// bringOS adds the published layer to a home, as an administrator's workspace
// would.
func (h *home) bringOS(w *world) {
	h.t.Helper()
	var infos []syncer.LayerInfo
	w.do("GET", "layers", nil, &infos)
	for _, l := range infos {
		if l.Name == "debian-12" {
			_, err := h.st.Heads().Add(h.t.Context(), l.ID, l.Name)
			must(h.t, err)
		}
	}
	h.sync()
}
