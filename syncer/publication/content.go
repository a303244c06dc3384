package publication

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"satchel/layers/workspace"
	"satchel/store"
	"satchel/syncer"
)

// Limits of contents.
const (
	maxChannel = 32
	maxReason  = 500
	maxWaves   = 16
)

// Stable is the channel that devices follow unless they are told otherwise.
const Stable = "stable"

// A Content is what an entry says: exactly one of these.
type Content struct {
	Time     time.Time   `json:"time"`
	AddKey   *KeyChange  `json:"add_key,omitempty"`
	DropKey  *KeyChange  `json:"drop_key,omitempty"`
	Publish  *Publish    `json:"publish,omitempty"`
	Withdraw *Withdraw   `json:"withdraw,omitempty"`
	Assign   *Assignment `json:"assign,omitempty"`
	Unassign *Unassign   `json:"unassign,omitempty"`
}

// A KeyChange names a key that may publish from now on, or may not any longer.
type KeyChange struct {
	Key  Key    `json:"key"`
	Name string `json:"name,omitempty"` // of who holds it
}

// A Publish moves a channel of a layer to a version.
type Publish struct {
	Layer   store.LayerID `json:"layer"`
	Channel string        `json:"channel"`
	Version store.ID      `json:"version"`
	// Number is how many versions of the layer there are up to this one. It tells
	// older from newer without histories.
	Number uint64 `json:"number"`
	// Back says that an older version than the channel's is meant.
	Back bool `json:"back,omitempty"`
	// Waves are the shares of devices that the version goes to, one after the
	// other, in percent: ascending, the last 100. None: to all at once.
	Waves []int `json:"waves,omitempty"`
	// StopAt is the share of devices of the open waves, in percent, that may fail
	// with the version before no further device gets it. 0: the first failure.
	StopAt int `json:"stop_at,omitempty"`
	// WaveWait is how long a wave is open, in seconds, before the next one opens
	// although devices of it have not been heard of. 0: it waits for all.
	WaveWait int64 `json:"wave_wait,omitempty"`
}

// A Withdraw says that no device may use a version again.
type Withdraw struct {
	Layer   store.LayerID `json:"layer"`
	Version store.ID      `json:"version"`
	Reason  string        `json:"reason"`
}

// When a device goes over to the versions that it has landed.
const (
	NextStart = "next-start" // of the guest
	Now       = "now"        // the guest is stopped for it
)

// A Source is a layer and which version of it: that of a channel, or just one.
type Source struct {
	Layer   store.LayerID `json:"layer"`
	Channel string        `json:"channel,omitempty"`
	Version store.ID      `json:"version,omitzero"`
}

// An Assignment is a workspace that a user, the users of a group, the user of a
// device, or all have.
type Assignment struct {
	ID        string            `json:"id"` // 32 hexadecimal digits
	Workspace string            `json:"workspace"`
	To        syncer.Principal  `json:"to"`
	OS        Source            `json:"os"`
	Groups    []Source          `json:"groups,omitempty"` // lowest first
	LandBy    time.Time         `json:"land_by,omitzero"` // devices spread what they fetch until then
	Switch    string            `json:"switch,omitempty"` // [NextStart], [Now], or a time as in RFC 3339; "": the first
	Options   workspace.Options `json:"options,omitzero"` // of the guest
}

// An Unassign ends an assignment. Workspaces that it made stay where they are.
type Unassign struct {
	ID string `json:"id"`
}

// marshal returns the JSON, of at most [MaxContent] bytes.
func (c *Content) marshal() ([]byte, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("marshal a publication: %w", err)
	}
	if len(b) > MaxContent {
		return nil, fmt.Errorf("a publication of %d bytes, want at most %d: %w", len(b), MaxContent, syncer.ErrTooLarge)
	}
	return b, nil
}

// parse reads JSON. Fields that this program does not know are refused: they
// may take back what those say that it does.
func parse(b []byte) (c Content, err error) {
	if len(b) > MaxContent {
		return c, fmt.Errorf("a publication of %d bytes, want at most %d: %w", len(b), MaxContent, syncer.ErrTooLarge)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return c, malformed("%w", err)
	}
	if _, err := dec.Token(); err != io.EOF { //nolint:errorlint // as Token returns it
		return c, malformed("something follows it")
	}
	return c, c.Check()
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("publication: %w: %w", fmt.Errorf(format, args...), syncer.ErrMalformed)
}

// Check reports contents that make no sense.
func (c *Content) Check() error {
	said := 0
	for _, part := range []struct {
		there bool
		check func() error
	}{
		{c.AddKey != nil, func() error { return c.AddKey.check() }},
		{c.DropKey != nil, func() error { return c.DropKey.check() }},
		{c.Publish != nil, func() error { return c.Publish.check() }},
		{c.Withdraw != nil, func() error { return c.Withdraw.check() }},
		{c.Assign != nil, func() error { return c.Assign.check() }},
		{c.Unassign != nil, func() error { return checkID(c.Unassign.ID) }},
	} {
		if !part.there {
			continue
		}
		said++
		if err := part.check(); err != nil {
			return err
		}
	}
	if said != 1 {
		return malformed("it says %d things, want one", said)
	}
	if c.Time.IsZero() {
		return malformed("it has no time")
	}
	return nil
}

