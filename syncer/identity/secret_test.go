package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"regexp"
	"strings"
	"testing"

	"satchel/syncer"
)

func TestKeyRoundTrip(t *testing.T) {
	key, _, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	if !again.private.Equal(key.private) {
		t.Error("another key came back")
	}
}

func TestParseKeyRefuses(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	good, err := key.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"nothing":     nil,
		"other curve": pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}),
		"other type":  bytes.ReplaceAll(good, []byte("PRIVATE"), []byte("PUBLIC")),
		"two keys":    append(bytes.Clone(good), good...),
		"damaged":     pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der[1:]}),
	} {
		if _, err := ParseKey(text); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	key, _, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	good, err := key.MarshalPEM()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := ParseKey(text)
		if err != nil {
			return
		}
		text, err = key.MarshalPEM()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseKey(text); err != nil || !again.private.Equal(key.private) {
			t.Errorf("a key that was parsed does not come back: %v", err)
		}
	})
}

func TestCheckFingerprint(t *testing.T) {
	ca := newTestAuthority(t)
	other := newTestAuthority(t)
	name := ca.Fingerprint()
	digits := strings.TrimPrefix(name, fingerprintPrefix)
	colons := fingerprintPrefix + strings.TrimSuffix(regexp.MustCompile("..").ReplaceAllString(digits, "$0:"), ":")
	for _, test := range []struct {
		name, fingerprint string
		want              error
	}{
		{"as it is", name, nil},
		{"in capitals", strings.ToUpper(name), nil},
		{"with colons", colons, nil},
		{"as openssl prints it", "sha256:" + strings.ToUpper(colons[len(fingerprintPrefix):]), nil},
		{"pasted with a line's end", name + "\n", nil},
		{"another's", other.Fingerprint(), ErrServer},
		{"one digit off", name[:len(name)-1] + string("01"[b2i(name[len(name)-1] == '0')]), ErrServer},
		{"without a prefix", digits, syncer.ErrMalformed},
		{"cut off", name[:len(name)-2], syncer.ErrMalformed},
		{"too long", name + "00", syncer.ErrMalformed},
		{"no digits", fingerprintPrefix + strings.Repeat("x", 64), syncer.ErrMalformed},
		{"other hash", "sha1:" + digits, syncer.ErrMalformed},
		{"nothing", "", syncer.ErrMalformed},
	} {
		if err := CheckFingerprint(ca.Certificate(), test.fingerprint); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func FuzzCheckFingerprint(f *testing.F) {
	ca := newTestAuthority(f)
	f.Add(ca.Fingerprint())
	f.Add(strings.ToUpper(ca.Fingerprint()))
	f.Add("sha256:00:11")
	f.Fuzz(func(t *testing.T, fingerprint string) {
		err := CheckFingerprint(ca.Certificate(), fingerprint)
		switch {
		case err == nil:
			plain := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(fingerprint)), ":", "")
			if plain != strings.ReplaceAll(ca.Fingerprint(), ":", "") {
				t.Errorf("%q taken for %s", fingerprint, ca.Fingerprint())
			}
		case !errors.Is(err, ErrServer) && !errors.Is(err, syncer.ErrMalformed):
			t.Errorf("%q: %v", fingerprint, err)
		}
	})
}

func TestSecrets(t *testing.T) {
	form := regexp.MustCompile(`^[A-Z2-7]{26,}$`)
	seen := map[[32]byte]bool{}
	for range 1000 {
		s := NewSecret()
		if !form.MatchString(s) {
			t.Fatalf("secret %q", s)
		}
		if h := HashSecret(s); seen[h] {
			t.Fatal("the same secret twice")
		} else {
			seen[h] = true
		}
	}
}
