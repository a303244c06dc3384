package registry

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/publication"
)

// maxFailures bounds how many failures of one device are kept.
const maxFailures = 64

// Report keeps what a device says of its workspaces, in the place of what it
// said before, and lets waves go on or stops them. It fails with
// [syncer.ErrTooLarge], [syncer.ErrRevoked] or [syncer.ErrCertificate].
func (r *Registry) Report(d syncer.Device, said syncer.Report) error {
	if err := said.Check(); err != nil {
		return err
	}
	return r.change(func(c *change) error {
		if _, err := r.holder(d); err != nil {
			return err
		}
		said.Device, said.User, said.Time = d.Name, d.User, r.time()
		if old, ok := r.reports.rows[d.Name]; ok {
			said.Failed = merged(old.Failed, said.Failed)
		}
		if err := r.reports.put(c, d.Name, said); err != nil {
			return err
		}
		return r.advance(c, said)
	})
}

// merged adds to failures those that are new; the oldest go.
func merged(old, more []syncer.Failure) []syncer.Failure {
	all := slices.Clone(old)
	for _, f := range more {
		if !slices.ContainsFunc(all, func(o syncer.Failure) bool { return o.Layer == f.Layer && o.Version == f.Version }) {
			all = append(all, f)
		}
	}
	return all[max(0, len(all)-maxFailures):]
}

// Reports lists what devices have said, ordered by their names.
func (r *Registry) Reports() []syncer.Report {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := []syncer.Report{}
	for _, name := range r.reports.sorted() {
		all = append(all, r.reports.rows[name])
	}
	return all
}

// Due reports whether a wave has been open for as long as it shall be.
func (r *Registry) Due() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	now := r.time()
	for _, p := range r.waved() {
		at := r.rollouts.rows[seqKey(p.Seq)]
		if p.WaveWait > 0 && at.Stopped == "" && at.Open < 100 && !now.Before(at.Opened.Add(time.Duration(p.WaveWait)*time.Second)) {
			return true
		}
	}
	return false
}

// Advance opens waves that are due.
func (r *Registry) Advance() error {
	return r.change(func(c *change) error { return r.advance(c, syncer.Report{}) })
}

// waved lists the publications in waves that are the newest of their channel.
func (r *Registry) waved() []publication.Published {
	var all []publication.Published
	for layer, published := range r.log.Published {
		for i, p := range published {
			newest, _ := r.log.Channel(layer, p.Channel)
			if len(p.Waves) > 0 && newest.Seq == p.Seq {
				all = append(all, published[i])
			}
		}
	}
	slices.SortFunc(all, func(a, b publication.Published) int { return cmp.Compare(a.Seq, b.Seq) })
	return all
}

// advance lets each publication in waves go as far as it shall, given the
// reports of all devices, of which one is new.
func (r *Registry) advance(c *change, said syncer.Report) error {
	for _, p := range r.waved() {
		now, ok := r.rollouts.rows[seqKey(p.Seq)]
		if !ok {
			continue
		}
		next := p.Advance(now, r.verdicts(&p, said), r.time())
		if next == now {
			continue
		}
		if err := r.rollouts.put(c, seqKey(p.Seq), next); err != nil {
			return err
		}
	}
	return nil
}

// verdicts tells how each device that follows a publication's channel fares.
func (r *Registry) verdicts(p *publication.Published, said syncer.Report) map[string]publication.Verdict {
	all := map[string]publication.Verdict{}
	for name, row := range r.devices.rows {
		h := holder{row.User, name}
		if row.Revoked || !r.follows(h, p) {
			continue
		}
		report := r.reports.rows[name]
		if name == said.Device {
			report = said
		}
		all[name] = verdict(&report, p.Layer, p.Version)
	}
	return all
}

// follows reports whether a device has a workspace with a publication's layer,
// and follows its channel.
func (r *Registry) follows(h holder, p *publication.Published) bool {
	mine := r.assigned(h)
	source := r.log.Follows(p.Layer, assignmentIDs(mine))
	if source.Channel != p.Channel {
		return false
	}
	uses := func(w *syncer.Workspace) bool { return w.OS == p.Layer || slices.Contains(w.Groups, p.Layer) }
	for _, w := range r.works.rows {
		if w.Owner == h.user && uses(&w) && r.visible(&w, mine) {
			return true
		}
	}
	for _, a := range mine { // of which there is no workspace yet
		if slices.ContainsFunc(a.Sources(), func(s publication.Source) bool { return s.Layer == p.Layer }) {
			return true
		}
	}
	return false
}

