package publication

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"satchel/store"
	"satchel/syncer"
)

// shares is what the share of a device is counted in: hundredths of a percent.
const shares = 10_000

// Share is the place of a device among all devices for one entry, from 0 to
// 9,999: even, and another for each entry, so that it is not always the same
// devices that go first.
func Share(entry Hash, device string) int {
	sum := sha256.Sum256(append(entry[:], device...))
	return int(binary.LittleEndian.Uint64(sum[:]) % shares)
}

// In reports whether a wave of so many percent takes a device in.
func (p *Published) In(device string, percent int) bool {
	return Share(p.Entry, device) < percent*shares/100
}

// A Reader is a device that a version is sought for.
type Reader struct {
	Device string
	// Have is the version that the device uses now.
	Have store.ID
	// Rollouts tell how far publications in waves have come. The server says so;
	// it can hold a version back, but not hand out one that was not published.
	Rollouts []syncer.Rollout
}

// Target returns the publication that a device shall follow for a source. When
// all of a channel were withdrawn it is the newest of any channel that was not.
// It fails with [ErrWithdrawn] or [ErrUnpublished] when there is none.
func (l *Log) Target(s Source, r Reader) (Published, error) {
	if !s.Version.IsZero() {
		return l.pinned(s)
	}
	p, err := l.newest(s.Layer, r, func(p *Published) bool { return p.Channel == s.Channel })
	if errors.Is(err, ErrWithdrawn) {
		if other, failed := l.newest(s.Layer, r, func(*Published) bool { return true }); failed == nil {
			return other, nil
		}
	}
	if err != nil {
		return p, fmt.Errorf("layer %s on channel %s: %w", s.Layer, s.Channel, err)
	}
	return p, nil
}

// newest returns the newest publication of a layer that was not withdrawn, has
// come to the device, and is one of those.
func (l *Log) newest(layer store.LayerID, r Reader, of func(*Published) bool) (Published, error) {
	err := ErrUnpublished
	for _, p := range slices.Backward(l.Published[layer]) {
		if !of(&p) {
			continue
		}
		if reason, gone := l.Withdrawn[layer][p.Version]; gone {
			err = withdrawn(p.Version, reason)
			continue
		}
		if open(&p, r) {
			return p, nil
		}
	}
	return Published{}, err
}

func (l *Log) pinned(s Source) (Published, error) {
	if reason, gone := l.Withdrawn[s.Layer][s.Version]; gone {
		return Published{}, withdrawn(s.Version, reason)
	}
	for _, p := range slices.Backward(l.Published[s.Layer]) {
		if p.Version == s.Version {
			return p, nil
		}
	}
	return Published{}, fmt.Errorf("version %s of layer %s: %w", s.Version.Short(), s.Layer, ErrUnpublished)
}

// open reports whether a publication has come to a device. Who has the version
// keeps it when its waves are stopped.
func open(p *Published, r Reader) bool {
	if len(p.Waves) == 0 || p.Version == r.Have {
		return true
	}
	i := slices.IndexFunc(r.Rollouts, func(o syncer.Rollout) bool { return o.Seq == p.Seq })
	return i >= 0 && r.Rollouts[i].Stopped == "" && p.In(r.Device, r.Rollouts[i].Open)
}

// Allowed fails unless the version of a layer was published and not withdrawn.
func (l *Log) Allowed(layer store.LayerID, version store.ID) error {
	_, err := l.pinned(Source{Layer: layer, Version: version})
	return err
}

// Start is when a device begins to fetch what was published for an assignment,
// so that not all begin at once: within the first half of the time until it has
// to be there.
func (a *Assigned) Start(p *Published, device string) time.Time {
	said := p.Time
	if a.Time.After(said) {
		said = a.Time
	}
	half := a.LandBy.Sub(said) / 2
	if half <= 0 {
		return said
	}
	return said.Add(half / shares * time.Duration(Share(p.Entry, device)))
}
