package publication

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

const pemKey = "PRIVATE KEY" // PKCS #8 (RFC 5958), ed25519 as in RFC 8410

// A PrivateKey signs entries.
type PrivateKey struct {
	private ed25519.PrivateKey
}

// NewKey makes a publisher's key.
func NewKey() (*PrivateKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a publisher's key: %w", err)
	}
	return &PrivateKey{private}, nil
}

// Public is the half that everybody may know.
func (k *PrivateKey) Public() (p Key) {
	copy(p[:], k.private[ed25519.SeedSize:])
	return p
}

// MarshalPEM returns the key for keeping; secret.
func (k *PrivateKey) MarshalPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("marshal a publisher's key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), nil
}

// ParseKey is the inverse of [PrivateKey.MarshalPEM]. Its errors say nothing of
// what it was given.
func ParseKey(text []byte) (*PrivateKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != pemKey || len(bytes.TrimSpace(rest)) != 0 {
		return nil, errors.New("parse a publisher's key: not one private key in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("parse a publisher's key: not PKCS #8")
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("parse a publisher's key: not ed25519")
	}
	return &PrivateKey{private}, nil
}
