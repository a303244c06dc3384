package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"

	"satchel/syncer"
	"satchel/syncer/identity"
)

// maxCertificate bounds the certificate of an authority, in bytes.
const maxCertificate = 64 << 10

// Authority asks a server for the certificate of its authority, in DER, and
// returns it if it has that fingerprint. It fails with [identity.ErrServer] if
// it has another.
func Authority(ctx context.Context, server, fingerprint string) ([]byte, error) {
	ca, err := authority(ctx, server, fingerprint)
	if err != nil {
		return nil, fmt.Errorf("ask for the server's authority: %w", err)
	}
	return ca, nil
}

func authority(ctx context.Context, server, fingerprint string) ([]byte, error) {
	// The one connection on which nobody is verified: there is nothing yet to
	// verify by. Nothing secret is said on it, and what it brings is believed
	// only because its hash was passed on by another way. Whoever sits in
	// between can keep the answer back, but not bring another.
	c, err := New(Options{Server: server, TLS: &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}})
	if err != nil {
		return nil, err
	}
	defer c.http.CloseIdleConnections()
	body, err := c.send(ctx, request{method: http.MethodGet, path: "ca"}, "")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	ca, err := io.ReadAll(io.LimitReader(body, maxCertificate))
	if err != nil {
		return nil, err
	}
	return ca, identity.CheckFingerprint(ca, fingerprint)
}

// Enrol asks that a device be let in. The TLS configuration has no certificate.
func Enrol(ctx context.Context, opt Options, req syncer.EnrolRequest) (syncer.Enrolled, error) {
	c, err := New(opt)
	if err != nil {
		return syncer.Enrolled{}, err
	}
	defer c.http.CloseIdleConnections()
	var got syncer.Enrolled
	if err := c.ask(ctx, http.MethodPost, "enrol", req, &got); err != nil {
		return syncer.Enrolled{}, fmt.Errorf("enrol: %w", err)
	}
	return got, nil
}
