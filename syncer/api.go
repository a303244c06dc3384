package syncer

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"satchel/layers"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/store/chunk"
)

// Version is the version of the protocol. It is in the path of every request
// and in the header of every stream; docs/format/sync.md specifies it.
const Version = 1

// MaxJSON bounds a message in JSON, in bytes.
const MaxJSON = 4 << 20

// MaxWait bounds how long a device may ask the server to wait for news.
const MaxWait = time.Minute

// Access says what a device may do with a layer.
type Access string

// The kinds of access. Who may write may read.
const (
	Read  Access = "read"
	Write Access = "write"
)

// EnrolRequest asks that a device be let in. The request is made over TLS with
// a server whose certificate authority the device knows by its fingerprint.
type EnrolRequest struct {
	Token string `json:"token"`
	Name  string `json:"name"` // of the device, as its user wants it
	CSR   []byte `json:"csr"`  // PKCS #10 in DER, signed by the device's key
}

// Enrolled is the answer to an [EnrolRequest].
type Enrolled struct {
	Server      string       `json:"server"` // the server's identity, for good
	Device      string       `json:"device"` // the device's name; may differ from what was asked for
	User        string       `json:"user"`
	Certificate []byte       `json:"certificate"` // of the device, X.509 in DER
	Domain      chunk.Domain `json:"domain"`      // secret
}

// RenewRequest asks for a new certificate for the device that makes it.
type RenewRequest struct {
	CSR []byte `json:"csr"` // PKCS #10 in DER
}

// Renewed is the answer to a [RenewRequest].
type Renewed struct {
	Certificate []byte `json:"certificate"` // X.509 in DER
}

// A State is all that a server has for a device to know: one request for it is
// a whole sync when nothing has changed.
type State struct {
	Revision   string      `json:"revision"` // changes with anything in here
	Server     string      `json:"server"`
	Device     string      `json:"device"`
	User       string      `json:"user"`
	Publisher  bool        `json:"publisher,omitempty"` // the user may create os and group layers
	Layers     []Layer     `json:"layers"`              // ordered by name
	Workspaces []Workspace `json:"workspaces"`          // the user's, ordered by name
	// Published is how many entries the log of publications has, and its last
	// one's hash in hexadecimal digits; 0 and "": there is no log. See package
	// publication.
	Published     uint64    `json:"published,omitempty"`
	PublishedHead string    `json:"published_head,omitempty"`
	Rollouts      []Rollout `json:"rollouts,omitempty"`    // of what the device may read, ordered by number
	Assignments   []string  `json:"assignments,omitempty"` // IDs of those that are for the device, newest first
}

// A Rollout tells how far a publication in waves has come.
type Rollout struct {
	Seq     uint64    `json:"seq"`               // of the entry that published the version
	Open    int       `json:"open"`              // the share of devices that may have it, in percent
	Opened  time.Time `json:"opened"`            // when that wave was opened
	Stopped string    `json:"stopped,omitempty"` // why no further device gets it
}

// A Layer is a layer on the server, as a device sees it.
type Layer struct {
	ID      store.LayerID `json:"id"`
	Name    string        `json:"name"` // unique on the server
	Kind    layers.Kind   `json:"kind"`
	Owner   string        `json:"owner"`   // a user
	Version store.ID      `json:"version"` // its head; zero: none yet
	Access  Access        `json:"access"`
}

// A NewLayer asks for a layer that was made on the device. Layers of the kinds
// personal, system and data belong to the device's user, and their name on the
// server is put below the user's; layers of the kinds os and group need a
// publisher.
type NewLayer struct {
	ID   store.LayerID `json:"id"`
	Name string        `json:"name"`
	Kind layers.Kind   `json:"kind"`
}

// A Workspace is a workspace on the server. Its local layer is each device's own.
type Workspace struct {
	ID       string            `json:"id"`   // 32 hexadecimal digits
	Name     string            `json:"name"` // unique among the owner's
	Owner    string            `json:"owner"`
	Revision uint64            `json:"revision"` // goes up by one with each change; 0 asks for a new one
	OS       store.LayerID     `json:"os"`
	Groups   []store.LayerID   `json:"groups"` // lowest first
	Personal store.LayerID     `json:"personal"`
	System   store.LayerID     `json:"system"`
	Data     store.LayerID     `json:"data"`
	Options  workspace.Options `json:"options"`
	// Assignment is the ID of the assignment that it is of; "": of none. Its
	// layers and options are then what was assigned.
	Assignment string `json:"assignment,omitempty"`
}

