package identity

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

// maxLeaves bounds the certificates that a server keeps at a time. A machine
// that answers for more addresses makes some of them again.
const maxLeaves = 64

// ServerTLS is how a server listens: TLS 1.3, and the certificates of clients
// taken without judging them, since [Authority.Identify] does. Its own
// certificate is for all of hosts, localhost, the machine's name and the
// address at which the connection came in; it is made and renewed as needed.
func (a *Authority) ServerTLS(hosts []string) *tls.Config {
	l := &leaves{authority: a, names: []string{"localhost"}, made: map[netip.Addr]*tls.Certificate{}}
	if name, err := os.Hostname(); err == nil { // without a name there is none to answer for
		hosts = append(slices.Clone(hosts), name)
	}
	for _, host := range hosts {
		if addr, err := netip.ParseAddr(host); err == nil {
			l.addrs = append(l.addrs, addr.AsSlice())
		} else if host != "" {
			l.names = append(l.names, host)
		}
	}
	slices.Sort(l.names)
	l.names = slices.Compact(l.names)
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		NextProtos:     []string{"h2", "http/1.1"},
		ClientAuth:     tls.RequestClientCert,
		GetCertificate: l.get,
	}
}

// leaves are the certificates of one server, one for each of its addresses.
type leaves struct {
	authority *Authority
	names     []string
	addrs     []net.IP

	mu   sync.Mutex // protects what follows
	made map[netip.Addr]*tls.Certificate
}

// get returns the certificate for a connection. Names that the server was not
// told of are answered like all others: devices do not go by names.
func (l *leaves) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	var addr netip.Addr
	if tcp, ok := hello.Conn.LocalAddr().(*net.TCPAddr); ok {
		addr = tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.authority.now()
	if c := l.made[addr]; c != nil && now.Before(c.Leaf.NotAfter.Add(-serverLife/3)) {
		return c, nil
	}
	c, err := l.make(addr, now)
	if err != nil {
		return nil, fmt.Errorf("make certificate for %s: %w", addr, err)
	}
	if len(l.made) >= maxLeaves {
		clear(l.made)
	}
	l.made[addr] = c
	return c, nil
}

func (l *leaves) make(addr netip.Addr, now time.Time) (*tls.Certificate, error) {
	key, err := generate()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{Organization: []string{organization}, CommonName: l.authority.certificate.Subject.CommonName},
		NotAfter:    now.Add(serverLife),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    l.names,
		IPAddresses: slices.Clone(l.addrs),
	}
	if addr.IsValid() {
		template.IPAddresses = append(template.IPAddresses, addr.AsSlice())
	}
	der, err := l.authority.issue(template, key.private.Public())
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key.private, Leaf: leaf}, nil
}
