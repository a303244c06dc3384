package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"satchel/syncer"
)

const day = 24 * time.Hour

func newTestAuthority(t testing.TB) *Authority {
	t.Helper()
	a, err := CreateAuthority(filepath.Join(t.TempDir(), "ca"), "school")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// enrol returns a device's key and certificate.
func enrol(t testing.TB, a *Authority, device string, life time.Duration) (*Key, *x509.Certificate) {
	t.Helper()
	key, csr, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := a.Sign(csr, device, life)
	if err != nil {
		t.Fatal(err)
	}
	return key, parse(t, der)
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAuthorityIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if _, err := OpenAuthority(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("open of none: %v", err)
	}
	a, err := CreateAuthority(dir, "school")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CreateAuthority(dir, "school"); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("create again: %v", err)
	}
	b, err := OpenAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	if a.Fingerprint() != b.Fingerprint() {
		t.Errorf("fingerprint %s, opened %s", a.Fingerprint(), b.Fingerprint())
	}
	_, c := enrol(t, b, "laptop", day)
	if _, err := a.Identify([]*x509.Certificate{c}, time.Now()); err != nil {
		t.Errorf("the one created does not know what the one opened signed: %v", err)
	}

	root := a.certificate
	if root.Subject.CommonName != "school" || root.MaxPathLen != 0 || !root.MaxPathLenZero {
		t.Errorf("certificate of %s, path length %d", root.Subject, root.MaxPathLen)
	}
	if left := time.Until(root.NotAfter); left < authorityLife-time.Hour {
		t.Errorf("the authority ends in %s", left)
	}
	info, err := os.Stat(filepath.Join(dir, keyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v", keyFile, info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".tmp-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAuthorityThatWasCutOffIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	if _, err := CreateAuthority(dir, "school"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, certificateFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: %v", err)
	}
	if _, err := CreateAuthority(dir, "school"); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(dir); err != nil {
		t.Error(err)
	}
}

func TestOpenAuthorityOfOtherKey(t *testing.T) {
	one, other := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, other} {
		if _, err := CreateAuthority(dir, "school"); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(one, keyFile), filepath.Join(other, keyFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(other); err == nil || !strings.Contains(err.Error(), "belong together") {
		t.Errorf("got %v", err)
	}
}

func TestSign(t *testing.T) {
	a := newTestAuthority(t)
	_, good, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	forged := append([]byte(nil), good...)
	forged[len(forged)-1] ^= 1
	request := func(key crypto.Signer, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
			Subject: pkix.Name{CommonName: "somebody-else"}, DNSNames: []string{"school"}}, key)
		if err != nil {
			t.Fatal(err)
		}
		return csr
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, rsaErr := rsa.GenerateKey(rand.Reader, 2048)
	for _, test := range []struct {
		name   string
		csr    []byte
		device string
		want   error
	}{
		{"P-256", good, "laptop", nil},
		{"Ed25519, asking for more", request(edwards, nil), "laptop", nil},
		{"P-384", request(p384, err), "laptop", syncer.ErrMalformed},
		{"RSA", request(rsaKey, rsaErr), "laptop", syncer.ErrMalformed},
		{"forged signature", forged, "laptop", syncer.ErrMalformed},
		{"cut off", good[:len(good)/2], "laptop", syncer.ErrMalformed},
		{"empty", nil, "laptop", syncer.ErrMalformed},
		{"name that may not be", good, "../laptop", syncer.ErrMalformed},
		{"no name", good, "", syncer.ErrMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			der, err := a.Sign(test.csr, test.device, day)
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if err != nil {
				return
			}
			c := parse(t, der)
			if c.Subject.CommonName != test.device || len(c.DNSNames) != 0 || c.IsCA {
				t.Errorf("signed for %s, names %v, authority %t", c.Subject, c.DNSNames, c.IsCA)
			}
			peer, err := a.Identify([]*x509.Certificate{c}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if want := (Peer{test.device, sha256.Sum256(c.RawSubjectPublicKeyInfo), c.NotAfter}); peer != want {
				t.Errorf("peer %v, want %v", peer, want)
			}
		})
	}
}

func TestSignEndsWithTheAuthority(t *testing.T) {
	a := newTestAuthority(t)
	_, c := enrol(t, a, "laptop", 2*authorityLife)
	if !c.NotAfter.Equal(a.certificate.NotAfter) {
		t.Errorf("ends %s, the authority %s", c.NotAfter, a.certificate.NotAfter)
	}
}

func TestIdentify(t *testing.T) {
	a := newTestAuthority(t)
	now := time.Now()
	_, laptop := enrol(t, a, "laptop", 30*day)
	_, stranger := enrol(t, newTestAuthority(t), "laptop", 30*day)
	serving, err := (&leaves{authority: a}).make(netip.Addr{}, now)
	if err != nil {
		t.Fatal(err)
	}
	key, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	self := func(template x509.Certificate) *x509.Certificate {
		t.Helper()
		template.SerialNumber = big.NewInt(1)
		template.Subject = laptop.Subject
		template.Issuer = a.certificate.Subject
		template.NotBefore, template.NotAfter = laptop.NotBefore, laptop.NotAfter
		der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.private.Public(), key.private)
		if err != nil {
			t.Fatal(err)
		}
		return parse(t, der)
	}
	selfSigned := self(x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	for _, test := range []struct {
		name string
		cert *x509.Certificate
		now  time.Time
		want error
	}{
		{"fresh", laptop, now, nil},
		{"server's clock behind by 23 h", laptop, now.Add(-23 * time.Hour), nil},
		{"last second", laptop, laptop.NotAfter, nil},
		{"expired", laptop, laptop.NotAfter.Add(time.Second), syncer.ErrExpired},
		{"not yet", laptop, laptop.NotBefore.Add(-time.Second), syncer.ErrCertificate},
		{"other authority of the same name", stranger, now, syncer.ErrCertificate},
		{"other authority, expired", stranger, now.Add(31 * day), syncer.ErrCertificate},
		{"the server's own", serving.Leaf, now, syncer.ErrCertificate},
		{"the authority's own", a.certificate, now, syncer.ErrCertificate},
		{"self-signed", selfSigned, now, syncer.ErrCertificate},
		{"self-signed, expired", selfSigned, now.Add(31 * day), syncer.ErrCertificate},
	} {
		t.Run(test.name, func(t *testing.T) {
			peer, err := a.Identify([]*x509.Certificate{test.cert}, test.now)
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if (err != nil) != (peer == Peer{}) {
				t.Errorf("peer %v with error %v", peer, err)
			}
		})
	}
	if _, err := a.Identify(nil, now); !errors.Is(err, syncer.ErrCertificate) {
		t.Errorf("without a certificate: %v", err)
	}
	// An authority that signed it on its own way, and is shown along.
	if _, err := a.Identify([]*x509.Certificate{stranger, newTestAuthority(t).certificate}, now); !errors.Is(err, syncer.ErrCertificate) {
		t.Errorf("with an authority of its own: %v", err)
	}
}
