package syncer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer"
	"satchel/syncer/client"
	"satchel/syncer/device"
	"satchel/syncer/identity"
	"satchel/syncer/server"
)

const devices = 3

// skews are by how much the devices' clocks are wrong when a session is captured.
var skews = [devices]time.Duration{0, time.Hour, -40 * 24 * time.Hour}

// An origin is a server and devices that are enrolled and in sync. Each script
// begins with a copy of it.
type origin struct {
	dir   string
	ca    []byte
	token string
	seen  seen
}

// memoryDir is a directory that goes when the test ends, in memory if there is
// such a place: scripts sync files all the time.
func memoryDir(t testing.TB) string {
	t.Helper()
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "satchel-model-") //nolint:usetesting // t.TempDir is not in memory
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newOrigin(t *testing.T) *origin {
	t.Helper()
	o := &origin{dir: memoryDir(t)}
	made, err := server.Init(filepath.Join(o.dir, "server"))
	if err != nil {
		t.Fatal(err)
	}
	o.token = made.AdminToken
	w := &world{t: t, origin: o, dir: o.dir, rec: newRecord()}
	w.startServer(disk.Open)
	defer w.close()
	if o.ca, err = client.Authority(t.Context(), w.url, made.Fingerprint); err != nil {
		t.Fatal(err)
	}
	admin := w.admin()
	if err := admin.Do(t.Context(), "POST", "users", syncer.User{Name: "ana", Publisher: true}, nil); err != nil {
		t.Fatal(err)
	}
	var token syncer.Token
	if err := admin.Do(t.Context(), "POST", "tokens", syncer.Token{User: "ana", Uses: devices, Expires: time.Now().Add(time.Hour)}, &token); err != nil {
		t.Fatal(err)
	}
	for i := range w.devices {
		home := w.home(i)
		if err := os.MkdirAll(home, 0o700); err != nil {
			t.Fatal(err)
		}
		_, err := device.Enrol(t.Context(), home, device.EnrolOptions{
			URL: w.url, Token: token.Secret, Fingerprint: made.Fingerprint, Name: fmt.Sprintf("device-%d", i),
		})
		if err != nil {
			t.Fatal(err)
		}
		w.openDevice(i, disk.Open)
		if i == 0 {
			w.makeWorkspace()
		}
		w.mustSync(i)
	}
	w.mustSync(0)
	return o
}

// makeWorkspace makes the workspace w on the first device.
func (w *world) makeWorkspace() {
	d := w.devices[0]
	base := layers.Tree{{Path: "etc", Type: layers.Dir, Mode: 0o755}}
	def := workspace.Definition{Name: "w"}
	for _, l := range []struct {
		name string
		kind layers.Kind
		tree layers.Tree
		ref  *workspace.Layer
	}{
		{"base", layers.OS, base, &def.OS},
		{"w/personal", layers.Personal, nil, &def.Personal},
		{"w/system", layers.System, nil, &def.System},
		{"w/local", layers.Local, nil, &def.Local},
		{"w/data", layers.Data, nil, &def.Data},
	} {
		head, err := d.repo.Create(w.ctx(), l.name)
		w.must(err)
		*l.ref = workspace.Layer{ID: head.Layer, Name: head.Name}
		wr, err := d.store.Begin(w.ctx(), "origin")
		w.must(err)
		_, err = d.repo.Commit(w.ctx(), wr, repo.Commit{Head: head, Kind: l.kind, Tree: l.tree, Message: "origin"})
		w.must(errors.Join(err, wr.Close()))
	}
	w.must(d.workspaces.Create(def))
}

// failer is what a test or one run of a property reports to.
type failer interface {
	Fatal(...any)
	Fatalf(string, ...any)
	Logf(string, ...any)
}

// A world is one copy of the origin in which a script happens.
type world struct {
	t       failer
	origin  *origin
	dir     string
	url     string
	flaky   *flakyListener
	server  *server.Server
	stopped chan error
	stop    context.CancelFunc
	devices [devices]*homeDevice
	rec     *record
}

