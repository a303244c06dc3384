package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"

	"satchel/syncer"
)

// Sign gives a device a certificate, in DER: the request's signature is
// checked, and of the rest only its key is taken, which must be ECDSA P-256 or
// Ed25519. It fails with [syncer.ErrMalformed].
func (a *Authority) Sign(csr []byte, device string, life time.Duration) (der []byte, err error) {
	if err := syncer.CheckName(device); err != nil {
		return nil, fmt.Errorf("sign device: %w", err)
	}
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, fmt.Errorf("sign device %s: %w: %w", device, syncer.ErrMalformed, err)
	}
	// First the kind of key: signatures of kinds that nobody uses may be costly.
	if err := checkPublic(req.PublicKey); err != nil {
		return nil, fmt.Errorf("sign device %s: %w", device, err)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("sign device %s: %w: %w", device, syncer.ErrMalformed, err)
	}
	der, err = a.issue(&x509.Certificate{
		Subject:     pkix.Name{Organization: []string{organization}, CommonName: device},
		NotAfter:    a.now().Add(life),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, req.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("sign device %s: %w", device, err)
	}
	return der, nil
}

// A Peer is who a certificate says that a client is.
type Peer struct {
	Device  string
	Key     [32]byte // SHA-256 of the public key, as SubjectPublicKeyInfo in DER
	Expires time.Time
}

// Identify checks a client's certificate at the given time. It fails with
// [syncer.ErrCertificate] or, if nothing but its age is wrong, with
// [syncer.ErrExpired].
func (a *Authority) Identify(certs []*x509.Certificate, now time.Time) (Peer, error) {
	if len(certs) == 0 {
		return Peer{}, fmt.Errorf("no certificate: %w", syncer.ErrCertificate)
	}
	c := certs[0] // there are no authorities in between
	if c.IsCA {
		return Peer{}, fmt.Errorf("the certificate is one of an authority: %w", syncer.ErrCertificate)
	}
	_, err := c.Verify(x509.VerifyOptions{
		Roots:       pool(a.certificate),
		CurrentTime: c.NotAfter, // by when it must have been good
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return Peer{}, fmt.Errorf("%w: %w", syncer.ErrCertificate, err)
	}
	device := c.Subject.CommonName
	if err := syncer.CheckName(device); err != nil {
		return Peer{}, fmt.Errorf("%w: %w", syncer.ErrCertificate, err)
	}
	switch {
	case now.After(c.NotAfter):
		return Peer{}, fmt.Errorf("device %s, since %s: %w", device, c.NotAfter.UTC().Format(time.DateOnly), syncer.ErrExpired)
	case now.Before(c.NotBefore):
		return Peer{}, fmt.Errorf("device %s: the certificate begins only at %s; is the server's clock right? %w",
			device, c.NotBefore.UTC().Format(time.DateOnly), syncer.ErrCertificate)
	}
	return Peer{Device: device, Key: sha256.Sum256(c.RawSubjectPublicKeyInfo), Expires: c.NotAfter}, nil
}
