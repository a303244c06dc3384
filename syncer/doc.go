// Package syncer will hold what differs between two stores and what moves:
// reconcile, have/want exchange, chunk transfer, and the server and client of
// it. It is not built yet; see docs/architecture.md for the place it takes.
package syncer
