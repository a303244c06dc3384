// Package identity makes and checks the keys and certificates of a server and
// its devices.
package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"
)

// An Authority is a server's own certificate authority, with the server's key.
type Authority struct{}

// CreateAuthority makes an authority in a directory, with a fresh key, for a
// server of that identity.
func CreateAuthority(dir, server string) (*Authority, error) { return nil, errors.ErrUnsupported }

// OpenAuthority opens the authority in a directory.
func OpenAuthority(dir string) (*Authority, error) { return nil, errors.ErrUnsupported }

// Certificate is the authority's certificate in DER.
func (a *Authority) Certificate() []byte { return nil }

// Fingerprint names the authority: "sha256:" and the hash of its certificate in
// hexadecimal.
func (a *Authority) Fingerprint() string { return "" }

// ServerTLS is how a server listens: TLS 1.3, a certificate for the host names
// that it is asked for, made and renewed as needed, and the certificates of
// clients taken without judging them, since [Authority.Identify] does.
func (a *Authority) ServerTLS(hosts []string) *tls.Config { return nil }

// Sign gives a device a certificate: the request's signature is checked, all
// else in it is ignored.
func (a *Authority) Sign(csr []byte, device string, life time.Duration) (der []byte, err error) {
	return nil, errors.ErrUnsupported
}

// A Peer is who a certificate says that a client is.
type Peer struct {
	Device  string
	Key     [32]byte // SHA-256 of the public key
	Expires time.Time
}

// Identify checks a client's certificate at the given time. It fails with
// [syncer.ErrCertificate] or [syncer.ErrExpired].
func (a *Authority) Identify(certs []*x509.Certificate, now time.Time) (Peer, error) {
	return Peer{}, errors.ErrUnsupported
}

// A Key is a device's private key and certificate.
type Key struct{}

// NewKey makes a device's key and a request for its certificate.
func NewKey() (key *Key, csr []byte, err error) { return nil, nil, errors.ErrUnsupported }

// Request makes a further request for the same key.
func (k *Key) Request() (csr []byte, err error) { return nil, errors.ErrUnsupported }

// MarshalPEM returns the private key for keeping; secret.
func (k *Key) MarshalPEM() ([]byte, error) { return nil, errors.ErrUnsupported }

// ParseKey is the inverse of [Key.MarshalPEM].
func ParseKey(pem []byte) (*Key, error) { return nil, errors.ErrUnsupported }

// ClientTLS is how a device dials a server of the authority whose certificate
// is ca, with the device's own certificate, or without one when that is nil.
func ClientTLS(ca []byte, key *Key, certificate []byte) (*tls.Config, error) {
	return nil, errors.ErrUnsupported
}

// CheckFingerprint reports whether the certificate of an authority has that
// fingerprint, in the form of [Authority.Fingerprint]; letter case and colons
// between bytes do not matter.
func CheckFingerprint(ca []byte, fingerprint string) error { return errors.ErrUnsupported }

// NewSecret returns a random secret for tokens, in letters and digits.
func NewSecret() string { return "" }

// HashSecret is what is kept of a secret.
func HashSecret(secret string) [32]byte { return [32]byte{} }
