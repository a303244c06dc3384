// Package identity makes and checks the keys and certificates of a server and
// its devices.
//
// # Vocabulary
//
// An authority is a server's own certificate authority: a key that signs, and a
// certificate that names the server. A device has a key that never leaves it,
// and a certificate in which the authority says whose key that is. A
// fingerprint is a short name of an authority, to be compared by people and
// passed on by hand. A secret is what a token shows.
//
// # Invariants
//
//   - An authority signs certificates of two sorts: its own server's, good for
//     serving only, and devices', good for being a client only. It signs no
//     other authority.
//   - Of a request for a certificate only the key is taken. Who it belongs to
//     and for how long is said by whoever has it signed.
//   - Private keys are written durably, and readable by their owner alone.
//
// # The one idea
//
// Trust is one pinned authority and nothing else. Devices reach their server
// under names and addresses that change, so they do not ask what it is called,
// but whether it has a certificate for serving of the authority whose
// fingerprint was passed on to them. There is just one holder of such a one.
package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"satchel/syncer"
)

// ErrServer reports a server that is not of the authority that was expected.
var ErrServer = errors.New("this is not the server that was expected")

const (
	authorityLife = 20 * 365 * 24 * time.Hour
	serverLife    = 90 * 24 * time.Hour

	// skew is how far clocks may be apart: certificates begin that much earlier.
	skew = 24 * time.Hour
)

// organization is in the names of all certificates, for people who look at them.
const organization = "Satchel"

// checkPublic reports a public key of a kind that is not used here.
func checkPublic(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return nil
		}
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("public key %T: want ECDSA P-256 or Ed25519: %w", key, syncer.ErrMalformed)
}

// pool is the set of just one trusted certificate.
func pool(ca *x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca)
	return p
}