type homeDevice struct {
	store      *disk.Store
	repo       *repo.Repo
	workspaces *workspace.Set
	device     *device.Device
}

func (w *world) must(err error) {
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) ctx() context.Context { return context.Background() }

func (w *world) home(i int) string { return filepath.Join(w.dir, fmt.Sprintf("home%d", i)) }

func (o *origin) world(t failer) *world {
	dir, err := os.MkdirTemp(filepath.Dir(o.dir), "satchel-model-")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", o.dir+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w := &world{t: t, origin: o, dir: dir, rec: newRecord()}
	w.startServer(disk.Open)
	for i := range w.devices {
		w.openDevice(i, disk.Open)
	}
	return w
}

func (w *world) close() {
	for i := range w.devices {
		w.closeDevice(i)
	}
	w.stopServer()
	w.flaky.Close()
	if w.dir != w.origin.dir {
		os.RemoveAll(w.dir)
	}
}

// opener opens a store, which may be one that fails.
type opener func(dir string) (*disk.Store, error)

// powerFailure returns an opener of a store whose power fails at the n-th
// durable step, before it happens or just after.
func powerFailure(n int) (open opener, failed func() bool) {
	var mu sync.Mutex
	steps := 0
	open = func(dir string) (*disk.Store, error) {
		return disk.OpenFaulty(dir, func(string, string) (error, bool) { //nolint:revive // as OpenFaulty has it
			mu.Lock()
			defer mu.Unlock()
			steps++
			if steps <= n {
				return nil, false
			}
			return errors.New("power failed"), n%2 == 1 && steps == n+1
		})
	}
	return open, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return steps > n
	}
}

// startServer opens and serves the server's directory, always at the same
// address.
func (w *world) startServer(open opener) {
	if w.flaky == nil {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		w.must(err)
		w.flaky = newFlaky(l)
		w.url = "https://" + l.Addr().String()
	}
	srv, err := server.Open(filepath.Join(w.dir, "server"), server.Options{OpenStore: open})
	w.must(err)
	ctx, stop := context.WithCancel(context.Background())
	w.server, w.stop, w.stopped = srv, stop, make(chan error, 1)
	go func() { w.stopped <- srv.Serve(ctx, w.flaky.forServer(), 0) }()
}

func (w *world) stopServer() {
	if w.server == nil {
		return
	}
	w.stop()
	<-w.stopped
	w.server.Close()
	w.server = nil
}

func (w *world) openDevice(i int, open opener) {
	home := w.home(i)
	path := filepath.Join(home, "device.json")
	var config map[string]any
	b, err := os.ReadFile(path)
	w.must(err)
	w.must(json.Unmarshal(b, &config))
	config["url"] = w.url
	b, err = json.Marshal(config)
	w.must(err)
	w.must(os.WriteFile(path, b, 0o600))

	st, err := open(filepath.Join(home, "store"))
	w.must(err)
	d := &homeDevice{store: st, repo: repo.New(st, fmt.Sprintf("device-%d", i)), workspaces: workspace.Open(home)}
	d.device, err = device.Open(device.Options{Home: home, Store: st, Repo: d.repo, Workspaces: d.workspaces})
	w.must(err)
	w.devices[i] = d
}

func (w *world) closeDevice(i int) {
	if d := w.devices[i]; d != nil {
		d.device.Close()
		d.store.Close()
		w.devices[i] = nil
	}
}

func (w *world) reopenDevice(i int, open opener) {
	w.closeDevice(i)
	w.openDevice(i, open)
}

func (w *world) sync(i int) error { return w.syncUntil(w.ctx(), i) }

func (w *world) syncUntil(ctx context.Context, i int) error {
	report, err := w.devices[i].device.Sync(ctx)
	w.origin.seen.report(report)
	return err
}