// visible reports whether a device is to have a workspace of its user's: one
// that was assigned only while that is for this device.
func (r *Registry) visible(w *syncer.Workspace, mine []publication.Assigned) bool {
	if _, is := r.log.Assignments[w.Assignment]; !is {
		return true
	}
	return slices.ContainsFunc(mine, func(a publication.Assigned) bool { return a.ID == w.Assignment })
}

func verdict(r *syncer.Report, layer store.LayerID, version store.ID) publication.Verdict {
	if slices.ContainsFunc(r.Failed, func(f syncer.Failure) bool { return f.Layer == layer && f.Version == version }) {
		return publication.Failed
	}
	for _, w := range r.Workspaces {
		for _, l := range w.Layers {
			if l.Layer == layer && l.Version == version && l.Healthy {
				return publication.Healthy
			}
		}
	}
	return publication.Unheard
}

// rolledOut lists the rollouts of layers that a device may read.
func (r *Registry) rolledOut(h holder) []syncer.Rollout {
	var all []syncer.Rollout
	for _, key := range r.rollouts.sorted() {
		for layer, published := range r.log.Published {
			l, ok := r.layers.rows[layerKey(layer)]
			if !ok || r.access(h, &l) == "" {
				continue
			}
			if slices.ContainsFunc(published, func(p publication.Published) bool { return seqKey(p.Seq) == key }) {
				all = append(all, r.rollouts.rows[key])
			}
		}
	}
	return all
}

// Rollouts lists all rollouts, newest first, with their publications.
func (r *Registry) Rollouts() []syncer.RolloutInfo {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := []syncer.RolloutInfo{}
	for layer, published := range r.log.Published {
		for _, p := range published {
			at, ok := r.rollouts.rows[seqKey(p.Seq)]
			if !ok {
				continue
			}
			info := syncer.RolloutInfo{Rollout: at, Layer: r.layers.rows[layerKey(layer)].Name, Channel: p.Channel, Version: p.Version, Waves: p.Waves}
			for name, v := range r.verdicts(&p, syncer.Report{}) {
				info.Devices++
				switch v {
				case publication.Healthy:
					info.Healthy++
				case publication.Failed:
					info.Failed = append(info.Failed, r.reasons(name, &p)...)
				case publication.Unheard:
				}
			}
			slices.SortFunc(info.Failed, func(a, b syncer.FailedDevice) int { return strings.Compare(a.Device, b.Device) })
			all = append(all, info)
		}
	}
	slices.SortFunc(all, func(a, b syncer.RolloutInfo) int { return cmp.Compare(b.Seq, a.Seq) })
	return all
}

func (r *Registry) reasons(device string, p *publication.Published) (all []syncer.FailedDevice) {
	for _, f := range r.reports.rows[device].Failed {
		if f.Layer == p.Layer && f.Version == p.Version {
			all = append(all, syncer.FailedDevice{Device: device, Reason: f.Reason, Time: f.Time})
		}
	}
	return all
}

// For lists the devices that a principal takes in, ordered by name.
func (r *Registry) For(to syncer.Principal) ([]syncer.Device, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if err := r.checkPrincipal(to); err != nil {
		return nil, err
	}
	all := []syncer.Device{}
	for _, name := range r.devices.sorted() {
		row := r.devices.rows[name]
		if !row.Revoked && r.means(to, holder{row.User, name}) {
			all = append(all, r.device(row))
		}
	}
	return all, nil
}

// Disk returns what a device has said of its disk; nil: nothing.
func (r *Registry) Disk(device string) *syncer.Disk {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.reports.rows[device].Disk
}

// Held returns the versions of os and group layers that a device has said it
// uses.
func (r *Registry) Held(device string) map[store.LayerID]store.ID {
	r.mu.RLock()
	defer r.mu.RUnlock()
	held := map[store.LayerID]store.ID{}
	for _, w := range r.reports.rows[device].Workspaces {
		for _, l := range w.Layers {
			held[l.Layer] = l.Version
		}
	}
	return held
}
