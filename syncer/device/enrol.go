package device

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"satchel/store"
	"satchel/store/durable"
	"satchel/syncer"
	"satchel/syncer/client"
	"satchel/syncer/identity"
	"satchel/syncer/publication"
)

// ErrEnrolled reports a home that belongs to another server.
var ErrEnrolled = errors.New("this home is enrolled with another server")

// EnrolOptions say how to enrol.
type EnrolOptions struct {
	URL         string
	Token       string
	Fingerprint string // of the server's certificate authority
	Name        string // wanted for the device
	// Publications is the hash of the first entry of the domain's log, if it is
	// known beforehand. Zero: the first log that the server shows is believed.
	Publications publication.Hash
	Note         func(format string, args ...any)
	Progress     func(done, total int64) // bytes carried over into the server's domain

	fault func(step string) error // for tests: a crash before the step
}

// A journal is what an enrolment that is cut off must not lose: the key, since
// the server knows it, and the answer, since the token is used up.
type journal struct {
	durable.Header
	URL       string           `json:"url"`
	Token     [32]byte         `json:"token"` // its hash
	Authority []byte           `json:"authority"`
	Key       []byte           `json:"key"` // PEM; secret
	Answer    *syncer.Enrolled `json:"answer,omitempty"`
}

const journalFormat = "satchel enrolment"

// enrolment is one call of [Enrol].
type enrolment struct {
	dir     string
	opt     EnrolOptions
	was     *membership // nil: the home is not enrolled
	journal journal
	key     *identity.Key
}

