package registry

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	"satchel/syncer"
)

// A deviceRow is a device with what only the server needs of it. When it was
// last seen is not kept.
type deviceRow struct {
	syncer.Device
	Key    []byte `json:"key"`    // hash of its public key
	Token  string `json:"token"`  // by which it was enrolled last
	Serial uint64 `json:"serial"` // of its uploads; no other device ever has it
}

// Devices lists all devices, ordered by name.
func (r *Registry) Devices() ([]syncer.Device, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]syncer.Device, 0, len(r.devices.rows))
	for _, name := range r.devices.sorted() {
		all = append(all, r.device(r.devices.rows[name]))
	}
	return all, nil
}

func (r *Registry) device(row deviceRow) syncer.Device {
	if at, ok := r.seen.Load(row.Name); ok {
		row.LastSeen = at.(time.Time)
	}
	return row.Device
}

// Seen returns a device that is let in, by name and key, and notes the time. It
// fails with [syncer.ErrCertificate] or [syncer.ErrRevoked].
func (r *Registry) Seen(device string, key [32]byte) (syncer.Device, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	row, ok := r.devices.rows[device]
	switch {
	case !ok || !bytes.Equal(row.Key, key[:]):
		return syncer.Device{}, fmt.Errorf("device %.80q: %w", device, syncer.ErrCertificate)
	case row.Revoked:
		return syncer.Device{}, fmt.Errorf("device %s: %w", device, syncer.ErrRevoked)
	}
	row.LastSeen = r.time()
	r.seen.Store(device, row.LastSeen)
	return row.Device, nil
}

// Revoke refuses a device from now on, and its key for as long as the device is
// listed. That it was revoked before is no error.
func (r *Registry) Revoke(device string) (syncer.Device, error) {
	return r.setDevice(device, func(row *deviceRow) { row.Revoked = true })
}

// Renewed notes when a device's new certificate expires.
func (r *Registry) Renewed(device string, expires time.Time) error {
	_, err := r.setDevice(device, func(row *deviceRow) { row.Expires = expires.UTC() })
	return err
}

func (r *Registry) setDevice(name string, set func(*deviceRow)) (d syncer.Device, err error) {
	err = r.change(func(c *change) error {
		row, ok := r.devices.rows[name]
		if !ok {
			return notExist("device", name)
		}
		set(&row)
		d = r.device(row)
		return r.devices.put(c, name, row)
	})
	return d, err
}

// RemoveDevice forgets a device, with all grants to it. Its certificate is
// worth nothing from then on; its user's layers stay.
func (r *Registry) RemoveDevice(device string) error {
	return r.change(func(c *change) error {
		if _, ok := r.devices.rows[device]; !ok {
			return notExist("device", device)
		}
		r.devices.remove(c, device)
		c.then(func() { r.seen.Delete(device) })
		return r.dropGrants(c, syncer.Principal("device:"+device))
	})
}

// Enrol uses a token up once and adds a device of the token's user, under the
// name asked for or, when another has it, that name with a number. The device
// is known by the hash of its public key. It fails with [syncer.ErrToken].
//
// A key that the same user enrolled before keeps its device, under its old
// name; when that was by the same token, no further use of it is spent, so that
// a device which never saw the answer can ask again. The key of a device that
// was revoked is refused with [syncer.ErrRevoked].
func (r *Registry) Enrol(secret [32]byte, name string, key [32]byte, expires time.Time) (d syncer.Device, err error) {
	err = r.change(func(c *change) error {
		token, ok := r.tokenOf(secret)
		if !ok {
			return syncer.ErrToken
		}
		if err := syncer.CheckName(name); err != nil {
			return err
		}
		row, known := r.deviceOf(token.User, key)
		if row.Revoked {
			return fmt.Errorf("device %s: %w", row.Name, syncer.ErrRevoked)
		}
		if !known {
			row = deviceRow{Key: key[:], Serial: newSerial()}
			row.Name, row.User = r.freeName(name), token.User
		}
		if !known || row.Token != token.ID {
			if token.Uses == 0 {
				return syncer.ErrToken
			}
			token.Uses--
			if err := r.tokens.put(c, token.ID, token); err != nil {
				return err
			}
		}
		row.Token, row.Enrolled, row.Expires = token.ID, r.time(), expires.UTC()
		d = row.Device
		return r.devices.put(c, row.Name, row)
	})
	return d, err
}

func newSerial() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// deviceOf finds the device of a user with that key.
func (r *Registry) deviceOf(user string, key [32]byte) (deviceRow, bool) {
	for _, name := range r.devices.sorted() { // ordered, for the same answer each time
		if row := r.devices.rows[name]; row.User == user && bytes.Equal(row.Key, key[:]) {
			return row, true
		}
	}
	return deviceRow{}, false
}

// freeName returns a name that no device has: the one given, or that with the
// first number from 2 on that is free.
func (r *Registry) freeName(name string) string {
	free := name
	for n := 2; ; n++ {
		if _, taken := r.devices.rows[free]; !taken {
			return free
		}
		number := fmt.Sprintf("-%d", n)
		free = name[:min(len(name), syncer.MaxName-len(number))] + number
	}
}
