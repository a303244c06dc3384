package workspace

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"satchel/layers"
	"satchel/store"
)

// Health is what a workspace remembers of how its guest came up with which
// versions of the layers that others publish: os and group.
type Health struct {
	// Good are the versions with which the guest last reached its health mark,
	// lowest first, and Since is when. None: it never did.
	Good  []Pin     `json:"good,omitempty"`
	Since time.Time `json:"since,omitzero"`
	// Trial is a start with other versions that has no verdict yet.
	Trial *Trial `json:"trial,omitempty"`
	// Failed are the versions with which the guest did not reach its mark, the
	// oldest first.
	Failed []Failure `json:"failed,omitempty"`
	// Last is the last start.
	Last *Start `json:"last,omitempty"`
	// Later is when starts go over to versions that are not the good ones; zero:
	// with the next one.
	Later time.Time `json:"later,omitzero"`
}

// A Trial is a start with versions that are not known to be good.
type Trial struct {
	Versions []Pin     `json:"versions"` // os and group, lowest first
	Began    time.Time `json:"began"`
	Starts   int       `json:"starts"` // without a verdict, the one that is under way included
	// Before are the heads of the workspace's own layers before the trial.
	Before []Pin `json:"before"`
	// Reason is set once the trial has failed, while what follows from that is
	// still to be done.
	Reason string `json:"reason,omitempty"`
}

// A Failure marks a version with which the guest did not reach its mark. A zero
// version stands for the layer's being left out.
type Failure struct {
	Pin
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
	Told   bool      `json:"told"` // the server knows
}

// Limits of a record.
const (
	maxFailures = 64
	maxReason   = 4096 // bytes
	maxPublic   = 1 + MaxGroups
)

// Tries is how many starts of a trial may end without a verdict, by a crash of
// the host, say. The next one counts as failed.
const Tries = 2

// Choose returns the versions that a start composes, given the heads of the
// stack, lowest first: the heads, but where a version of an os or group layer
// is marked as failed the one that was good. Where another os layer failed, it
// is the good os; where a group layer that the good stack did not have failed,
// it is left out; where leaving one out failed, it is put back.
//
// Without good versions there is no choice but the heads.
func (h *Health) Choose(heads []Pin) []Pin {
	if len(h.Good) == 0 {
		return slices.Clone(heads)
	}
	var chosen, own []Pin
	for _, head := range heads {
		switch good, known := h.good(head); {
		case head.Kind.Writable():
			own = append(own, head)
		case !h.hasFailed(head) || slices.Contains(versionsOf(h.Good), versionOf(head)):
			chosen = append(chosen, head)
		case known:
			chosen = append(chosen, good)
		}
	}
	for i, good := range h.Good {
		gone := good
		gone.Version = store.ID{}
		if good.Kind == layers.OS || at(heads, good.Layer) >= 0 || !h.hasFailed(gone) {
			continue
		}
		place := 0 // above what it lay on
		for _, below := range h.Good[:i] {
			place = max(place, at(chosen, below.Layer)+1)
		}
		chosen = slices.Insert(chosen, max(place, min(1, len(chosen))), good)
	}
	return append(chosen, own...)
}

// Chosen is Choose at a time: before Later it is the good versions.
func (h *Health) Chosen(heads []Pin, now time.Time) []Pin {
	if len(h.Good) == 0 || !now.Before(h.Later) {
		return h.Choose(heads)
	}
	chosen := slices.Clone(h.Good)
	for _, p := range heads {
		if p.Kind.Writable() {
			chosen = append(chosen, p)
		}
	}
	return chosen
}

// good returns what was good in the place of a head.
func (h *Health) good(head Pin) (Pin, bool) {
	i := slices.IndexFunc(h.Good, func(p Pin) bool {
		return p.Layer == head.Layer || p.Kind == layers.OS && head.Kind == layers.OS
	})
	if i < 0 {
		return Pin{}, false
	}
	return h.Good[i], true
}

func (h *Health) hasFailed(p Pin) bool {
	return slices.ContainsFunc(h.Failed, func(f Failure) bool { return versionOf(f.Pin) == versionOf(p) })
}

func at(pins []Pin, layer store.LayerID) int {
	return slices.IndexFunc(pins, func(p Pin) bool { return p.Layer == layer })
}

// version is what counts of a pin: names change.
type version struct {
	layer   store.LayerID
	version store.ID
}

func versionOf(p Pin) version { return version{p.Layer, p.Version} }

func versionsOf(pins []Pin) (out []version) {
	for _, p := range pins {
		out = append(out, versionOf(p))
	}
	return out
}

// Public returns the pins of layers that others publish: os and group.
func Public(pins []Pin) (out []Pin) {
	for _, p := range pins {
		if !p.Kind.Writable() {
			out = append(out, p)
		}
	}
	return out
}

// IsGood reports whether the versions of os and group layers among those are
// the good ones, in whatever order.
func (h *Health) IsGood(versions []Pin) bool {
	return len(h.Good) > 0 && sameVersions(h.Good, Public(versions))
}

func sameVersions(a, b []Pin) bool {
	in := versionsOf(b)
	return len(a) == len(b) && !slices.ContainsFunc(versionsOf(a), func(v version) bool { return !slices.Contains(in, v) })
}