// Enrol joins the home in dir to a server. What the home holds is carried over
// into the server's domain; a home of this server is given a new certificate.
// No process may use the home meanwhile: Enrol fails with [store.ErrBusy] when
// it sees one, or a session whose work is not captured. It fails with
// [ErrEnrolled] for a home of another server.
//
// After a crash or an error, the same call goes on where it was, even when the
// server has answered already and the token is used up.
func Enrol(ctx context.Context, dir string, opt EnrolOptions) (_ Config, err error) {
	e := &enrolment{dir: dir, opt: opt}
	if e.opt.Note == nil {
		e.opt.Note = func(string, ...any) {}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Config{}, fmt.Errorf("enrol: %w", err)
	}
	unlock, err := e.alone()
	if err != nil {
		return Config{}, fmt.Errorf("enrol: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	for _, step := range []func(context.Context) error{e.begin, e.ask, e.carry} {
		if err := step(ctx); err != nil {
			return Config{}, fmt.Errorf("enrol: %w", err)
		}
	}
	config, err := e.settle()
	if err != nil {
		return Config{}, fmt.Errorf("enrol: %w", err)
	}
	return config, nil
}

// begin finds out how far an earlier enrolment came, or starts a new one.
func (e *enrolment) begin(ctx context.Context) error {
	was, err := loadMembership(e.dir)
	switch {
	case errors.Is(err, ErrNotEnrolled):
	case err != nil:
		return err
	case identity.CheckFingerprint(was.Authority, e.opt.Fingerprint) != nil:
		return fmt.Errorf("%w: %s, as %s (use another --home for this one)", ErrEnrolled, was.URL, was.Device)
	default:
		e.was = &was
	}
	old, err := e.resume()
	if err != nil {
		return err
	}
	if old {
		e.opt.Note("going on with an enrolment that was cut off")
		return nil
	}
	authority, err := client.Authority(ctx, e.opt.URL, e.opt.Fingerprint)
	if err != nil {
		return err
	}
	if err := e.makeKey(authority); err != nil {
		return err
	}
	pem, err := e.key.MarshalPEM()
	if err != nil {
		return err
	}
	e.journal = journal{
		durable.Header{Format: journalFormat, Version: formatVersion}, e.opt.URL, identity.HashSecret(e.opt.Token), authority, pem, nil,
	}
	return e.write("key journal", journalFile, e.journal)
}

// resume reports whether the journal has the server's answer to this token.
func (e *enrolment) resume() (bool, error) {
	switch err := durable.ReadJSON(filepath.Join(e.dir, journalFile), durable.Header{Format: journalFormat, Version: formatVersion}, &e.journal); {
	case errors.Is(err, store.ErrNotExist), errors.Is(err, store.ErrCorrupt):
		e.journal = journal{}
		return false, nil
	case err != nil:
		return false, err
	}
	j := &e.journal
	sameServer := identity.CheckFingerprint(j.Authority, e.opt.Fingerprint) == nil
	if j.Answer == nil || j.Token != identity.HashSecret(e.opt.Token) || !sameServer {
		return false, nil
	}
	key, err := identity.ParseKey(j.Key)
	e.key = key
	return err == nil, err
}

// makeKey takes the key that the server knows already, or makes one.
func (e *enrolment) makeKey(authority []byte) (err error) {
	switch {
	case e.was != nil:
		e.key, err = loadKey(e.dir)
	case e.journal.Key != nil && string(e.journal.Authority) == string(authority):
		e.key, err = identity.ParseKey(e.journal.Key)
	default:
		e.key, _, err = identity.NewKey()
	}
	return err
}

// ask has the server let this device in, unless it has done so already.
func (e *enrolment) ask(ctx context.Context) error {
	if e.journal.Answer != nil {
		return nil
	}
	if e.was == nil {
		unlock, err := e.quiet() // before the token is used up
		if err != nil {
			return err
		}
		defer unlock() //nolint:errcheck // nothing was changed
		if err := e.idle(ctx); err != nil {
			return err
		}
	}
	conf, err := identity.ClientTLS(e.journal.Authority, nil, nil)
	if err != nil {
		return err
	}
	csr, err := e.key.Request()
	if err != nil {
		return err
	}
	got, err := client.Enrol(ctx, client.Options{Server: e.opt.URL, TLS: conf, Agent: "satchel"},
		syncer.EnrolRequest{Token: e.opt.Token, Name: deviceName(e.opt.Name), CSR: csr})
	if err != nil {
		return err
	}
	if _, err := identity.ClientTLS(e.journal.Authority, e.key, got.Certificate); err != nil {
		return fmt.Errorf("the server's answer: %w", err)
	}
	if err := got.Domain.Check(); err != nil {
		return fmt.Errorf("the server's answer: %w", err)
	}
	if e.was != nil && e.was.Server != got.Server {
		return fmt.Errorf("%w: its identity is %s, not %s", ErrEnrolled, e.was.Server, got.Server)
	}
	e.journal.Answer = &got
	return e.write("answer journal", journalFile, e.journal)
}

// deviceName makes a name that servers take of what a machine is called.
func deviceName(name string) string {
	clean := strings.Map(func(r rune) rune {
		if syncer.CheckName("x"+string(r)) == nil {
			return r
		}
		return '-'
	}, name)
	clean = strings.TrimLeft(strings.ReplaceAll(clean, "..", "-"), "._-")
	clean = clean[:min(len(clean), syncer.MaxName)]
	if syncer.CheckName(clean) != nil {
		return "device"
	}
	return clean
}

// settle makes the home a device, and clears up.
func (e *enrolment) settle() (Config, error) {
	answer := e.journal.Answer
	m := membership{
		Header: durable.Header{Format: membershipFormat, Version: formatVersion},
		Config: Config{
			URL: e.opt.URL, Server: answer.Server, Device: answer.Device, User: answer.User, Enrolled: time.Now().UTC(),
		},
		Authority: e.journal.Authority, Certificate: answer.Certificate,
	}
	if e.was == nil {
		if err := e.step("remove memo"); err != nil {
			return Config{}, err
		}
		if err := remove(e.dir, memoFile); err != nil { // of another time
			return Config{}, err
		}
		if err := e.step("key"); err != nil {
			return Config{}, err
		}
		if err := durable.WriteFile(filepath.Join(e.dir, keyFile), e.journal.Key); err != nil {
			return Config{}, err
		}
	}
	if err := e.pin(); err != nil {
		return Config{}, err
	}
	if err := e.write("membership", configFile, m); err != nil {
		return Config{}, err
	}
	if err := e.step("remove journal"); err != nil {
		return Config{}, err
	}
	if err := remove(e.dir, journalFile); err != nil {
		return Config{}, err
	}
	if err := e.step("remove store"); err != nil {
		return Config{}, err
	}
	return m.Config, os.RemoveAll(filepath.Join(e.dir, newStoreDir))
}

// pin notes which log of publications the home shall believe, before it is a
// device that might believe another.
func (e *enrolment) pin() error {
	if e.was == nil {
		if err := e.step("remove publications"); err != nil {
			return err
		}
		if err := remove(e.dir, logFile); err != nil { // of another time
			return err
		}
	}
	if e.opt.Publications == (publication.Hash{}) {
		return nil
	}
	kept, err := (&Device{opt: Options{Home: e.dir}}).loadLog()
	if err != nil {
		return err
	}
	if kept != nil && kept.Genesis != e.opt.Publications {
		return fmt.Errorf("this home believes the publications that begin with %s: %w", kept.Genesis, ErrEnrolled)
	}
	if kept != nil {
		return nil
	}
	return e.write("publications", logFile, pinnedLog{logHeader, publication.Log{Genesis: e.opt.Publications}})
}

// remove removes a file of a home, durably. That there is none is no error.
func remove(dir, name string) error {
	err := os.Remove(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return durable.SyncDir(dir)
}

func (e *enrolment) write(step, name string, v any) error {
	if err := e.step(step); err != nil {
		return err
	}
	return durable.WriteJSON(filepath.Join(e.dir, name), v)
}

func (e *enrolment) step(name string) error {
	if e.opt.fault == nil {
		return nil
	}
	return e.opt.fault(name)
}
