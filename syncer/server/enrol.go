package server

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/http"

	"satchel/syncer"
	"satchel/syncer/identity"
)

// getAuthority answers with the authority's certificate.
func (s *Server) getAuthority(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/pkix-cert")
	_, _ = w.Write(s.authority.Certificate())
}

// maxEnrol bounds the one message that anyone may send, in bytes.
const maxEnrol = 64 << 10

// enrol lets a device in. The request for its certificate is looked at first,
// so that one that is malformed uses up no token.
func (s *Server) enrol(w http.ResponseWriter, r *http.Request) error {
	var req syncer.EnrolRequest
	if err := readMessage(r, &req, maxEnrol); err != nil {
		return err
	}
	if err := syncer.CheckName(req.Name); err != nil {
		return err
	}
	cert, err := s.sign(req.CSR, req.Name)
	if err != nil {
		return err
	}
	var d syncer.Device
	err = s.attempts.try(r.RemoteAddr, func() (err error) {
		d, err = s.registry.Enrol(identity.HashSecret(req.Token), req.Name, publicKey(cert), cert.NotAfter)
		return err
	})
	if err != nil {
		return fmt.Errorf("enrol %s: %w", req.Name, err)
	}
	requestOf(r).device = d.Name
	if d.Name != req.Name {
		if cert, err = s.sign(req.CSR, d.Name); err != nil {
			return err
		}
	}
	writeJSON(w, syncer.Enrolled{
		Server:      s.registry.Server(),
		Device:      d.Name,
		User:        d.User,
		Certificate: cert.Raw,
		Domain:      s.store.Domain(),
	})
	return nil
}

// renew gives a device a new certificate for the key that it has.
func (s *Server) renew(w http.ResponseWriter, r *http.Request, d caller) error {
	var req syncer.RenewRequest
	if err := readJSON(r, &req); err != nil {
		return err
	}
	cert, err := s.sign(req.CSR, d.Name)
	if err != nil {
		return err
	}
	if publicKey(cert) != d.peer.Key {
		return fmt.Errorf("renew %s: another key than the device enrolled with: %w", d.Name, syncer.ErrForbidden)
	}
	if err := s.registry.Renewed(d.Name, cert.NotAfter); err != nil {
		return fmt.Errorf("renew %s: %w", d.Name, err)
	}
	writeJSON(w, syncer.Renewed{Certificate: cert.Raw})
	return nil
}

func (s *Server) sign(csr []byte, device string) (*x509.Certificate, error) {
	der, err := s.authority.Sign(csr, device, s.life)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// publicKey is what the registry knows a device by; see [identity.Peer].
func publicKey(c *x509.Certificate) [32]byte { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }
