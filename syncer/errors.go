package syncer

import (
	"errors"
	"fmt"
	"net/http"

	"satchel/store"
)

// Errors that one side tells the other; callers ask about them with
// [errors.Is]. [store.ErrMoved], [store.ErrNotExist], [store.ErrExist] and
// [store.ErrBusy] cross the wire as well.
var (
	// ErrToken reports an enrolment or admin token that is wrong, used up or
	// out of date.
	ErrToken = errors.New("the token is wrong, used up or out of date")
	// ErrCertificate reports a device without a certificate of this server.
	ErrCertificate = errors.New("the server does not know this certificate")
	// ErrExpired reports a certificate that is out of date.
	ErrExpired = errors.New("the certificate is out of date")
	// ErrRevoked reports a device that the server was told to refuse.
	ErrRevoked = errors.New("the device was revoked")
	// ErrForbidden reports a layer, chunk or workspace that the device may not
	// use in that way. It does not say whether such a thing exists.
	ErrForbidden = errors.New("not allowed, or not there")
	// ErrForged reports a chunk that nobody asked for, or that is not what it
	// was said to be.
	ErrForged = errors.New("the chunk is not what was asked for")
	// ErrManifest reports a version that breaks the rules of manifests or is
	// not of the layer that it was pushed to.
	ErrManifest = errors.New("the version is malformed")
	// ErrNotDescendant reports a push of a version whose history does not hold
	// the layer's head.
	ErrNotDescendant = errors.New("the version does not descend from the layer's head")
	// ErrReplayed reports a push of a version that is in the layer's history
	// already, below its head.
	ErrReplayed = errors.New("the version was pushed before")
	// ErrTooLarge reports a message that exceeds a limit of the protocol.
	ErrTooLarge = errors.New("the message exceeds a limit of the protocol")
	// ErrMalformed reports a message that is not of the protocol.
	ErrMalformed = errors.New("the message is malformed")
	// ErrProtocol reports sides that speak different versions of the protocol.
	ErrProtocol = errors.New("the other side speaks another version of the protocol: upgrade the older one")
	// ErrUnavailable reports a server that cannot be reached, or cannot serve
	// now; another try may succeed.
	ErrUnavailable = errors.New("the server cannot be reached now")
)

// A MissingError reports chunks that a pushed version needs and the server
// lacks, or that the device has not shown to hold. They have to be uploaded.
type MissingError struct {
	IDs []store.ID // some of them; there may be more
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("the server lacks %d chunks of the version", len(e.IDs))
}

// An Error is a refusal as it crosses the wire.
type Error struct {
	Code    string     `json:"code"`
	Message string     `json:"message"`           // for people
	Missing []store.ID `json:"missing,omitempty"` // with code "missing"
}

// codes joins the errors that cross the wire with their codes and HTTP statuses.
var codes = []struct {
	code   string
	status int
	err    error
}{
	{"token", http.StatusUnauthorized, ErrToken},
	{"certificate", http.StatusUnauthorized, ErrCertificate},
	{"expired", http.StatusUnauthorized, ErrExpired},
	{"revoked", http.StatusForbidden, ErrRevoked},
	{"forbidden", http.StatusForbidden, ErrForbidden},
	{"forged", http.StatusUnprocessableEntity, ErrForged},
	{"manifest", http.StatusUnprocessableEntity, ErrManifest},
	{"not_descendant", http.StatusConflict, ErrNotDescendant},
	{"replayed", http.StatusConflict, ErrReplayed},
	{"too_large", http.StatusRequestEntityTooLarge, ErrTooLarge},
	{"malformed", http.StatusBadRequest, ErrMalformed},
	{"protocol", http.StatusGone, ErrProtocol},
	{"unavailable", http.StatusServiceUnavailable, ErrUnavailable},
	{"moved", http.StatusConflict, store.ErrMoved},
	{"not_exist", http.StatusNotFound, store.ErrNotExist},
	{"exist", http.StatusConflict, store.ErrExist},
	{"busy", http.StatusConflict, store.ErrBusy},
}

// internal is the code of everything else: the server's own fault.
const internal = "internal"

// ToError returns the form in which err crosses the wire, and the HTTP status
// that goes with it. What has no code of its own is the server's own fault, and
// is told without its message.
func ToError(err error) (Error, int) {
	if missing := (*MissingError)(nil); errors.As(err, &missing) {
		return Error{Code: "missing", Message: err.Error(), Missing: missing.IDs}, http.StatusConflict
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return Error{Code: c.code, Message: err.Error()}, c.status
		}
	}
	return Error{Code: internal, Message: "the server failed; its log says why"}, http.StatusInternalServerError
}

// Err returns the error that e stands for, with e's message. One with an
// unknown code is an error too.
func (e Error) Err() error {
	if e.Code == "missing" {
		return &MissingError{IDs: e.Missing}
	}
	for _, c := range codes {
		if e.Code == c.code {
			return &remoteError{e.Message, c.err}
		}
	}
	return &remoteError{e.Message, errors.New(e.Code)}
}

// remoteError is an error of the other side: its message, and what it is.
type remoteError struct {
	message string
	is      error
}

func (e *remoteError) Error() string { return "server: " + e.message }
func (e *remoteError) Unwrap() error { return e.is }
