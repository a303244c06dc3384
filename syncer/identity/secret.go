package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"satchel/syncer"
)

const fingerprintPrefix = "sha256:"

// Fingerprint names the authority whose certificate is ca, in DER, in the form
// of [Authority.Fingerprint].
func Fingerprint(ca []byte) string {
	sum := sha256.Sum256(ca)
	return fingerprintPrefix + hex.EncodeToString(sum[:])
}

// CheckFingerprint reports whether the certificate of an authority has that
// fingerprint, in the form of [Authority.Fingerprint]; letter case and colons
// between bytes do not matter. It fails with [ErrServer] when it has another,
// and with [syncer.ErrMalformed] when that is no fingerprint.
func CheckFingerprint(ca []byte, fingerprint string) error {
	digits, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(fingerprint)), fingerprintPrefix)
	want, err := hex.DecodeString(strings.ReplaceAll(digits, ":", ""))
	if !ok || err != nil || len(want) != sha256.Size {
		return fmt.Errorf("fingerprint %.120q: want %q and %d hexadecimal digits: %w",
			fingerprint, fingerprintPrefix, 2*sha256.Size, syncer.ErrMalformed)
	}
	if sum := sha256.Sum256(ca); string(sum[:]) != string(want) {
		return fmt.Errorf("its authority has the fingerprint %s: %w", Fingerprint(ca), ErrServer)
	}
	return nil
}

// NewSecret returns a random secret for tokens: 26 capital letters and digits,
// of which none looks like another, with 128 bits of randomness or more.
func NewSecret() string { return rand.Text() }

// HashSecret is what is kept of a secret, its SHA-256. Secrets are random and
// long, so nothing slower is needed.
func HashSecret(secret string) [32]byte { return sha256.Sum256([]byte(secret)) }
