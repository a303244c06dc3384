package nbd_test

import (
	"errors"
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"satchel/vmm/nbd"
)

// TestDial: there is more room for what is sent than a connection has by itself.
func TestDial(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "disk")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	wide, err := nbd.Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer wide.Close()
	plain, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if w, p := sendRoom(t, wide), sendRoom(t, plain.(*net.UnixConn)); w <= p {
		t.Errorf("room for %d bytes, which any connection has: %d", w, p)
	}
}

// sendRoom is how much a socket keeps of what was sent, in bytes.
func sendRoom(t *testing.T, s syscall.Conn) (n int) {
	t.Helper()
	raw, err := s.SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(fd uintptr) { n, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF) }), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}