// Assigned reports whether two workspaces agree in all that an assignment says.
func (w *Workspace) Assigned(o *Workspace) bool {
	return w.Assignment == o.Assignment && w.Name == o.Name && w.OS == o.OS && slices.Equal(w.Groups, o.Groups) &&
		reflect.DeepEqual(w.Options, o.Options)
}

// A HistoryRequest is the body of a request for [Remote.History].
type HistoryRequest struct {
	Want store.ID   `json:"want"`
	Have []store.ID `json:"have"`
}

// A PushRequest is the body of a request for [Remote.Push].
type PushRequest struct {
	From store.ID `json:"from"`
	To   store.ID `json:"to"`
}

// TraceKept is the answer to a boot trace that was sent.
type TraceKept struct {
	Chunks int `json:"chunks"` // of the trace; 0: the server has one already
}

// A User is a person, or a machine that acts as one.
type User struct {
	Name      string    `json:"name"`
	Publisher bool      `json:"publisher"`
	Groups    []string  `json:"groups"`
	Created   time.Time `json:"created"`
}

// A Group is users who share applications.
type Group struct {
	Name    string    `json:"name"`
	Members []string  `json:"members"` // users
	Created time.Time `json:"created"`
}

// A Device is an enrolled home.
type Device struct {
	Name     string    `json:"name"`
	User     string    `json:"user"`
	Enrolled time.Time `json:"enrolled"`
	Expires  time.Time `json:"expires"`   // of its newest certificate
	LastSeen time.Time `json:"last_seen"` // zero: never since the server started
	Revoked  bool      `json:"revoked"`
}

// A Token lets devices enrol. The secret itself is known only when it is made.
type Token struct {
	ID      string    `json:"id"`
	User    string    `json:"user"`
	Uses    int       `json:"uses"` // left
	Expires time.Time `json:"expires"`
	Secret  string    `json:"secret,omitempty"` // in the answer to its creation
}

// A Principal is whom a right is granted to: "user:NAME", "group:NAME",
// "device:NAME" or "all".
type Principal string

// Check reports a principal that is none of those forms.
func (p Principal) Check() error {
	kind, name, _ := strings.Cut(string(p), ":")
	switch kind {
	case "all":
		if string(p) == "all" {
			return nil
		}
	case "user", "group", "device":
		return CheckName(name)
	}
	return fmt.Errorf("principal %.80q: want user:NAME, group:NAME, device:NAME or all: %w", string(p), ErrMalformed)
}

// A Grant gives a principal access to a layer.
type Grant struct {
	To     Principal `json:"to"`
	Access Access    `json:"access"`
}

// A LayerInfo is a layer as an administrator sees it.
type LayerInfo struct {
	ID      store.LayerID `json:"id"`
	Name    string        `json:"name"`
	Kind    layers.Kind   `json:"kind"`
	Owner   string        `json:"owner"`
	Version store.ID      `json:"version"`
	Grants  []Grant       `json:"grants"`
	Created time.Time     `json:"created"`
}

// A Handout tells what came of adding files to users' data layers.
type Handout struct {
	Title  string          `json:"title"`
	Files  int64           `json:"files"`
	Bytes  int64           `json:"bytes"`
	Layers []HandoutResult `json:"layers"`
}

// A HandoutResult is one layer that files were handed out to.
type HandoutResult struct {
	Layer   string   `json:"layer"`
	Owner   string   `json:"owner"`
	Version store.ID `json:"version"`
	Kept    []string `json:"kept,omitempty"`  // names under which files were put because others were there
	Error   string   `json:"error,omitempty"` // why there is no new version
}

// MaxName is the longest name of a user, group or device, in bytes.
const MaxName = 64

// CheckName reports a name that no user, group or device may have: it must be
// of 1 to [MaxName] letters, digits and . _ -, beginning with a letter or digit.
func CheckName(name string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	switch {
	case name == "" || len(name) > MaxName:
		return fmt.Errorf("name %.80q: want 1 to %d bytes: %w", name, MaxName, ErrMalformed)
	case strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(allowed, r) }):
		return fmt.Errorf("name %.80q: want letters, digits and . _ -: %w", name, ErrMalformed)
	case strings.IndexByte("._-", name[0]) >= 0 || strings.Contains(name, ".."):
		return fmt.Errorf("name %.80q: must begin with a letter or digit and not hold two dots in a row: %w", name, ErrMalformed)
	}
	return nil
}
