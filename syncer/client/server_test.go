package client_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer"
	"satchel/syncer/client"
	"satchel/syncer/exchange"
	"satchel/syncer/identity"
	"satchel/syncer/server"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startServer runs a server, and returns its address and what its making told.
func startServer(t *testing.T) (url string, made server.Made) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "srv")
	made, err := server.Init(dir)
	ok(t, err)
	s, err := server.Open(dir, server.Options{})
	ok(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- errors.Join(s.Serve(ctx, l, 10*time.Second), s.Close()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return "https://" + l.Addr().String(), made
}

// A device is enrolled, with a store of its own.
type device struct {
	*client.Client
	key      *identity.Key
	enrolled syncer.Enrolled
	store    *disk.Store
}

func enrol(t *testing.T, url string, ca []byte, token, name string) device {
	t.Helper()
	conf, err := identity.ClientTLS(ca, nil, nil)
	ok(t, err)
	key, csr, err := identity.NewKey()
	ok(t, err)
	got, err := client.Enrol(t.Context(), client.Options{Server: url, TLS: conf}, syncer.EnrolRequest{Token: token, Name: name, CSR: csr})
	ok(t, err)
	conf, err = identity.ClientTLS(ca, key, got.Certificate)
	ok(t, err)
	c, err := client.New(client.Options{Server: url, TLS: conf})
	ok(t, err)
	t.Cleanup(func() { c.Close() })
	st, err := disk.CreateIn(filepath.Join(t.TempDir(), "store"), got.Domain)
	ok(t, err)
	t.Cleanup(func() { st.Close() })
	return device{c, key, got, st}
}

// site is a server with a user, and a token for two devices of hers.
func site(t *testing.T) (url string, ca []byte, token string) {
	t.Helper()
	url, made := startServer(t)
	ca, err := client.Authority(t.Context(), url, made.Fingerprint)
	ok(t, err)
	conf, err := identity.ClientTLS(ca, nil, nil)
	ok(t, err)
	admin, err := client.NewAdmin(client.Options{Server: url, TLS: conf}, made.AdminToken)
	ok(t, err)
	defer admin.Close()
	ok(t, admin.Do(t.Context(), http.MethodPost, "users", syncer.User{Name: "ana"}, nil))
	var issued syncer.Token
	ok(t, admin.Do(t.Context(), http.MethodPost, "tokens",
		syncer.Token{User: "ana", Uses: 2, Expires: time.Now().Add(time.Hour)}, &issued))
	if err := admin.Do(t.Context(), http.MethodDelete, "users/nobody", nil, nil); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("delete of nobody: %v", err)
	}
	return url, ca, issued.Secret
}

func TestAgainstServer(t *testing.T) {
	url, ca, token := site(t)
	ctx := t.Context()
	a := enrol(t, url, ca, token, "laptop")
	b := enrol(t, url, ca, token, "desktop")

	conf, err := identity.ClientTLS(ca, nil, nil)
	ok(t, err)
	_, csr, err := identity.NewKey()
	ok(t, err)
	_, err = client.Enrol(ctx, client.Options{Server: url, TLS: conf}, syncer.EnrolRequest{Token: token, Name: "third", CSR: csr})
	if !errors.Is(err, syncer.ErrToken) {
		t.Errorf("enrolment with a token that is used up: %v", err)
	}
	stranger, err := client.New(client.Options{Server: url, TLS: conf})
	ok(t, err)
	defer stranger.Close()
	if _, err := stranger.State(ctx, "", 0); !errors.Is(err, syncer.ErrCertificate) {
		t.Errorf("without a certificate: %v", err)
	}
	csr, err = a.key.Request()
	ok(t, err)
	renewed, err := a.Renew(ctx, csr)
	ok(t, err)
	if _, err := identity.ClientTLS(ca, a.key, renewed.Certificate); err != nil {
		t.Error(err)
	}

	// One device waits for news, the other makes some.
	before, err := b.State(ctx, "", 0)
	ok(t, err)
	news := make(chan error, 1)
	var after syncer.State
	go func() {
		var err error
		after, err = b.State(ctx, before.Revision, time.Minute)
		news <- err
	}()
	l := syncer.NewLayer{Name: "documents", Kind: layers.Data}
	rand.Read(l.ID[:])
	_, err = a.AddLayer(ctx, l)
	ok(t, err)
	ok(t, <-news)
	if len(after.Layers) != 1 || after.Layers[0].ID != l.ID {
		t.Errorf("the news: %+v", after)
	}
	moveVersion(t, a, b, l)
}

// moveVersion takes a version from one device to the other.
func moveVersion(t *testing.T, a, b device, l syncer.NewLayer) {
	t.Helper()
	ctx := t.Context()
	text := make([]byte, 12<<10) // one chunk
	rand.Read(text)
	ok(t, second(a.store.Heads().Add(ctx, l.ID, l.Name)))
	w, err := a.store.Begin(ctx, "test")
	ok(t, err)
	defer w.Close()
	ids, err := w.Put(ctx, text)
	ok(t, err)
	entry := layers.Entry{Path: "text", Type: layers.Regular, Mode: 0o644, Size: int64(len(text)),
		Extents: []layers.Extent{{ID: ids[0], Len: int64(len(text))}}}
	head, err := a.store.Heads().Head(ctx, l.ID)
	ok(t, err)
	versions, err := repo.New(a.store, "laptop").Commit(ctx, w, repo.Commit{Head: head, Kind: l.Kind, Tree: layers.Tree{entry}})
	ok(t, err)
	version := versions[0]

	if err := b.Fetch(ctx, l.ID, ids, nil); !errors.Is(err, syncer.ErrForbidden) {
		t.Errorf("fetch of what is not there: %v", err)
	}
	ok(t, exchange.Push(ctx, a.store, a, l.ID, store.ID{}, version, exchange.Options{}))
	ok(t, a.Push(ctx, l.ID, store.ID{}, version)) // again
	if err := b.Push(ctx, l.ID, store.ID{}, store.ID{9}); !errors.Is(err, store.ErrMoved) {
		t.Errorf("push beside it: %v", err)
	}
	w, err = b.store.Begin(ctx, "test")
	ok(t, err)
	defer w.Close()
	ok(t, second(exchange.History(ctx, b.store, w, b, l.ID, version, nil, exchange.Options{})))
	ok(t, w.Flush(ctx))
	ok(t, exchange.Contents(ctx, b.store, w, b, l.ID, version, nil, exchange.Options{}))
	got, err := b.store.Get(ctx, ids[0])
	if err != nil || !bytes.Equal(got, text) {
		t.Errorf("%d bytes came, %v", len(got), err)
	}
	if up, down := a.Traffic().Up, b.Traffic().Down; up < int64(len(text)) || down < int64(len(text)) {
		t.Errorf("%d bytes up and %d down, of a text of %d", up, down, len(text))
	}
}

func second[T any](_ T, err error) error { return err }