// Begin notes that a start with those versions of the whole stack is about to
// happen. Own are the heads of the workspace's own layers before it. What was
// there before a trial without a verdict is what was there before this one.
// It reports whether the start is a trial.
func (h *Health) Begin(versions, own []Pin, now time.Time) bool {
	old := h.Trial
	if h.Trial = nil; h.IsGood(versions) {
		return false
	}
	h.Trial = &Trial{Versions: Public(versions), Began: now, Starts: 1, Before: own}
	if old == nil {
		return true
	}
	h.Trial.Before = old.Before
	if sameVersions(old.Versions, h.Trial.Versions) {
		h.Trial.Began, h.Trial.Starts = old.Began, old.Starts+1
	}
	return true
}

// NoVerdict takes back that the trial was begun once more. It goes on with the
// next start: what was there before it may have been reset for it since.
func (h *Health) NoVerdict() {
	if h.Trial != nil {
		h.Trial.Starts = max(0, h.Trial.Starts-1)
	}
}

// Exhausted reports whether a trial of those versions has been begun too often
// without a verdict.
func (h *Health) Exhausted(versions []Pin) bool {
	return h.Trial != nil && h.Trial.Starts >= Tries && sameVersions(h.Trial.Versions, Public(versions))
}

// Pass makes the trial's versions the good ones.
func (h *Health) Pass(now time.Time) {
	if h.Trial == nil {
		return
	}
	h.Good, h.Since, h.Trial = h.Trial.Versions, now, nil
	h.Failed = slices.DeleteFunc(h.Failed, func(f Failure) bool {
		return slices.Contains(versionsOf(h.Good), versionOf(f.Pin))
	})
}

// Fail marks what the trial changed as failed, for the trial's reason, and ends
// the trial. Which of several changes is to blame nobody knows: all are marked.
// The next start is not an upgrade for the reset rules.
func (h *Health) Fail(now time.Time) []Failure {
	if h.Trial == nil {
		return nil
	}
	var marked []Failure
	for _, p := range h.Trial.changed(h.Good) {
		h.Failed = slices.DeleteFunc(h.Failed, func(f Failure) bool { return versionOf(f.Pin) == versionOf(p) })
		marked = append(marked, Failure{Pin: p, Time: now, Reason: h.Trial.Reason})
	}
	h.Failed = append(h.Failed, marked...)
	h.Failed = slices.Clone(h.Failed[max(0, len(h.Failed)-maxFailures):])
	if i := slices.IndexFunc(h.Good, func(p Pin) bool { return p.Kind == layers.OS }); i >= 0 && h.Last != nil {
		h.Last.OS = h.Good[i]
	}
	h.Trial = nil
	return marked
}

// changed returns in what the trial differs from the good versions. A group
// layer that it lacks counts with the version zero.
func (t *Trial) changed(good []Pin) (out []Pin) {
	for _, p := range t.Versions {
		if !slices.Contains(versionsOf(good), versionOf(p)) {
			out = append(out, p)
		}
	}
	for _, p := range good {
		if p.Kind != layers.OS && at(t.Versions, p.Layer) < 0 {
			p.Version = store.ID{}
			out = append(out, p)
		}
	}
	return out
}

// Retry takes the marks off the versions of a stack, and off what it leaves
// out, so that the next start tries them again.
func (h *Health) Retry(heads []Pin) {
	h.Failed = slices.DeleteFunc(h.Failed, func(f Failure) bool {
		return slices.Contains(versionsOf(heads), versionOf(f.Pin)) || f.Version.IsZero() && at(heads, f.Layer) < 0
	})
}

// Reason makes the reason of a failure what a record takes: text without what
// moves a terminal's cursor, and no more than fits, the end being what tells
// most.
func Reason(s string) string {
	s = strings.ToValidUTF8(strings.TrimSpace(s), "?")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s)
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[len(s)-maxReason:], "")
	}
	return s
}

// check reports what makes a record impossible.
func (h *Health) check() error {
	if len(h.Failed) > maxFailures {
		return fmt.Errorf("%d failures, at most %d are kept", len(h.Failed), maxFailures)
	}
	for _, f := range h.Failed {
		if len(f.Reason) > maxReason {
			return fmt.Errorf("a reason of %d bytes", len(f.Reason))
		}
		if err := checkPublic(f.Pin); err != nil {
			return err
		}
	}
	trial := Trial{}
	if h.Trial != nil {
		trial = *h.Trial
	}
	if len(h.Good) > maxPublic || len(trial.Versions) > maxPublic || len(trial.Before) > len(layers.Kinds) {
		return errors.New("more layers than a workspace has")
	}
	for _, p := range slices.Concat(h.Good, trial.Versions) {
		if err := checkPublic(p); err != nil {
			return err
		}
	}
	for _, p := range trial.Before {
		if !p.Kind.Writable() {
			return fmt.Errorf("a layer of kind %q among the workspace's own", p.Kind)
		}
	}
	if trial.Starts < 0 || len(trial.Reason) > maxReason {
		return errors.New("an impossible trial")
	}
	return nil
}

func checkPublic(p Pin) error {
	if p.Kind != layers.OS && p.Kind != layers.Group {
		return fmt.Errorf("a layer of kind %q among the published ones", p.Kind)
	}
	return nil
}
