package qemu_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"satchel/vmm/nbd"
	"satchel/vmm/qemu"
)

// bootSector is a root disk that does nothing but power off, in 16-bit code:
// mov dx, 0x604; mov ax, 0x2000; out dx, ax; hlt.
func bootSector() *bytes.Reader {
	sector := make([]byte, 1<<20)
	copy(sector, []byte{0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4, 0xeb, 0xfd})
	sector[510], sector[511] = 0x55, 0xaa
	return bytes.NewReader(sector)
}

// TestDisks lets the firmware boot from the block server.
func TestDisks(t *testing.T) {
	dir := t.TempDir()
	root, delta := filepath.Join(dir, "root,1"), filepath.Join(dir, "delta,2")
	if err := os.WriteFile(delta, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", root)
	if err != nil {
		t.Fatal(err)
	}
	server := nbd.NewServer("root", bootSector(), nbd.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l) }()
	p := machine(t, func(c *qemu.Config) { c.Root, c.Delta, c.Paused = root, delta, true })

	var blocks []struct {
		Inserted struct {
			Node     string `json:"node-name"`
			ReadOnly bool   `json:"ro"`
			Driver   string `json:"drv"`
		} `json:"inserted"`
	}
	if err := p.QMP().Execute(t.Context(), "query-block", nil, &blocks); err != nil {
		t.Fatal(err)
	}
	readOnly := map[string]bool{}
	for _, b := range blocks {
		readOnly[b.Inserted.Node] = b.Inserted.ReadOnly
	}
	if len(readOnly) != 2 || !readOnly["root"] || readOnly["delta"] {
		t.Errorf("disks %+v, want root, read-only, and delta", blocks)
	}

	if err := p.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, p); exit.Cause != qemu.GuestShutdown {
		t.Errorf("exit %v", exit)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if s := server.Stats(); s.DistinctBytes == 0 || s.Errors != 0 {
		t.Errorf("server %+v", s)
	}
}
