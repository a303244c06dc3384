package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"satchel/syncer"
)

// dial makes a connection between two ends over the loopback device, exchanges
// a byte each way, and returns what each end knows of the other.
func dial(t *testing.T, server, client *tls.Config) (atServer, atClient tls.ConnectionState, err error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan tls.ConnectionState, 1)
	go func() {
		defer close(done)
		raw, err := l.Accept()
		if err != nil {
			return
		}
		conn := tls.Server(raw, server)
		defer conn.Close()
		var b [1]byte
		if _, err := io.ReadFull(conn, b[:]); err == nil {
			_, _ = conn.Write(b[:])
			done <- conn.ConnectionState()
		}
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, client)
	defer conn.Close()
	_, err = conn.Write([]byte{1})
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1)) // the server's tickets come along
	}
	atClient = conn.ConnectionState()
	raw.Close()
	return <-done, atClient, err
}

func clientTLS(t *testing.T, ca []byte, key *Key, certificate []byte) *tls.Config {
	t.Helper()
	config, err := ClientTLS(ca, key, certificate)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func TestHandshake(t *testing.T) {
	a := newTestAuthority(t)
	key, c := enrol(t, a, "laptop", day)
	server := a.ServerTLS([]string{"sync.school.example", "203.0.113.7"})
	client := clientTLS(t, a.Certificate(), key, c.Raw)
	client.ServerName = "a-name.the-server.does-not-know"
	for i, resumed := range []bool{false, true} {
		atServer, atClient, err := dial(t, server, client)
		if err != nil {
			t.Fatal(err)
		}
		if atClient.Version != tls.VersionTLS13 || atClient.DidResume != resumed {
			t.Errorf("connection %d: version %x, resumed %t", i, atClient.Version, atClient.DidResume)
		}
		peer, err := a.Identify(atServer.PeerCertificates, time.Now())
		if err != nil || peer.Device != "laptop" {
			t.Errorf("connection %d: peer %v, %v", i, peer, err)
		}
		for _, name := range []string{"localhost", "sync.school.example", "203.0.113.7", "127.0.0.1"} {
			if err := atClient.PeerCertificates[0].VerifyHostname(name); err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
		}
	}
}

func TestHandshakeWithoutCertificate(t *testing.T) {
	a := newTestAuthority(t)
	atServer, _, err := dial(t, a.ServerTLS(nil), clientTLS(t, a.Certificate(), nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Identify(atServer.PeerCertificates, time.Now()); !errors.Is(err, syncer.ErrCertificate) {
		t.Errorf("got %v", err)
	}
}

func TestHandshakeWithOldProtocol(t *testing.T) {
	a := newTestAuthority(t)
	client := clientTLS(t, a.Certificate(), nil, nil)
	client.MinVersion, client.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, _, err := dial(t, a.ServerTLS(nil), client); err == nil {
		t.Error("TLS 1.2 is served")
	}
}

// TestImpostors has devices meet servers that are not theirs.
func TestImpostors(t *testing.T) {
	a, other := newTestAuthority(t), newTestAuthority(t)
	key, c := enrol(t, a, "laptop", day)
	with := func(key *Key, c *x509.Certificate) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{c.Raw}, PrivateKey: key.private}}}
	}
	for _, test := range []struct {
		name   string
		server *tls.Config
	}{
		{"of another authority", other.ServerTLS(nil)},
		{"a device with its certificate", with(key, c)},
		{"with the authority's certificate", with(a.key, a.certificate)},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, _, err := dial(t, test.server, clientTLS(t, a.Certificate(), key, c.Raw)); !errors.Is(err, ErrServer) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestServerCertificateRunsOut(t *testing.T) {
	a := newTestAuthority(t)
	c, err := (&leaves{authority: a}).make(netip.Addr{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		now  time.Time
		want error
	}{
		{"now", time.Now(), nil},
		{"device's clock behind by 23 h", time.Now().Add(-23 * time.Hour), nil},
		{"too late", c.Leaf.NotAfter.Add(time.Second), ErrServer},
		{"too early", c.Leaf.NotBefore.Add(-time.Second), ErrServer},
	} {
		if err := checkServer(a.certificate, []*x509.Certificate{c.Leaf}, test.now); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// addrConn is a connection to one address of the server.
type addrConn struct {
	net.Conn
	addr string
}

func (c addrConn) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c.addr), 443))
}

func TestLeavesAreKeptAndRenewed(t *testing.T) {
	a := newTestAuthority(t)
	now := time.Now()
	a.now = func() time.Time { return now }
	get := a.ServerTLS(nil).GetCertificate
	leaf := func(addr, name string) *x509.Certificate {
		t.Helper()
		c, err := get(&tls.ClientHelloInfo{Conn: addrConn{addr: addr}, ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Leaf.VerifyHostname(netip.MustParseAddr(addr).Unmap().String()); err != nil {
			t.Error(err)
		}
		return c.Leaf
	}
	first := leaf("192.0.2.1", "")
	if leaf("::ffff:192.0.2.1", "whatever") != first {
		t.Error("made again for the same address")
	}
	if leaf("2001:db8::1", "") == first {
		t.Error("the same for another address")
	}
	now = now.Add(serverLife/2 + 1)
	if leaf("192.0.2.1", "") != first {
		t.Error("renewed too early")
	}
	now = now.Add(serverLife / 3)
	if c := leaf("192.0.2.1", ""); c == first || !c.NotAfter.After(first.NotAfter) {
		t.Error("not renewed")
	}
}

func TestLeavesAreBounded(t *testing.T) {
	l := &leaves{authority: newTestAuthority(t), made: map[netip.Addr]*tls.Certificate{}}
	addr := netip.MustParseAddr("2001:db8::")
	for range 2*maxLeaves + 1 {
		addr = addr.Next()
		if _, err := l.get(&tls.ClientHelloInfo{Conn: addrConn{addr: addr.String()}}); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.made) > maxLeaves {
		t.Errorf("%d certificates are kept", len(l.made))
	}
}

func TestClientTLSRefuses(t *testing.T) {
	a := newTestAuthority(t)
	key, c := enrol(t, a, "laptop", day)
	otherKey, _ := enrol(t, a, "other", day)
	for _, test := range []struct {
		name        string
		ca          []byte
		key         *Key
		certificate []byte
	}{
		{"no authority", nil, key, c.Raw},
		{"a device for an authority", c.Raw, key, c.Raw},
		{"no key", a.Certificate(), nil, c.Raw},
		{"another key", a.Certificate(), otherKey, c.Raw},
		{"a damaged certificate", a.Certificate(), key, c.Raw[1:]},
	} {
		if _, err := ClientTLS(test.ca, test.key, test.certificate); err == nil {
			t.Errorf("%s: taken", test.name)
		}
	}
}
