package registry

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"satchel/syncer"
)

func TestEnrol(t *testing.T) {
	r := fleet(t)
	secret := [32]byte{1}
	token := must1(r.AddToken(syncer.Token{User: "ana", Uses: 2, Secret: "never kept"}, secret))(t)
	if until := time.Until(token.Expires); until < 6*24*time.Hour || until > 7*24*time.Hour || token.Secret != "" {
		t.Errorf("token %+v", token)
	}
	later := time.Now().Add(month).UTC()
	_, err := r.Enrol([32]byte{2}, "pc", [32]byte{1}, later)
	wantErr(t, err, syncer.ErrToken)

	one := must1(r.Enrol(secret, "pc", [32]byte{1}, later))(t)
	again := must1(r.Enrol(secret, "pc", [32]byte{1}, later))(t)
	two := must1(r.Enrol(secret, "pc", [32]byte{2}, later))(t)
	if one.Name != "pc" || again.Name != "pc" || two.Name != "pc-2" || one.User != "ana" {
		t.Errorf("devices %+v, %+v, %+v", one, again, two)
	}
	_, err = r.Enrol(secret, "pc", [32]byte{3}, later)
	wantErr(t, err, syncer.ErrToken)
	must1(r.Enrol(secret, "pc", [32]byte{2}, later))(t) // whose answer was lost

	if d := enrol(t, r, "ben", "pc", 4); d.Name != "pc-3" {
		t.Errorf("device %+v", d)
	}
	if d := enrol(t, r, "ana", "other", 1); d.Name != "pc" {
		t.Errorf("a home that enrols anew is %+v", d)
	}
	if all := must1(r.Devices())(t); len(all) != 3 {
		t.Errorf("devices %+v", all)
	}
}

func TestEnrolLongName(t *testing.T) {
	r := fleet(t)
	name := strings.Repeat("n", syncer.MaxName)
	for i := range 12 {
		d := enrol(t, r, "ana", name, byte(i))
		if err := syncer.CheckName(d.Name); err != nil {
			t.Error(err)
		}
	}
	if all := must1(r.Devices())(t); len(all) != 12 {
		t.Errorf("%d devices", len(all))
	}
}

func TestTokenOutOfDate(t *testing.T) {
	r := fleet(t)
	now := time.Now()
	r.now = func() time.Time { return now }
	must1(r.AddToken(syncer.Token{User: "ana", Expires: now.Add(time.Hour)}, [32]byte{1}))(t)
	now = now.Add(time.Hour)
	_, err := r.Enrol([32]byte{1}, "pc", [32]byte{1}, now)
	wantErr(t, err, syncer.ErrToken)
	_, err = r.AddToken(syncer.Token{User: "ana", Expires: now}, [32]byte{2})
	wantErr(t, err, syncer.ErrMalformed)
	_, err = r.AddToken(syncer.Token{User: "ana", Uses: -1}, [32]byte{2})
	wantErr(t, err, syncer.ErrMalformed)
	must1(r.AddToken(syncer.Token{User: "ana"}, [32]byte{2}))(t)
	if all := must1(r.Tokens())(t); len(all) != 1 {
		t.Errorf("tokens %+v: one is out of date", all)
	}
}

// Many devices at once use a token up just as often as it allows.
func TestEnrolRace(t *testing.T) {
	r := fleet(t)
	secret := [32]byte{1}
	must1(r.AddToken(syncer.Token{User: "ana", Uses: 5}, secret))(t)
	var in atomic.Int32
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := r.Enrol(secret, "pc", [32]byte{byte(i)}, time.Now().Add(month)); err == nil {
				in.Add(1)
			}
		})
	}
	wg.Wait()
	if in.Load() != 5 {
		t.Errorf("%d devices came in, not 5", in.Load())
	}
}

func TestRevoke(t *testing.T) {
	r := fleet(t)
	d := enrol(t, r, "ana", "pc", 1)
	if seen := must1(r.Seen("pc", [32]byte{1}))(t); seen.LastSeen.IsZero() {
		t.Error("the time of the request is not noted")
	}
	_, err := r.Seen("pc", [32]byte{2})
	wantErr(t, err, syncer.ErrCertificate)
	if got := must1(r.Revoke("pc"))(t); !got.Revoked || got.LastSeen.IsZero() {
		t.Errorf("device %+v", got)
	}
	_, err = r.Seen("pc", [32]byte{1})
	wantErr(t, err, syncer.ErrRevoked)
	_, err = r.View(d)
	wantErr(t, err, syncer.ErrRevoked)
	if access := must1(r.Access(d, anaData))(t); access != "" {
		t.Errorf("access %q", access)
	}
	secret := [32]byte{3}
	must1(r.AddToken(syncer.Token{User: "ana"}, secret))(t)
	_, err = r.Enrol(secret, "pc", [32]byte{1}, time.Now())
	wantErr(t, err, syncer.ErrRevoked)
	if d := must1(r.Enrol(secret, "pc", [32]byte{2}, time.Now()))(t); d.Name != "pc-2" {
		t.Errorf("device %+v: the token was not spent on the refusal", d)
	}
	r = reopened(t, r)
	_, err = r.Seen("pc", [32]byte{1})
	wantErr(t, err, syncer.ErrRevoked)
}