func (k *KeyChange) check() error {
	if k.Key == (Key{}) || len(k.Name) > syncer.MaxName {
		return malformed("key %s of %.80q: want a key and a name of at most %d bytes", k.Key, k.Name, syncer.MaxName)
	}
	return nil
}

func (p *Publish) check() error {
	if err := CheckChannel(p.Channel); err != nil {
		return err
	}
	switch {
	case p.Layer.IsZero() || p.Version.IsZero() || p.Number == 0:
		return malformed("it names no version of a layer")
	case p.StopAt < 0 || p.StopAt > 100:
		return malformed("it stops at %d %%", p.StopAt)
	case p.WaveWait < 0:
		return malformed("it waits %d s for a wave", p.WaveWait)
	}
	return CheckWaves(p.Waves)
}

// CheckWaves reports shares that are none, or not in order.
func CheckWaves(waves []int) error {
	last := 0
	for _, w := range waves {
		if w <= last || w > 100 {
			return malformed("waves %v: want percentages, each larger than the one before, the last 100", waves)
		}
		last = w
	}
	if len(waves) > 0 && last != 100 || len(waves) > maxWaves {
		return malformed("waves %v: want at most %d, the last 100", waves, maxWaves)
	}
	return nil
}

// CheckChannel reports a name that no channel may have.
func CheckChannel(name string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789-"
	ok := name != "" && len(name) <= maxChannel && name[0] != '-'
	ok = ok && !strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(allowed, r) })
	if !ok {
		return malformed("channel %.80q: want 1 to %d small letters, digits and dashes, the first no dash", name, maxChannel)
	}
	return nil
}

func (w *Withdraw) check() error {
	if w.Layer.IsZero() || w.Version.IsZero() {
		return malformed("it withdraws no version of a layer")
	}
	if len(w.Reason) > maxReason {
		return malformed("a reason of %d bytes, want at most %d", len(w.Reason), maxReason)
	}
	return nil
}

func (a *Assignment) check() error {
	if err := checkID(a.ID); err != nil {
		return err
	}
	if err := workspace.CheckName(a.Workspace); err != nil {
		return malformed("%w", err)
	}
	if err := a.To.Check(); err != nil {
		return err
	}
	if len(a.Groups) > workspace.MaxGroups {
		return malformed("it has %d group layers, at most %d are possible", len(a.Groups), workspace.MaxGroups)
	}
	seen := map[store.LayerID]bool{}
	for _, s := range a.Sources() {
		if err := s.check(); err != nil {
			return err
		}
		if seen[s.Layer] {
			return malformed("it has layer %s twice", s.Layer)
		}
		seen[s.Layer] = true
	}
	if _, err := a.SwitchAt(time.Time{}); err != nil {
		return err
	}
	return nil
}

// Sources are the layers, lowest first.
func (a *Assignment) Sources() []Source { return append([]Source{a.OS}, a.Groups...) }

// SwitchAt returns when a device goes over that has landed the versions at the
// given time; zero: with the guest's next start.
func (a *Assignment) SwitchAt(landed time.Time) (time.Time, error) {
	switch a.Switch {
	case "", NextStart:
		return time.Time{}, nil
	case Now:
		return landed, nil
	}
	at, err := time.Parse(time.RFC3339, a.Switch)
	if err != nil {
		return at, malformed("switch %.80q: want %s, %s or a time such as 2027-01-31T18:00:00Z", a.Switch, NextStart, Now)
	}
	return at, nil
}

func (s *Source) check() error {
	switch {
	case s.Layer.IsZero():
		return malformed("it names no layer")
	case s.Version.IsZero():
		return CheckChannel(s.Channel)
	case s.Channel != "":
		return malformed("layer %s: want a channel or a version, not both", s.Layer)
	}
	return nil
}

func checkID(id string) error {
	if _, err := store.ParseLayerID(id); err != nil || id != strings.ToLower(id) {
		return malformed("assignment %.80q: want 32 small hexadecimal digits", id)
	}
	return nil
}

// keys is the subject of entries that change who may publish. All devices are
// shown those.
var keys = store.LayerID(bytes.Repeat([]byte{0xff}, len(store.LayerID{})))

// subject is what contents are about: a layer, an assignment by its ID, or keys.
func (c *Content) subject() store.LayerID {
	switch {
	case c.Publish != nil:
		return c.Publish.Layer
	case c.Withdraw != nil:
		return c.Withdraw.Layer
	case c.Assign != nil:
		return AssignmentSubject(c.Assign.ID)
	case c.Unassign != nil:
		return AssignmentSubject(c.Unassign.ID)
	}
	return keys
}

// AssignmentSubject is the subject of entries about an assignment.
func AssignmentSubject(id string) store.LayerID {
	subject, err := store.ParseLayerID(id)
	if err != nil {
		return store.LayerID{} // Check has refused it
	}
	return subject
}
