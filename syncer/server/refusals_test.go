package server

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"strings"
	"testing"
	"time"

	"satchel/layers"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/identity"
	"satchel/syncer/wire"
)

// TestRefusals has a server refuse all that a hostile client may try, each with
// an error, code and status of its own, and checks that nothing came of it.
func TestRefusals(t *testing.T) {
	s := serve(t, Options{})
	g, bob := s.enrol("ana", "laptop"), s.enrol("bob", "laptop")
	l, foreign := g.create("data", layers.Data), bob.create("data", layers.Data)
	v1 := g.commit(l, map[string]string{"a": "one"})
	g.send(l, store.ID{}, v1)
	v2 := g.commit(l, map[string]string{"a": "two"})
	g.send(l, v1, v2)
	v3 := g.commit(l, map[string]string{"a": "three"})
	base := layers.Version{Layer: l.ID, Kind: l.Kind, Time: time.Now(), Parents: []store.ID{v2}}
	misplaced := base
	misplaced.Layer = foreign.ID
	forged := g.version(misplaced, nil)
	lost := s.enrol("ana", "lost")
	_, err := s.registry.Revoke("lost")
	ok(t, err)
	expired, err := s.authority.Sign(g.csr, g.got.Device, -time.Second)
	ok(t, err)

	as := func(c *http.Client) *gadget { return &gadget{site: s, http: c} }
	upload := func(record []byte) error {
		_, err := g.do("POST", at(l.ID, "upload"), bytes.NewReader(record))
		return err
	}
	header := append([]byte("SLWS"), 1, 0, 0, 0)
	for _, c := range []struct {
		name   string
		code   string
		status int
		want   error
		try    func() error
	}{
		{"wrong token", "token", 401, syncer.ErrToken, func() error {
			return as(s.client(nil, nil)).json("POST", "/v1/enrol", syncer.EnrolRequest{Token: identity.NewSecret(), Name: "new", CSR: g.csr}, nil)
		}},
		{"expired certificate", "expired", 401, syncer.ErrExpired, func() error {
			_, err := as(s.client(g.key, expired)).state()
			return err
		}},
		{"revoked device", "revoked", 403, syncer.ErrRevoked, func() error {
			_, err := lost.state()
			return err
		}},
		{"foreign layer", "forbidden", 403, syncer.ErrForbidden, func() error {
			_, err := g.fetch(foreign.ID, v1)
			return err
		}},
		{"forged chunk", "forged", 422, syncer.ErrForged, func() error {
			_, err := g.stream(at(l.ID, "upload"), func(w *wire.Writer) error {
				return g.st.Frames(t.Context(), []store.ID{v3}, func(frame []byte) error {
					bad := bytes.Clone(frame)
					bad[len(bad)-1] ^= 1
					return w.Frame(bad)
				})
			})
			return err
		}},
		{"forged manifest", "manifest", 422, syncer.ErrManifest, func() error {
			ok(t, g.upload(l.ID, forged))
			return g.push(l.ID, v2, forged)
		}},
		{"replayed push", "replayed", 409, syncer.ErrReplayed, func() error { return g.push(l.ID, store.ID{}, v1) }},
		{"oversized frame", "too_large", 413, syncer.ErrTooLarge, func() error {
			return upload(binary.LittleEndian.AppendUint32(append(bytes.Clone(header), byte(wire.Frame)), wire.MaxFrame+1))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.try()
			wantErr(t, err, c.want)
			if e, status := syncer.ToError(err); e.Code != c.code || status != c.status {
				t.Errorf("code %s, status %d; want %s, %d", e.Code, status, c.code, c.status)
			}
			if !strings.HasPrefix(err.Error(), "server: ") || len(err.Error()) < 20 {
				t.Errorf("message %q", err)
			}
		})
	}
	st, err := g.state()
	ok(t, err)
	if st.Layers[0].Version != v2 {
		t.Errorf("the head is at %s, want %s", st.Layers[0].Version, v2)
	}
	if wants, err := g.offer(l.ID, v3); err != nil || !wants[0] {
		t.Errorf("a chunk of a forged frame was kept: %v, %v", wants, err)
	}
}
