package syncer_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store/disk"
	"satchel/syncer/device"
	"satchel/syncer/server"
)

// This test's program is also a server, or a device that syncs, which kills
// itself at a durable step of its store.
func TestMain(m *testing.M) {
	var err error
	switch role, dir, _ := strings.Cut(os.Getenv("SATCHEL_KILLED"), "="); role {
	case "":
		os.Exit(m.Run())
	case "server":
		err = serveUntilKilled(dir)
	case "device":
		err = syncUntilKilled(dir)
	}
	fmt.Fprintln(os.Stderr, err)
	if err != nil {
		os.Exit(1)
	}
}

// killer opens a store whose process is killed after so many durable steps,
// which is before the next.
func killer(dir string) (*disk.Store, error) {
	n, err := strconv.ParseInt(os.Getenv("SATCHEL_KILLED_AT"), 10, 64)
	if err != nil {
		return nil, err
	}
	var steps atomic.Int64
	return disk.OpenFaulty(dir, func(string, string) (error, bool) { //nolint:revive // as OpenFaulty has it
		if steps.Add(1) > n {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil, false
	})
}

func serveUntilKilled(dir string) error {
	s, err := server.Open(dir, server.Options{OpenStore: killer})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return s.Serve(context.Background(), l, 0)
}

func syncUntilKilled(home string) error {
	st, err := killer(home + "/store")
	if err != nil {
		return err
	}
	d, err := device.Open(device.Options{Home: home, Store: st, Repo: repo.New(st, "device"), Workspaces: workspace.Open(home)})
	if err != nil {
		return err
	}
	_, err = d.Sync(context.Background())
	return err
}

// child starts this program in a role.
func child(t *testing.T, role, dir string, at int) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exe)
	c.Env = append(os.Environ(), "SATCHEL_KILLED="+role+"="+dir, fmt.Sprintf("SATCHEL_KILLED_AT=%d", at))
	return c
}

// stride is how many durable steps lie between two kills.
func stride() int {
	if testing.Short() {
		return 7
	}
	return 1
}

// TestServerKilled kills the server with -9 before each durable step of a push
// in turn. The device then syncs with a server that is started again.
func TestServerKilled(t *testing.T) {
	o := newOrigin(t)
	for at, over := 0, false; !over; at += stride() {
		t.Run(fmt.Sprintf("step=%d", at), func(t *testing.T) {
			w := o.world(t)
			defer w.close()
			w.must(w.work(0, rand.New(rand.NewPCG(1, 1))))
			w.stopServer()
			srv := child(t, "server", w.dir+"/server", at)
			out, err := srv.StdoutPipe()
			w.must(err)
			w.must(srv.Start())
			address, err := bufio.NewReader(out).ReadString('\n')
			w.must(err)
			url := w.url
			w.url = "https://" + strings.TrimSpace(address)
			w.reopenDevice(0, disk.Open)
			ctx, dead := context.WithCancel(t.Context())
			go func() { srv.Wait(); dead() }() // no need to try a dead server again
			_, err = w.devices[0].device.Sync(ctx)
			over = err == nil // the server was not killed
			srv.Process.Kill()
			<-ctx.Done()
			w.url = url
			w.startServer(disk.Open)
			for i := range w.devices {
				w.reopenDevice(i, disk.Open)
			}
			w.settle()
			w.check()
		})
		if t.Failed() {
			return
		}
	}
}

// TestDeviceKilled kills a device with -9 before each durable step of a sync
// that pulls, merges and pushes.
func TestDeviceKilled(t *testing.T) {
	o := newOrigin(t)
	for at, over := 0, false; !over; at += stride() {
		t.Run(fmt.Sprintf("step=%d", at), func(t *testing.T) {
			w := o.world(t)
			defer w.close()
			w.must(w.work(0, rand.New(rand.NewPCG(1, 1))))
			w.mustSync(0)
			w.must(w.work(1, rand.New(rand.NewPCG(2, 2))))
			w.closeDevice(1)
			err := child(t, "device", w.home(1), at).Run()
			over = err == nil
			w.openDevice(1, disk.Open)
			w.settle()
			w.check()
		})
		if t.Failed() {
			return
		}
	}
}
