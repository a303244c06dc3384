package benchmarks

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"satchel/layers"
	"satchel/layers/ingest"
	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer"
	"satchel/syncer/client"
	"satchel/syncer/device"
	"satchel/syncer/exchange"
	"satchel/syncer/identity"
)

// A school is a server in a process of its own, and its administrator.
type school struct {
	b           *testing.B
	dir         string
	url         string
	fingerprint string
	admin       *client.Admin
	server      *exec.Cmd
	pupils      int    // made so far
	homes       string // where homes are made
}

// startSchool makes and starts a server, built from this source.
func startSchool(b *testing.B) *school {
	b.Helper()
	s := &school{b: b, dir: b.TempDir()}
	s.homes = memory(s.dir)
	satchel := filepath.Join(s.dir, "satchel")
	if out, err := exec.Command("go", "build", "-o", satchel, "satchel/cmd/satchel").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command(satchel, "server", "init", filepath.Join(s.dir, "server"), "--json").Output()
	s.must(err)
	var made struct {
		Token       string `json:"admin_token"`
		Fingerprint string `json:"ca_fingerprint"`
	}
	s.must(json.Unmarshal(out, &made))
	s.fingerprint = made.Fingerprint

	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	address := l.Addr().String()
	s.must(l.Close())
	s.url = "https://" + address
	s.server = exec.Command(satchel, "server", "run", filepath.Join(s.dir, "server"), "--listen", address, "--log-level", "error")
	s.server.Stderr = os.Stderr
	s.must(s.server.Start())
	b.Cleanup(func() {
		s.server.Process.Signal(syscall.SIGTERM)
		s.server.Wait()
	})
	for range 200 {
		var c net.Conn
		if c, err = net.Dial("tcp", address); err == nil {
			c.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.must(err)
	ca, err := client.Authority(b.Context(), s.url, s.fingerprint)
	s.must(err)
	tls, err := identity.ClientTLS(ca, nil, nil)
	s.must(err)
	s.admin, err = client.NewAdmin(client.Options{Server: s.url, TLS: tls}, made.Token)
	s.must(err)
	return s
}

func (s *school) must(err error) {
	s.b.Helper()
	if err != nil {
		s.b.Fatal(err)
	}
}

func (s *school) post(path string, in, out any) {
	s.b.Helper()
	s.must(s.admin.Do(s.b.Context(), "POST", path, in, out))
}

// cpu is the processor time that the server has used, in seconds.
func (s *school) cpu() float64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.server.Process.Pid))
	s.must(err)
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	s.must(err)
	system, err := strconv.Atoi(fields[12])
	s.must(err)
	return float64(user+system) / 100
}

// peak is the most memory that the server has had, in MiB.
func (s *school) peak() float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.server.Process.Pid))
	s.must(err)
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	s.must(err)
	return float64(kib) / 1024
}

// A pupil is an enrolled home.
type pupil struct {
	store      *disk.Store
	repo       *repo.Repo
	workspaces *workspace.Set
	device     *device.Device
}

// enrol makes a home of a user's and joins it to the server at url.
func (s *school) enrol(user, url string) *pupil {
	s.b.Helper()
	var token syncer.Token
	s.post("tokens", syncer.Token{User: user, Uses: 1, Expires: time.Now().Add(time.Hour)}, &token)
	home, err := os.MkdirTemp(s.homes, "satchel-pupil-")
	s.must(err)
	s.b.Cleanup(func() { os.RemoveAll(home) })
	_, err = device.Enrol(s.b.Context(), home, device.EnrolOptions{URL: url, Token: token.Secret, Fingerprint: s.fingerprint, Name: user})
	s.must(err)
	st, err := disk.Open(filepath.Join(home, "store"))
	s.must(err)
	p := &pupil{store: st, repo: repo.New(st, user), workspaces: workspace.Open(home)}
	// Devices share the processors here, so each would take its line for a slow one,
	// and all of them would apply deltas on two cores.
	p.device, err = device.Open(device.Options{Home: home, Store: st, Repo: p.repo, Workspaces: p.workspaces, Deltas: exchange.Never})
	s.must(err)
	s.b.Cleanup(func() { p.device.Close(); st.Close() })
	return p
}

// grantToAll has everyone read a layer, and returns its ID.
func (s *school) grantToAll(layer string) store.LayerID {
	s.b.Helper()
	ctx := s.b.Context()
	s.must(s.admin.Do(ctx, "PUT", "layers/"+layer+"/grants/all", syncer.Grant{To: "all", Access: syncer.Read}, nil))
	var all []syncer.LayerInfo
	s.must(s.admin.Do(ctx, "GET", "layers", nil, &all))
	return all[slices.IndexFunc(all, func(l syncer.LayerInfo) bool { return l.Name == layer })].ID
}

