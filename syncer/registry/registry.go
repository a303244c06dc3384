// Package registry keeps what a server knows of users, groups, devices, tokens,
// layers, rights and workspaces, in one bbolt database.
package registry

import (
	"context"
	"errors"
	"time"

	"satchel/store"
	"satchel/syncer"
)

// A Registry is an open registry. One process has it open; its methods may be
// called from several goroutines at once.
type Registry struct{}

// Create makes the registry in a new file and opens it.
func Create(path, server string, adminToken [32]byte) (*Registry, error) {
	return nil, errors.ErrUnsupported
}

// Open opens a registry, or fails with [store.ErrNotExist], [store.ErrBusy],
// [store.ErrNewer] or [store.ErrCorrupt].
func Open(path string) (*Registry, error) { return nil, errors.ErrUnsupported }

// Close closes it.
func (r *Registry) Close() error { return nil }

// Server is the server's identity.
func (r *Registry) Server() string { return "" }

// Changed returns a channel that is closed at the next change of the registry,
// or when Touch is called.
func (r *Registry) Changed() <-chan struct{} { return nil }

// Touch tells those who wait for a change that something outside the registry,
// such as a head, has.
func (r *Registry) Touch() {}

// Admin reports whether a token is the administrator's: nil, or [syncer.ErrToken].
func (r *Registry) Admin(secret [32]byte) error { return errors.ErrUnsupported }

// SetAdmin replaces the administrator's token.
func (r *Registry) SetAdmin(secret [32]byte) error { return errors.ErrUnsupported }

// Users, groups, devices and tokens. They fail with [store.ErrExist],
// [store.ErrNotExist] or [syncer.ErrMalformed].

func (r *Registry) Users() ([]syncer.User, error) { return nil, errors.ErrUnsupported }
func (r *Registry) User(name string) (syncer.User, error) {
	return syncer.User{}, errors.ErrUnsupported
}
func (r *Registry) AddUser(u syncer.User) (syncer.User, error)    { return u, errors.ErrUnsupported }
func (r *Registry) SetUser(u syncer.User) (syncer.User, error)    { return u, errors.ErrUnsupported }
func (r *Registry) RemoveUser(name string) error                  { return errors.ErrUnsupported }
func (r *Registry) Groups() ([]syncer.Group, error)               { return nil, errors.ErrUnsupported }
func (r *Registry) AddGroup(g syncer.Group) (syncer.Group, error) { return g, errors.ErrUnsupported }
func (r *Registry) RemoveGroup(name string) error                 { return errors.ErrUnsupported }
func (r *Registry) Join(group, user string) (syncer.Group, error) {
	return syncer.Group{}, errors.ErrUnsupported
}
func (r *Registry) Leave(group, user string) (syncer.Group, error) {
	return syncer.Group{}, errors.ErrUnsupported
}
func (r *Registry) Devices() ([]syncer.Device, error) { return nil, errors.ErrUnsupported }
func (r *Registry) Revoke(device string) (syncer.Device, error) {
	return syncer.Device{}, errors.ErrUnsupported
}
func (r *Registry) RemoveDevice(device string) error { return errors.ErrUnsupported }
func (r *Registry) Tokens() ([]syncer.Token, error)  { return nil, errors.ErrUnsupported }
func (r *Registry) AddToken(t syncer.Token, secret [32]byte) (syncer.Token, error) {
	return t, errors.ErrUnsupported
}
func (r *Registry) RemoveToken(id string) error { return errors.ErrUnsupported }

// Enrol uses a token up once and adds a device of the token's user, under the
// name asked for or, when another has it, that name with a number. The device
// is known by the hash of its public key. It fails with [syncer.ErrToken].
func (r *Registry) Enrol(secret [32]byte, name string, key [32]byte, expires time.Time) (syncer.Device, error) {
	return syncer.Device{}, errors.ErrUnsupported
}

// Renewed notes when a device's new certificate expires.
func (r *Registry) Renewed(device string, expires time.Time) error { return errors.ErrUnsupported }

// Seen returns a device that is let in, by name and key, and notes the time. It
// fails with [syncer.ErrCertificate] or [syncer.ErrRevoked].
func (r *Registry) Seen(device string, key [32]byte) (syncer.Device, error) {
	return syncer.Device{}, errors.ErrUnsupported
}

// Layers lists all layers, without their heads, ordered by name.
func (r *Registry) Layers() ([]syncer.LayerInfo, error) { return nil, errors.ErrUnsupported }

// Layer finds a layer by ID.
func (r *Registry) Layer(id store.LayerID) (syncer.LayerInfo, error) {
	return syncer.LayerInfo{}, errors.ErrUnsupported
}

// LayerByName finds a layer by its name on the server.
func (r *Registry) LayerByName(name string) (syncer.LayerInfo, error) {
	return syncer.LayerInfo{}, errors.ErrUnsupported
}

// AddLayer adds a layer. It fails with [store.ErrExist].
func (r *Registry) AddLayer(l syncer.LayerInfo) (syncer.LayerInfo, error) {
	return l, errors.ErrUnsupported
}

// RemoveLayer forgets a layer that no workspace uses, or fails with [store.ErrBusy].
func (r *Registry) RemoveLayer(id store.LayerID) error { return errors.ErrUnsupported }

// SetGrant gives or changes a grant; with access "" it takes it away.
func (r *Registry) SetGrant(id store.LayerID, g syncer.Grant) (syncer.LayerInfo, error) {
	return syncer.LayerInfo{}, errors.ErrUnsupported
}

// Access says what a device may do with a layer: "" is nothing.
func (r *Registry) Access(d syncer.Device, id store.LayerID) (syncer.Access, error) {
	return "", errors.ErrUnsupported
}

// View returns what a device may see: its layers, without heads, and its user's
// workspaces, from one moment. Revision is left empty.
func (r *Registry) View(d syncer.Device) (syncer.State, error) {
	return syncer.State{}, errors.ErrUnsupported
}

// Workspaces lists all workspaces, by owner and name.
func (r *Registry) Workspaces() ([]syncer.Workspace, error) { return nil, errors.ErrUnsupported }

// Workspace finds one by ID.
func (r *Registry) Workspace(id string) (syncer.Workspace, error) {
	return syncer.Workspace{}, errors.ErrUnsupported
}

// PutWorkspace adds a workspace, when its revision is 0, or changes the one with
// that revision. It fails with [store.ErrMoved] when the revision is another,
// [store.ErrExist] when its owner has another of that name, and
// [syncer.ErrForbidden] when the owner may not read all layers or write those
// of the kinds personal, system and data.
func (r *Registry) PutWorkspace(w syncer.Workspace) (syncer.Workspace, error) {
	return w, errors.ErrUnsupported
}

// RemoveWorkspace forgets a workspace, but not its layers.
func (r *Registry) RemoveWorkspace(id string) error { return errors.ErrUnsupported }

// Uploaded notes that a device has sent chunks, and so has shown to hold them.
func (r *Registry) Uploaded(ctx context.Context, device string, ids []store.ID) error {
	return errors.ErrUnsupported
}

// HasUploaded tells which chunks a device has sent.
func (r *Registry) HasUploaded(ctx context.Context, device string, ids []store.ID) ([]bool, error) {
	return nil, errors.ErrUnsupported
}

// ForgetUploads drops such notes: those of the IDs, for a device, whose push is
// done, and all that are older than a month.
func (r *Registry) ForgetUploads(ctx context.Context, device string, ids []store.ID) error {
	return errors.ErrUnsupported
}
