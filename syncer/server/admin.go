package server

import "net/http"

// admin answers administrators.
func (s *Server) admin() http.Handler { return http.HandlerFunc(unknown) }