// newPupil makes a user with a workspace over an operating system, and a home
// of hers.
func (s *school) newPupil(base store.LayerID, url string) *pupil {
	s.b.Helper()
	s.pupils++
	user := fmt.Sprintf("pupil-%d", s.pupils)
	s.post("users", syncer.User{Name: user}, nil)
	s.post("workspaces", syncer.Workspace{Name: "school", Owner: user, OS: base}, nil)
	return s.enrol(user, url)
}

// memory is a directory in memory, if there is one, so that hundreds of homes
// on one machine do not wait for its one disk.
func memory(otherwise string) string {
	if _, err := os.Stat("/dev/shm"); err == nil {
		return "/dev/shm"
	}
	return otherwise
}

// commit makes a version of a layer with files of random bytes, which
// packs keep about as they are.
func (p *pupil) commit(ctx context.Context, layer string, kind layers.Kind, seed uint64, files, bytesEach int) error {
	w, err := p.store.Begin(ctx, "commit")
	if err != nil {
		return err
	}
	defer w.Close()
	head, err := p.store.Heads().Lookup(ctx, layer)
	if err != nil {
		if head, err = p.repo.Create(ctx, layer); err != nil {
			return err
		}
	}
	r := rand.New(rand.NewPCG(seed, 0))
	pl := ingest.New(ctx, w, p.store.Domain())
	tree := make(layers.Tree, files)
	for i := range tree {
		data := make([]byte, bytesEach)
		for j := range data {
			data[j] = byte(r.Uint32() & 0x0f)
		}
		tree[i] = layers.Entry{Path: fmt.Sprintf("file-%06d", i), Type: layers.Regular, Mode: 0o644}
		pl.Add(&tree[i], func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	}
	if err := pl.Wait(); err != nil {
		return err
	}
	_, err = p.repo.Commit(ctx, w, repo.Commit{Head: head, Kind: kind, Tree: tree})
	return err
}

// workspace makes a workspace with an os layer called base and a data layer.
func (p *pupil) makeWorkspace(ctx context.Context, name string) error {
	def := workspace.Definition{Name: name}
	for layer, ref := range map[string]*workspace.Layer{
		"base": &def.OS, name + "/personal": &def.Personal, name + "/system": &def.System, name + "/local": &def.Local, name + "/data": &def.Data,
	} {
		head, err := p.store.Heads().Lookup(ctx, layer)
		if err != nil {
			if head, err = p.repo.Create(ctx, layer); err != nil {
				return err
			}
		}
		*ref = workspace.Layer{ID: head.Layer, Name: head.Name}
	}
	return p.workspaces.Create(def)
}

// BenchmarkFleet has a growing number of devices fetch a 20 MB update of their
// operating system at the same time, over TLS, from one server. Devices and
// server share the machine.
//
//	go test -run '^$' -bench Fleet -benchtime 1x ./benchmarks
func BenchmarkFleet(b *testing.B) {
	for _, n := range []int{10, 50, 100, 200} {
		b.Run(fmt.Sprintf("devices=%d", n), func(b *testing.B) { fleet(b, n) })
	}
}

func fleet(b *testing.B, n int) {
	ctx := b.Context()
	s := startSchool(b)
	s.post("users", syncer.User{Name: "teacher", Publisher: true}, nil)
	teacher := s.enrol("teacher", s.url)
	s.must(teacher.commit(ctx, "base", layers.OS, 1, 20, 50_000))
	s.must(teacher.makeWorkspace(ctx, "desk"))
	_, err := teacher.device.Sync(ctx)
	s.must(err)
	base := s.grantToAll("base")
	pupils := make([]*pupil, n)
	for i := range pupils {
		pupils[i] = s.newPupil(base, s.url)
	}
	syncAll(b, pupils)
	for seed := uint64(2); b.Loop(); seed++ {
		b.StopTimer()
		s.must(teacher.commit(ctx, "base", layers.OS, seed, 400, 50_000))
		_, err := teacher.device.Sync(ctx)
		s.must(err)
		cpu := s.cpu()
		b.StartTimer()
		took := syncAll(b, pupils)
		b.ReportMetric((s.cpu()-cpu)/float64(n)*1000, "server-ms-cpu/device")
		b.ReportMetric(took[n/2].Seconds(), "s-median")
		b.ReportMetric(took[n-1].Seconds(), "s-slowest")
		b.ReportMetric(s.peak(), "server-MiB")
	}
}

// syncAll syncs all at once and returns how long each took, in order.
func syncAll(b *testing.B, pupils []*pupil) []time.Duration {
	b.Helper()
	took := make([]time.Duration, len(pupils))
	var g errgroup.Group
	for i, p := range pupils {
		g.Go(func() error {
			begun := time.Now()
			_, err := p.device.Sync(b.Context())
			took[i] = time.Since(begun)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	slices.Sort(took)
	return took
}