// cut has all connections of a sync cut once, or has the network gone until the
// user gives up.
func (w *world) cut(i, after int, outage bool) {
	what := "cuts"
	ctx, giveUp := context.WithCancel(w.ctx())
	defer giveUp()
	onCut := func() {}
	if outage {
		what, onCut = "outages", giveUp
	}
	w.flaky.cutAfter(after, outage, onCut)
	w.syncUntil(ctx, i) //nolint:errcheck // it may fail
	w.origin.seen.hit(what, w.flaky.heal())
}

func (w *world) mustSync(i int) {
	if err := w.sync(i); err != nil {
		w.t.Fatalf("sync of device %d: %v", i, err)
	}
}

func (w *world) admin() *client.Admin {
	tls, err := identity.ClientTLS(w.origin.ca, nil, nil)
	w.must(err)
	a, err := client.NewAdmin(client.Options{Server: w.url, TLS: tls}, w.origin.token)
	w.must(err)
	return a
}

// do makes one step happen. What a fault brings about is no failure; all else is.
func (w *world) do(s step) {
	r := rand.New(rand.NewPCG(uint64(s.n), 1))
	i := s.device
	switch s.do {
	case "work":
		w.must(w.work(i, r))
	case "sync":
		w.mustSync(i)
	case "lazy":
		other := (i + 1) % devices
		w.must(w.publish(other, r))
		w.mustSync(other)
		report, err := w.devices[i].device.SyncLazily(w.ctx())
		w.must(err)
		w.origin.seen.report(report)
		w.origin.seen.hit("thin versions", w.thin(i) > 0)
	case "lazy-cut":
		w.flaky.cutAfter(s.n, false, func() {})
		w.devices[i].device.SyncLazily(w.ctx()) //nolint:errcheck // it may fail
		w.origin.seen.hit("cuts", w.flaky.heal())
	case "race":
		var syncs []func() error
		for i := range devices {
			w.must(w.work(i, r))
			syncs = append(syncs, func() error { return w.sync(i) })
		}
		w.must(together(syncs...))
	case "work-while-sync":
		w.must(together(func() error { return w.sync(i) }, func() error {
			if err := w.work(i, r); !errors.Is(err, store.ErrMoved) {
				return err
			}
			return nil // the sync was first
		}))
	case "cut":
		w.cut(i, s.n, false)
	case "outage":
		w.cut(i, s.n, true)
	case "crash":
		open, failed := powerFailure(s.n)
		w.reopenDevice(i, open)
		w.sync(i)
		w.reopenDevice(i, disk.Open)
		w.origin.seen.hit("crashes", failed())
	case "crash-server":
		open, failed := powerFailure(s.n)
		w.stopServer()
		w.startServer(open)
		w.sync(i)
		w.stopServer()
		w.startServer(disk.Open)
		w.origin.seen.hit("crashes of the server", failed())
	case "restart":
		w.stopServer()
		w.startServer(disk.Open)
	case "rollback":
		w.must(w.rollback(i, r))
	case "publish":
		w.must(w.publish(i, r))
	case "hand-out":
		w.must(w.handOut())
	case "gc":
		_, err := w.devices[i].store.GC(w.ctx(), w.devices[i].repo.Walker())
		w.must(err)
	case "evict":
		e, err := w.devices[i].device.Evict(w.ctx(), 1, false)
		w.must(err)
		w.origin.seen.hit("evictions", len(e.Evicted) > 0)
	case "crash-evict":
		open, failed := powerFailure(s.n)
		w.reopenDevice(i, open)
		w.devices[i].device.Evict(w.ctx(), 1, false) //nolint:errcheck // it may fail
		w.reopenDevice(i, disk.Open)
		w.origin.seen.hit("crashes of evictions", failed())
	case "gc-server":
		w.onServerStore(func(st *disk.Store) error {
			_, err := st.GC(w.ctx(), repo.New(st, "server").Walker())
			return err
		})
	case "forget":
		w.closeDevice(i)
		os.Remove(filepath.Join(w.home(i), "sync.json"))
		w.openDevice(i, disk.Open)
	}
}

