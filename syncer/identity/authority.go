package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"satchel/store/durable"
)

// The files of an authority.
const (
	keyFile         = "ca.key"
	certificateFile = "ca.crt"
)

const pemCertificate = "CERTIFICATE"

// An Authority is a server's own certificate authority, with the server's key.
// It may be used by several goroutines at once.
type Authority struct {
	certificate *x509.Certificate
	key         *Key
	now         func() time.Time
}

// CreateAuthority makes an authority in a directory, with a fresh key, for a
// server of that identity. It fails with [fs.ErrExist] when there is one. The
// certificate is written last, so that what was cut off is made anew.
func CreateAuthority(dir, server string) (*Authority, error) {
	a, err := createAuthority(dir, server)
	if err != nil {
		return nil, fmt.Errorf("create authority %s: %w", dir, err)
	}
	return a, nil
}

func createAuthority(dir, server string) (*Authority, error) {
	if server == "" {
		return nil, errors.New("a server needs an identity")
	}
	name := filepath.Join(dir, certificateFile)
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("%s: %w", certificateFile, fs.ErrExist), err)
	}
	key, err := generate()
	if err != nil {
		return nil, err
	}
	der, err := selfSign(key, server, time.Now())
	if err != nil {
		return nil, err
	}
	secret, err := key.MarshalPEM()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := durable.WriteFile(filepath.Join(dir, keyFile), secret); err != nil {
		return nil, err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der})
	if err := durable.WriteFile(name, public); err != nil {
		return nil, err
	}
	return newAuthority(der, key)
}

// selfSign makes the certificate of an authority.
func selfSign(key *Key, server string, now time.Time) ([]byte, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{organization}, CommonName: server},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs no further authorities
	}
	return x509.CreateCertificate(rand.Reader, template, template, key.private.Public(), key.private)
}

// OpenAuthority opens the authority in a directory. It fails with
// [fs.ErrNotExist] when there is none.
func OpenAuthority(dir string) (*Authority, error) {
	a, err := openAuthority(dir)
	if err != nil {
		return nil, fmt.Errorf("open authority %s: %w", dir, err)
	}
	return a, nil
}

func openAuthority(dir string) (*Authority, error) {
	public, err := os.ReadFile(filepath.Join(dir, certificateFile))
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(public)
	if block == nil || block.Type != pemCertificate || len(rest) != 0 {
		return nil, fmt.Errorf("%s: not one certificate in PEM", certificateFile)
	}
	secret, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	key, err := ParseKey(secret)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	return newAuthority(block.Bytes, key)
}

func newAuthority(der []byte, key *Key) (*Authority, error) {
	certificate, err := parseAuthority(der)
	if err != nil {
		return nil, err
	}
	if public, ok := certificate.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(key.private.Public()) {
		return nil, fmt.Errorf("%s and %s do not belong together", certificateFile, keyFile)
	}
	return &Authority{certificate: certificate, key: key, now: time.Now}, nil
}

// parseAuthority parses the certificate of an authority and checks that it is
// one.
func parseAuthority(der []byte) (*x509.Certificate, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate of an authority: %w", err)
	}
	if !c.BasicConstraintsValid || !c.IsCA || c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, errors.New("the certificate is not one of an authority")
	}
	return c, nil
}

// Certificate is the authority's certificate in DER.
func (a *Authority) Certificate() []byte { return a.certificate.Raw }

// Fingerprint names the authority: "sha256:" and the hash of its certificate in
// hexadecimal.
func (a *Authority) Fingerprint() string { return Fingerprint(a.certificate.Raw) }

// issue signs a certificate for a public key. The template has its subject, its
// end and its uses; it ends no later than the authority itself.
func (a *Authority) issue(template *x509.Certificate, public any) ([]byte, error) {
	template.NotBefore = a.now().Add(-skew)
	if template.NotAfter.After(a.certificate.NotAfter) {
		template.NotAfter = a.certificate.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	return x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key.private)
}

// generate makes a key without a certificate.
func generate() (*Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return &Key{private}, nil
}
