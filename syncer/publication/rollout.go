package publication

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"satchel/store"
	"satchel/syncer"
)

// A Verdict is what is known of a version on a device.
type Verdict int

// The verdicts.
const (
	Unheard Verdict = iota // the device has not said anything of it
	Healthy                // a guest came up with it
	Failed                 // a guest did not, and the device went back
)

// First is the rollout of a publication when it is made.
func (p *Published) First(now time.Time) syncer.Rollout {
	return syncer.Rollout{Seq: p.Seq, Open: p.Waves[0], Opened: now}
}

// Advance returns how far a publication in waves shall go, given what is known
// of each device that follows its channel. It stops the rollout when more
// devices of the open waves have failed than may. Otherwise it opens the next
// wave when all devices of the open ones are healthy, or when the wave has been
// open for as long as the publication says.
func (p *Published) Advance(r syncer.Rollout, devices map[string]Verdict, now time.Time) syncer.Rollout {
	for r.Stopped == "" {
		in, healthy := 0, 0
		var failed []string
		for name, verdict := range devices {
			if !p.In(name, r.Open) {
				continue
			}
			in++
			switch verdict {
			case Healthy:
				healthy++
			case Failed:
				failed = append(failed, name)
			case Unheard:
			}
		}
		if len(failed) > 0 && len(failed)*100 > p.StopAt*in {
			slices.Sort(failed)
			r.Stopped = fmt.Sprintf("%d of %d devices in the wave of %d %% failed: %s", len(failed), in, r.Open, some(failed))
			return r
		}
		waited := p.WaveWait > 0 && !now.Before(r.Opened.Add(time.Duration(p.WaveWait)*time.Second))
		next := slices.IndexFunc(p.Waves, func(w int) bool { return w > r.Open })
		if next < 0 || healthy < in && !waited {
			return r
		}
		r.Open, r.Opened = p.Waves[next], now
	}
	return r
}

// some names a few.
func some(names []string) string {
	const most = 5
	if len(names) > most {
		return strings.Join(names[:most], ", ") + " and more"
	}
	return strings.Join(names, ", ")
}

// Follows returns the source that a device follows for a layer: that of the
// newest of the assignments that are for it, else the channel [Stable].
func (l *Log) Follows(layer store.LayerID, mine []string) Source {
	s, _ := l.For(layer, mine)
	return s
}

// For is Follows with the assignment, which is zero when there is none.
func (l *Log) For(layer store.LayerID, mine []string) (Source, Assigned) {
	var by Assigned
	follows := Source{Layer: layer, Channel: Stable}
	for _, id := range mine {
		a, ok := l.Assignments[id]
		if !ok || a.Seq < by.Seq {
			continue
		}
		for _, s := range a.Sources() {
			if s.Layer == layer {
				by, follows = a, s
			}
		}
	}
	return follows, by
}
