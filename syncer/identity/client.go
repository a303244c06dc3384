package identity

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// ClientTLS is how a device dials a server of the authority whose certificate
// is ca, with the device's own certificate, or without one when that is nil. A
// server that is not of that authority fails the handshake with [ErrServer].
//
// A resumed connection carries the certificate that it began with, so a device
// whose certificate was renewed needs a new configuration.
func ClientTLS(ca []byte, key *Key, certificate []byte) (*tls.Config, error) {
	root, err := parseAuthority(ca)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ClientSessionCache: tls.NewLRUClientSessionCache(4), // so that dialling again is cheap

		// What this leaves out is VerifyConnection's, but for the host name,
		// which is not looked at: a school's server is reached by name inside,
		// by the address of a port-forward from home. That is safe, since the
		// authority signs for serving only its own one server, which is meant
		// whatever it is called; devices get certificates that do not serve.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			return checkServer(root, s.PeerCertificates, time.Now())
		},
	}
	if certificate == nil {
		return config, nil
	}
	leaf, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, fmt.Errorf("certificate of the device: %w", err)
	}
	if key == nil {
		return nil, errors.New("a certificate of the device, but no key")
	}
	if public, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(key.private.Public()) {
		return nil, errors.New("certificate and key of the device do not belong together")
	}
	config.Certificates = []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key.private, Leaf: leaf}}
	return config, nil
}

// checkServer reports certificates that are not those of the server of an
// authority.
func checkServer(root *x509.Certificate, certs []*x509.Certificate, now time.Time) error {
	if len(certs) == 0 {
		return fmt.Errorf("it has no certificate: %w", ErrServer)
	}
	c := certs[0]
	if c.IsCA {
		return fmt.Errorf("it serves with the certificate of an authority: %w", ErrServer)
	}
	opt := x509.VerifyOptions{
		Roots:       pool(root),
		CurrentTime: now,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	_, err := c.Verify(opt)
	if invalid := (x509.CertificateInvalidError{}); errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return fmt.Errorf("its certificate is not valid at %s; is this machine's clock right? %w: %w",
			now.UTC().Format(time.RFC3339), ErrServer, err)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrServer, err)
	}
	return nil
}
