package client

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"satchel/syncer"
	"satchel/syncer/identity"
)

// A LaterError is a refusal of a server that says when another try makes sense.
type LaterError struct {
	After time.Duration
	Err   error
}

func (e *LaterError) Error() string { return fmt.Sprintf("%v; try again in %v", e.Err, e.After) }

// Unwrap returns the refusal.
func (e *LaterError) Unwrap() error { return e.Err }

// maxLater is the longest time that a server may send a client away for.
const maxLater = time.Hour

// Alerts of TLS about certificates, as RFC 8446, section 6.2 numbers them.
const (
	alertBadCertificate      = 42
	alertUnsupported         = 43
	alertRevoked             = 44
	alertExpired             = 45
	alertUnknownCertificate  = 46
	alertUnknownAuthority    = 48
	alertCertificateRequired = 116
)

// failure returns what an error of a connection means: that another try may
// succeed, unless the two sides did not accept each other.
func failure(err error) error {
	if errors.Is(err, identity.ErrServer) {
		return err
	}
	if alert := tls.AlertError(0); errors.As(err, &alert) {
		switch alert {
		case alertExpired:
			return fmt.Errorf("the server refuses the device's certificate: %w: %w", syncer.ErrExpired, err)
		case alertRevoked:
			return fmt.Errorf("the server refuses the device's certificate: %w: %w", syncer.ErrRevoked, err)
		case alertBadCertificate, alertUnsupported, alertUnknownCertificate, alertUnknownAuthority, alertCertificateRequired:
			return fmt.Errorf("the server refuses the device's certificate; was it enrolled there? %w: %w", syncer.ErrCertificate, err)
		}
	}
	if plain := (tls.RecordHeaderError{}); errors.As(err, &plain) || errors.Is(err, http.ErrSchemeMismatch) {
		return fmt.Errorf("what answers there does not speak TLS; is that a satchel server? %w", syncer.ErrMalformed)
	}
	return fmt.Errorf("%w: %w", syncer.ErrUnavailable, err)
}

// refusal returns the error that an answer with a bad status stands for.
func refusal(resp *http.Response, media string, body io.Reader) error {
	err := refused(resp, media, body)
	seconds, bad := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 32)
	if bad != nil || !errors.Is(err, syncer.ErrUnavailable) && resp.StatusCode != http.StatusTooManyRequests {
		return err
	}
	return &LaterError{After: min(time.Duration(seconds)*time.Second, maxLater), Err: err}
}

func refused(resp *http.Response, media string, body io.Reader) error {
	if media == mediaJSON {
		b, err := readMessage(body)
		if err != nil {
			return err
		}
		var e syncer.Error
		if err := json.Unmarshal(b, &e); err == nil && e.Code != "" {
			return e.Err()
		}
	}
	switch s := resp.StatusCode; {
	case s == http.StatusBadGateway, s == http.StatusServiceUnavailable, s == http.StatusGatewayTimeout, s == http.StatusTooManyRequests:
		return fmt.Errorf("the server answers %d: %w", s, syncer.ErrUnavailable)
	case s >= 300 && s < 400:
		return fmt.Errorf("the server sends on to %.200q, where a client does not go unasked: %w", resp.Header.Get("Location"), syncer.ErrMalformed)
	default:
		return fmt.Errorf("the answer is %d %s, and no refusal of the protocol; is that a satchel server? %w", s, http.StatusText(s), syncer.ErrMalformed)
	}
}