// thin tells how many versions of a device have contents still to come.
func (w *world) thin(i int) int {
	thin, err := w.devices[i].store.Heads().Thin(w.ctx())
	w.must(err)
	return len(thin)
}

// together runs functions at the same time.
func together(all ...func() error) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, do := range all {
		wg.Go(func() { errs[i] = do() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (w *world) work(i int, r *rand.Rand) error {
	d := w.devices[i]
	s := session{st: d.store, repo: d.repo, layer: "w/data", skew: skews[i], name: fmt.Sprintf("device-%d", i)}
	return s.run(w.ctx(), r, w.rec)
}

// rollback makes an older version the newest again, as a user would who has
// seen what is there now.
func (w *world) rollback(i int, r *rand.Rand) error {
	d := w.devices[i]
	at, err := d.repo.Resolve(w.ctx(), "w/data")
	if err != nil {
		return err
	}
	var here []store.ID
	for e, err := range d.repo.Log(w.ctx(), at.Head) {
		if err != nil {
			return err
		}
		if !e.Partial {
			here = append(here, e.ID)
		}
	}
	before, err := w.seeVersion(d.store, at.ID)
	if err != nil {
		return err
	}
	id, err := d.repo.Rollback(w.ctx(), "w/data", here[r.IntN(len(here))].String())
	if err != nil {
		return err
	}
	after, err := w.seeVersion(d.store, id)
	if err != nil {
		return err
	}
	w.rec.note(before, after, id)
	return nil
}

func (w *world) seeVersion(st *disk.Store, version store.ID) (sight, error) {
	v, err := manifest.ReadVersion(w.ctx(), st, version)
	if err != nil {
		return sight{}, err
	}
	t, err := manifest.ReadTree(w.ctx(), st, v.Tree)
	if err != nil {
		return sight{}, err
	}
	return see(w.ctx(), st, t)
}

// publish makes a new version of the operating system.
func (w *world) publish(i int, r *rand.Rand) error {
	d := w.devices[i]
	wr, err := d.store.Begin(w.ctx(), "publish")
	if err != nil {
		return err
	}
	defer wr.Close()
	at, err := d.repo.Resolve(w.ctx(), "base")
	if err != nil {
		return err
	}
	t := layers.Tree{{Path: fmt.Sprintf("etc/release-%d", r.IntN(1<<20)), Type: layers.Dir, Mode: 0o755}}
	_, err = d.repo.Commit(w.ctx(), wr, repo.Commit{Head: at.Head, Kind: layers.OS, Tree: t, Message: "release"})
	return err
}

// handOut adds a file for all users, half of the time one that may be there already.
func (w *world) handOut() error {
	line := w.rec.line()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	name := fmt.Sprintf("file%d.txt", w.rec.next%4)
	tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(line) + 1), Typeflag: tar.TypeReg})
	fmt.Fprintln(tw, line)
	if err := tw.Close(); err != nil {
		return err
	}
	out, err := w.admin().Handout(w.ctx(), client.HandoutRequest{To: "all", Into: "home/dir1", Title: "task"}, &b)
	if err != nil {
		return err
	}
	for _, l := range out.Layers {
		if l.Error != "" {
			return errors.New(l.Error)
		}
		w.rec.handed[line] = true
		w.onServerStore(func(st *disk.Store) error { return w.noteHandOut(st, l.Version) })
	}
	return nil
}

// noteHandOut notes what a hand-out brought. It may replace what an earlier one
// put there and nobody has changed, but nothing else.
func (w *world) noteHandOut(st *disk.Store, version store.ID) error {
	v, err := manifest.ReadVersion(w.ctx(), st, version)
	if err != nil {
		return err
	}
	before, err := w.seeVersion(st, v.Parents[0])
	if err != nil {
		return err
	}
	after, err := w.seeVersion(st, version)
	if err != nil {
		return err
	}
	for line := range before.lines {
		if after.count(line) == 0 && !w.rec.handed[line] {
			return fmt.Errorf("hand-out %s took out %q, which a user wrote", version.Short(), line)
		}
	}
	w.rec.note(before, after, version)
	return nil
}

// onServerStore does something with the server's store beside the server, as
// another process may.
func (w *world) onServerStore(do func(*disk.Store) error) {
	st, err := disk.Open(filepath.Join(w.dir, "server", "store"))
	w.must(err)
	defer st.Close()
	w.must(do(st))
}

// settle syncs all devices, without faults, until nothing moves.
func (w *world) settle() {
	for range 10 {
		moved := false
		for i := range w.devices {
			report, err := w.devices[i].device.Sync(w.ctx())
			w.origin.seen.report(report)
			if err != nil {
				w.t.Fatalf("device %d does not settle: %v", i, err)
			}
			for _, l := range report.Layers {
				moved = moved || !l.Pulled.IsZero() || !l.Merged.IsZero() || !l.Pushed.IsZero()
			}
		}
		if !moved {
			return
		}
	}
	w.t.Fatal("the devices do not come to rest")
}

// check looks at what must hold once all is settled.
func (w *world) check() {
	w.onServerStore(func(st *disk.Store) error {
		rp := repo.New(st, "server")
		w.whole("server", st, rp)
		at, err := rp.Resolve(w.ctx(), "ana/w/data")
		if err != nil {
			return err
		}
		w.checkHistory(rp, at.Head)
		w.checkLines(st, rp, at.Head)
		w.lookAround(st, at)
		for i, d := range w.devices {
			w.whole(fmt.Sprintf("device %d", i), d.store, d.repo)
			if n := w.thin(i); n > 0 {
				w.t.Fatalf("device %d has %d versions that are still being fetched", i, n)
			}
			for here, there := range map[string]string{"w/data": "ana/w/data", "w/system": "ana/w/system", "base": "base"} {
				a, err := d.repo.Resolve(w.ctx(), here)
				w.must(err)
				b, err := rp.Resolve(w.ctx(), there)
				w.must(err)
				if a.ID != b.ID {
					w.t.Fatalf("device %d has %s at %s, the server at %s", i, here, a.ID.Short(), b.ID.Short())
				}
			}
		}
		return nil
	})
}

// whole checks that a store has all that its heads reach, before and after gc.
func (w *world) whole(who string, st *disk.Store, rp *repo.Repo) {
	for range 2 {
		found, err := st.Verify(w.ctx(), rp.Walker(), nil)
		if err = errors.Join(err, found.Err()); err != nil {
			w.t.Fatalf("%s: %v", who, err)
		}
		if _, err := st.GC(w.ctx(), rp.Walker()); err != nil {
			w.t.Fatalf("%s: gc: %v", who, err)
		}
	}
}

// checkHistory checks that every version that was ever captured is in the
// server's history of the layer, which is whole.
func (w *world) checkHistory(rp *repo.Repo, head store.Head) {
	history := map[store.ID]bool{}
	for e, err := range rp.Log(w.ctx(), head) {
		w.must(err)
		history[e.ID] = true
	}
	for _, id := range w.rec.made {
		if !history[id] {
			w.t.Fatalf("version %s was captured but is not in the history", id.Short())
		}
	}
}

// checkLines checks that every line that was written is there, unless somebody
// who had seen it took it out.
func (w *world) checkLines(st *disk.Store, rp *repo.Repo, head store.Head) {
	final, err := w.seeVersion(st, head.Version)
	w.must(err)
	for line, by := range w.rec.written {
		if final.count(line) == 0 && !w.rec.dropped[line] {
			w.tell(st, rp, head, line)
			w.t.Fatalf("%q, written in version %s, is gone, and nobody took it out", line, by.Short())
		}
	}
}

