package nbd

import (
	"fmt"
	"net"
	"os"
)

// sendBuffer is how much of what one side sends the kernel keeps until the other
// takes it, in bytes: a few large reads or writes. With less, both wait for each
// other several times in each of them.
const sendBuffer = 2 << 20

// widen gives a connection a larger buffer, as far as the kernel allows it.
func widen(nc net.Conn) {
	if c, ok := nc.(interface{ SetWriteBuffer(int) error }); ok {
		_ = c.SetWriteBuffer(sendBuffer) // the one that it has is good enough
	}
}

// Dial connects to the server at a unix socket, for a client that inherits the
// connection and would not give it a larger buffer, as QEMU.
func Dial(socket string) (*os.File, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("connect to block server: %w", err)
	}
	defer func() { _ = conn.Close() }() // the client gets a copy
	widen(conn)
	f, err := conn.File()
	if err != nil {
		return nil, fmt.Errorf("connect to block server: %w", err)
	}
	return f, nil
}
