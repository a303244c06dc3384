package synctest

import (
	"io"
	"net"
	"testing"
	"time"
)

func TestLine(t *testing.T) {
	l := NewLine(t, echo(t), 10<<20, time.Millisecond)
	c, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent := make([]byte, 1<<20)
	for i := range sent {
		sent[i] = byte(i * 7)
	}
	pass := func() {
		t.Helper()
		go c.Write(sent) //nolint:errcheck // what does not come is missed below
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != string(sent) {
			t.Fatalf("what came back is not what was sent: %v", err)
		}
	}
	pass()
	if n := l.Down(); n != int64(len(sent)) {
		t.Errorf("%d bytes came down, %d were sent", n, len(sent))
	}
	l.Interrupt()
	go c.Write(sent[:100]) //nolint:errcheck // what does not come is missed below
	if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came over a line that is interrupted", n)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	l.Mend()
	if _, err := io.ReadFull(c, make([]byte, 100)); err != nil {
		t.Error(err)
	}
	pass()
}