// lookAround counts what is in the version that all have at the end.
func (w *world) lookAround(st *disk.Store, at repo.Resolved) {
	t, err := manifest.ReadTree(w.ctx(), st, at.Version.Tree)
	w.must(err)
	names := map[layers.Type]string{
		layers.Hardlink: "hard links", layers.Symlink: "symbolic links", layers.Whiteout: "whiteouts", layers.Dir: "directories",
	}
	for i := range t {
		if name := names[t[i].Type]; name != "" {
			w.origin.seen.add(name, 1)
		}
		if strings.Contains(t[i].Path, " (from ") {
			w.origin.seen.add("kept files", 1)
		}
	}
	w.origin.seen.add("scripts", 1)
}

// tell logs the history of a layer, and which versions have a line.
func (w *world) tell(st *disk.Store, rp *repo.Repo, head store.Head, line string) {
	for e, err := range rp.Log(w.ctx(), head) {
		w.must(err)
		var parents []string
		for _, p := range e.Version.Parents {
			parents = append(parents, p.Short())
		}
		all, err := w.seeVersion(st, e.ID)
		w.must(err)
		w.t.Logf("%s of %v, %s: %s; has the line %d times", e.ID.Short(), parents, e.Version.Device, e.Version.Message, all.count(line))
	}
}

// A flakyListener can cut its connections off after a number of bytes. It
// outlives the servers that it accepts connections for.
type flakyListener struct {
	net.Listener
	accepted chan net.Conn

	mu     sync.Mutex
	budget int // bytes until all connections are cut
	armed  bool
	outage bool   // new connections are cut, too
	onCut  func() // called at each cut
	hit    bool
	conns  map[*flakyConn]struct{}
}

func newFlaky(l net.Listener) *flakyListener {
	f := &flakyListener{Listener: l, accepted: make(chan net.Conn, 16), conns: map[*flakyConn]struct{}{}}
	go func() {
		defer close(f.accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.accepted <- c
		}
	}()
	return f
}

// forServer returns a listener for one server.
func (l *flakyListener) forServer() net.Listener {
	return &turn{flakyListener: l, over: make(chan struct{})}
}

// A turn is one server's time at a flakyListener.
type turn struct {
	*flakyListener
	once sync.Once
	over chan struct{}
}

func (t *turn) Accept() (net.Conn, error) {
	select {
	case c, ok := <-t.accepted:
		if !ok {
			return nil, net.ErrClosed
		}
		f := &flakyConn{c, t.flakyListener}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.conns[f] = struct{}{}
		return f, nil
	case <-t.over:
		return nil, net.ErrClosed
	}
}

func (t *turn) Close() error {
	t.once.Do(func() { close(t.over) })
	return nil
}

// cutAfter lets n more bytes through, in both directions together, and calls
// onCut when it cuts.
func (l *flakyListener) cutAfter(n int, outage bool, onCut func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.budget, l.armed, l.outage, l.onCut, l.hit = n, true, outage, onCut, false
}

// heal ends the faults and reports whether there was one.
func (l *flakyListener) heal() (hit bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed = false
	return l.hit
}

// spend takes bytes off the budget and cuts all connections when it is used up.
func (l *flakyListener) spend(n int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.armed {
		return nil
	}
	if l.budget -= n; l.budget >= 0 {
		return nil
	}
	for c := range l.conns {
		c.Conn.Close()
	}
	l.armed, l.hit = l.outage, true
	l.onCut()
	return net.ErrClosed
}

type flakyConn struct {
	net.Conn
	l *flakyListener
}

func (c *flakyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if cut := c.l.spend(n); cut != nil {
		return 0, cut
	}
	return n, err
}

func (c *flakyConn) Write(b []byte) (int, error) {
	if err := c.l.spend(len(b)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *flakyConn) Close() error {
	c.l.mu.Lock()
	delete(c.l.conns, c)
	c.l.mu.Unlock()
	return c.Conn.Close()
}
