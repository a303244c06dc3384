package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"satchel/syncer"
	"satchel/syncer/identity"
)

// admin answers administrators. Whoever mounts it has checked their token.
func (s *Server) admin() http.Handler {
	mux := http.NewServeMux()
	s.adminPeople(mux)
	s.adminThings(mux)
	s.adminDelivery(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		refused := probe{header: w.Header()} // learns what the mux makes of it, which it says in plain text
		h.ServeHTTP(&refused, r)
		if refused.status != http.StatusMethodNotAllowed {
			unknown(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusMethodNotAllowed)
		e, _ := syncer.ToError(fmt.Errorf("%s %.200q: the method is not allowed here: %w", r.Method, r.URL.Path, syncer.ErrMalformed))
		_ = json.NewEncoder(w).Encode(e) // an error here is one of the connection
	})
}

// A probe takes an answer's header and status.
type probe struct {
	header http.Header
	status int
}

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) WriteHeader(status int)      { p.status = status }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }

// adminPeople adds what is asked of users, groups, devices and tokens.
func (s *Server) adminPeople(mux *http.ServeMux) {
	reg := s.registry
	mux.Handle("GET /v1/admin/users", answer(func(*http.Request) ([]syncer.User, error) { return reg.Users() }))
	mux.Handle("POST /v1/admin/users", answerTo(func(_ *http.Request, u syncer.User) (syncer.User, error) { return reg.AddUser(u) }))
	mux.Handle("PUT /v1/admin/users/{name}", answerTo(func(r *http.Request, u syncer.User) (syncer.User, error) {
		err := sameName(r, "name", &u.Name)
		if err != nil {
			return u, err
		}
		return reg.SetUser(u)
	}))
	mux.Handle("DELETE /v1/admin/users/{name}", obey(func(r *http.Request) error { return reg.RemoveUser(r.PathValue("name")) }))

	mux.Handle("GET /v1/admin/groups", answer(func(*http.Request) ([]syncer.Group, error) { return reg.Groups() }))
	mux.Handle("POST /v1/admin/groups", answerTo(func(_ *http.Request, g syncer.Group) (syncer.Group, error) { return reg.AddGroup(g) }))
	mux.Handle("DELETE /v1/admin/groups/{name}", obey(func(r *http.Request) error { return reg.RemoveGroup(r.PathValue("name")) }))
	mux.Handle("PUT /v1/admin/groups/{name}/members/{user}", answer(func(r *http.Request) (syncer.Group, error) {
		return reg.Join(r.PathValue("name"), r.PathValue("user"))
	}))
	mux.Handle("DELETE /v1/admin/groups/{name}/members/{user}", answer(func(r *http.Request) (syncer.Group, error) {
		return reg.Leave(r.PathValue("name"), r.PathValue("user"))
	}))

	mux.Handle("GET /v1/admin/devices", answer(func(*http.Request) ([]syncer.Device, error) { return reg.Devices() }))
	mux.Handle("POST /v1/admin/devices/{name}/revoke", answer(func(r *http.Request) (syncer.Device, error) {
		return reg.Revoke(r.PathValue("name"))
	}))
	mux.Handle("DELETE /v1/admin/devices/{name}", obey(func(r *http.Request) error { return reg.RemoveDevice(r.PathValue("name")) }))

	mux.Handle("GET /v1/admin/tokens", answer(func(*http.Request) ([]syncer.Token, error) { return reg.Tokens() }))
	mux.Handle("POST /v1/admin/tokens", answerTo(s.newToken))
	mux.Handle("DELETE /v1/admin/tokens/{id}", obey(func(r *http.Request) error { return reg.RemoveToken(r.PathValue("id")) }))
}

// newToken makes a token. Its secret is in the answer and nowhere else.
func (s *Server) newToken(_ *http.Request, t syncer.Token) (syncer.Token, error) {
	if t.ID != "" || t.Secret != "" {
		return t, fmt.Errorf("a token's ID and secret are the server's to make: %w", syncer.ErrMalformed)
	}
	secret := identity.NewSecret()
	t, err := s.registry.AddToken(t, identity.HashSecret(secret))
	t.Secret = secret
	return t, err
}

// answer turns a function into a handler that answers with what it returns.
func answer[Out any](f func(r *http.Request) (Out, error)) http.Handler {
	return handle(func(w http.ResponseWriter, r *http.Request) error {
		out, err := f(r)
		if err != nil {
			return err
		}
		writeJSON(w, out)
		return nil
	})
}

// answerTo is answer for requests with a body.
func answerTo[In, Out any](f func(r *http.Request, in In) (Out, error)) http.Handler {
	return answer(func(r *http.Request) (out Out, err error) {
		var in In
		if err := readStrict(r, &in); err != nil {
			return out, err
		}
		return f(r, in)
	})
}

// obey is answer for what there is nothing to say about.
func obey(f func(r *http.Request) error) http.Handler {
	return handle(func(w http.ResponseWriter, r *http.Request) error {
		if err := f(r); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
}

// readStrict is readJSON that refuses unknown fields: a misspelt one would
// otherwise be dropped.
func readStrict(r *http.Request, v any) error {
	var raw json.RawMessage
	if err := readJSON(r, &raw); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("body: %w: %w", err, syncer.ErrMalformed)
	}
	return nil
}

// sameName takes a name over from the path of a request, if the body does not
// have it, and refuses a body with another.
func sameName(r *http.Request, value string, name *string) error {
	path := r.PathValue(value)
	if *name == "" {
		*name = path
	}
	if *name != path {
		return fmt.Errorf("%.80q at the place of %.80q: %w", *name, path, syncer.ErrMalformed)
	}
	return nil
}
