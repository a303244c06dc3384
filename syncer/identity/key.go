package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

const pemKey = "PRIVATE KEY" // PKCS #8

// A Key is a device's private key: ECDSA, P-256.
type Key struct {
	private *ecdsa.PrivateKey
}

// NewKey makes a device's key and a request for its certificate, PKCS #10 in
// DER.
func NewKey() (key *Key, csr []byte, err error) {
	key, err = generate()
	if err != nil {
		return nil, nil, err
	}
	csr, err = key.Request()
	if err != nil {
		return nil, nil, err
	}
	return key, csr, nil
}

// Request makes a further request for the same key.
func (k *Key) Request() (csr []byte, err error) {
	csr, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k.private)
	if err != nil {
		return nil, fmt.Errorf("request certificate: %w", err)
	}
	return csr, nil
}

// MarshalPEM returns the private key for keeping; secret.
func (k *Key) MarshalPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("marshal key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), nil
}

// ParseKey is the inverse of [Key.MarshalPEM]. Its errors say nothing of what
// it was given.
func ParseKey(text []byte) (*Key, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != pemKey || len(bytes.TrimSpace(rest)) != 0 {
		return nil, errors.New("parse key: not one private key in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("parse key: not PKCS #8")
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() {
		return nil, errors.New("parse key: not ECDSA P-256")
	}
	return &Key{private}, nil
}
