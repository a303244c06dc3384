package server

import (
	"fmt"
	"net/http"
	"strings"

	"satchel/store"
	"satchel/syncer"
)

// Handler is the whole API.
func (s *Server) Handler() http.Handler { return s.observe(s.routes()) }

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /v1/ca", s.getAuthority)
	mux.Handle("POST /v1/enrol", handle(s.enrol))

	mux.Handle("POST /v1/renew", s.device(s.renew))
	mux.Handle("GET /v1/state", s.device(s.getState))
	mux.Handle("POST /v1/layers", s.device(s.newLayer))
	mux.Handle("PUT /v1/workspaces/{id}", s.device(s.putWorkspace))
	mux.Handle("GET /v1/publications", s.device(s.publications))
	mux.Handle("POST /v1/publications", s.device(s.publish))
	mux.Handle("POST /v1/report", s.device(s.report))
	mux.Handle("GET /v1/traces/{id}", s.device(s.getTrace))
	mux.Handle("POST /v1/traces/{id}", s.device(s.keepTrace))
	mux.Handle("POST /v1/layers/{id}/history", s.device(s.history))
	mux.Handle("POST /v1/layers/{id}/fetch", s.device(s.fetch))
	mux.Handle("POST /v1/layers/{id}/deltas", s.device(s.getDeltas))
	mux.Handle("POST /v1/layers/{id}/offer", s.device(s.offer))
	mux.Handle("POST /v1/layers/{id}/upload", s.device(s.upload))
	mux.Handle("POST /v1/layers/{id}/push", s.device(s.push))

	mux.Handle("/v1/admin/", s.administrator(s.admin()))
	mux.Handle("GET /metrics", s.administrator(s.Metrics()))
	mux.HandleFunc("/", unknown)
	return mux
}

// unknown answers what is no request of this protocol.
func unknown(w http.ResponseWriter, r *http.Request) {
	version, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v"), "/")
	if strings.HasPrefix(r.URL.Path, "/v") && version != "1" && version != "" && strings.Trim(version, "0123456789") == "" {
		writeError(w, r, fmt.Errorf("a request of version %.20s, this server speaks %d: %w", version, syncer.Version, syncer.ErrProtocol))
		return
	}
	writeError(w, r, fmt.Errorf("%s %.200q: %w", r.Method, r.URL.Path, store.ErrNotExist))
}

// handle turns a function that may fail into a handler.
func handle(f func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			writeError(w, r, err)
		}
	})
}

// health tells whether the server serves.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	select {
	case <-s.draining:
		writeError(w, r, fmt.Errorf("the server is ending: %w", syncer.ErrUnavailable))
	default:
		w.WriteHeader(http.StatusOK)
	}
}
