package publication

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"satchel/store"
	"satchel/syncer"
)

var update = flag.Bool("update", false, "write testdata anew")

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	layerA, layerB = store.LayerID{0xa}, store.LayerID{0xb}
	day            = time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)
	assignmentID   = strings.Repeat("ab", 16)
)

func version(n byte) store.ID { return store.ID{n} }

// keyOf makes a key out of one byte.
func keyOf(n byte) *PrivateKey {
	return &PrivateKey{ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))}
}

// A book is a log in the making, and its statements.
type book struct {
	t   testing.TB
	key *PrivateKey
	log Log
	all []Statement
}

func newBook(t testing.TB) *book {
	b := &book{t: t, key: keyOf(1)}
	b.say(Content{AddKey: &KeyChange{Key: b.key.Public(), Name: "build"}})
	return b
}

// sign makes the next statement without taking it in.
func (b *book) sign(c Content) Statement {
	b.t.Helper()
	c.Time = day.Add(time.Duration(b.log.Seq) * time.Hour)
	s, err := Sign(b.key, &b.log, c)
	must(b.t, err)
	return s
}

func (b *book) say(c Content) Statement {
	b.t.Helper()
	s := b.sign(c)
	must(b.t, b.log.Append(s))
	b.all = append(b.all, s)
	return s
}

func (b *book) publish(n byte, more ...func(*Publish)) Published {
	b.t.Helper()
	b.say(publish(n, more...))
	p, _ := b.log.Channel(layerA, Stable)
	return p
}

func publish(n byte, more ...func(*Publish)) Content {
	p := &Publish{Layer: layerA, Channel: Stable, Version: version(n), Number: uint64(n)}
	for _, change := range more {
		change(p)
	}
	return Content{Publish: p}
}

func assignment() *Assignment {
	return &Assignment{ID: assignmentID, Workspace: "lab", To: "group:7b", OS: Source{Layer: layerA, Channel: Stable}}
}

func TestReadersAgree(t *testing.T) {
	b := newBook(t)
	b.publish(1)
	b.publish(2, func(p *Publish) { p.Waves = []int{5, 100} })
	b.say(Content{Withdraw: &Withdraw{Layer: layerA, Version: version(1), Reason: "it forgets files"}})
	b.say(Content{Assign: assignment()})
	b.say(Content{AddKey: &KeyChange{Key: keyOf(2).Public(), Name: "second"}})
	b.key = keyOf(2)
	b.say(Content{DropKey: &KeyChange{Key: keyOf(1).Public()}})
	b.say(Content{Unassign: &Unassign{ID: assignmentID}})
	for cut := range b.all {
		reader := &Log{Genesis: b.log.Genesis}
		for _, part := range [][]Statement{b.all[:cut], b.all[max(cut-1, 0):]} { // the last one twice, as servers send it
			refused, err := reader.Extend(part)
			if must(t, err); len(refused) > 0 {
				t.Error(refused)
			}
		}
		text, err := json.Marshal(reader)
		must(t, err)
		kept := &Log{}
		must(t, json.Unmarshal(text, kept))
		if !reflect.DeepEqual(kept, &b.log) {
			t.Errorf("cut at %d: %+v, want %+v", cut, kept, b.log)
		}
	}
	b.key = keyOf(1)
	if err := b.log.Append(b.sign(publish(9))); !errors.Is(err, ErrForged) {
		t.Errorf("a key that was dropped: %v", err)
	}
}

// TestRefusals has a reader that knows three entries meet servers that lie.
func TestRefusals(t *testing.T) {
	other := func(t *testing.T) *book { // another log of the same publisher
		o := newBook(t)
		o.publish(1)
		o.publish(7)
		o.publish(8)
		return o
	}
	for name, test := range map[string]struct {
		lie  func(t *testing.T, b *book) []Statement
		want error
	}{
		"signed by nobody": {func(t *testing.T, b *book) []Statement {
			s := b.sign(publish(3))
			s.Record[recordSize-1] ^= 1
			return []Statement{s}
		}, ErrForged},
		"signed by a stranger": {func(t *testing.T, b *book) []Statement {
			b.key = keyOf(9)
			return []Statement{b.sign(publish(3))}
		}, ErrForged},
		"other contents": {func(t *testing.T, b *book) []Statement {
			s := b.sign(publish(3))
			s.Content = b.sign(publish(4)).Content
			return []Statement{s}
		}, ErrForged},
		"about something else": {func(t *testing.T, b *book) []Statement {
			s := b.sign(publish(3))
			e, err := Unmarshal(s.Record)
			must(t, err)
			e.Subject = layerB
			copy(e.Sig[:], ed25519.Sign(b.key.private, e.message()))
			return []Statement{{e.Marshal(), s.Content}}
		}, ErrForged},
		"a change of keys that is not shown": {func(t *testing.T, b *book) []Statement {
			s := b.sign(Content{DropKey: &KeyChange{Key: keyOf(2).Public()}})
			return []Statement{{s.Record, nil}}
		}, ErrForged},
		"another log, from the next entry on": {func(t *testing.T, b *book) []Statement {
			return other(t).all[3:]
		}, ErrSplit},
		"another log, with the last entry": {func(t *testing.T, b *book) []Statement {
			return other(t).all[2:3]
		}, ErrSplit},
		"a last entry that nobody signed": {func(t *testing.T, b *book) []Statement {
			s := other(t).all[2]
			s.Record[recordSize-1] ^= 1
			return []Statement{s}
		}, ErrForged},
		"a gap": {func(t *testing.T, b *book) []Statement {
			b.publish(3)
			b.publish(4)
			return b.all[4:]
		}, syncer.ErrMalformed},
		"a short record": {func(t *testing.T, b *book) []Statement {
			return []Statement{{Record: []byte{1}}}
		}, syncer.ErrMalformed},
		"fields that nobody knows": {func(t *testing.T, b *book) []Statement {
			return []Statement{b.raw(t, `{"time":"2026-11-25T08:00:00Z","publish":{"only_on":"sundays"}}`)}
		}, syncer.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook(t)
			b.publish(1)
			b.publish(2)
			reader := b.log.Clone()
			if _, err := reader.Extend(test.lie(t, b)); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if !reflect.DeepEqual(reader, &Log{Seq: 3, Head: reader.Head, Genesis: reader.Genesis, Keys: reader.Keys, Published: reader.Published}) ||
				len(reader.Published[layerA]) != 2 {
				t.Errorf("the reader changed: %+v", reader)
			}
		})
	}
}

// raw signs contents as they are.
func (b *book) raw(t *testing.T, content string) Statement {
	e := Entry{Seq: b.log.Seq + 1, Prev: b.log.Head, Subject: layerA, Key: b.key.Public()}
	e.Content = hashOf([]byte(content))
	copy(e.Sig[:], ed25519.Sign(b.key.private, e.message()))
	return Statement{e.Marshal(), []byte(content)}
}

func TestReplayed(t *testing.T) {
	b := newBook(t)
	b.publish(1)
	b.publish(2)
	if err := b.log.Reached(2); !errors.Is(err, ErrReplayed) {
		t.Errorf("a shorter log: %v", err)
	}
	must(t, b.log.Reached(3))
	anew := b.log.Anew()
	_, err := anew.Extend(b.all[:2])
	must(t, err)
	if err := anew.Reached(2); !errors.Is(err, ErrReplayed) {
		t.Errorf("read anew, a shorter log: %v", err)
	}
	split := newBook(t)
	split.publish(1)
	split.publish(7)
	if _, err := b.log.Anew().Extend(split.all); !errors.Is(err, ErrSplit) {
		t.Errorf("read anew, another log: %v", err)
	}
	foreign := &book{t: t, key: keyOf(5)}
	foreign.say(Content{AddKey: &KeyChange{Key: foreign.key.Public()}})
	if _, err := (&Log{Genesis: b.log.Genesis}).Extend(foreign.all); !errors.Is(err, ErrForged) {
		t.Errorf("another publisher's log: %v", err)
	}
}

// TestNoEffect is entries that are well signed and say what nobody may follow.
func TestNoEffect(t *testing.T) {
	b := newBook(t)
	b.publish(3)
	b.say(Content{Withdraw: &Withdraw{Layer: layerA, Version: version(4), Reason: "broken"}})
	for _, test := range []struct {
		c    Content
		want error
	}{
		{publish(2), ErrDowngrade},
		{publish(4), ErrWithdrawn},
		{publish(4, func(p *Publish) { p.Back = true }), ErrWithdrawn},
		{Content{DropKey: &KeyChange{Key: b.key.Public()}}, nil},
	} {
		s := b.sign(test.c)
		refused, err := b.log.Extend([]Statement{s})
		must(t, err)
		if len(refused) != 1 || test.want != nil && !errors.Is(refused[0], test.want) {
			t.Errorf("%+v: refused %v, want %v", test.c, refused, test.want)
		}
		if p, _ := b.log.Channel(layerA, Stable); p.Version != version(3) || len(b.log.Keys) != 1 {
			t.Errorf("%+v had an effect", test.c)
		}
	}
	if p := b.publish(2, func(p *Publish) { p.Back = true }); p.Version != version(2) {
		t.Error("a way back was not taken")
	}
}

func TestHidden(t *testing.T) {
	b := newBook(t)
	b.publish(1)
	b.say(Content{Assign: assignment()})
	reader := &Log{}
	for _, s := range b.all[1:] {
		s.Content = nil
	}
	_, err := reader.Extend([]Statement{b.all[0], {Record: b.all[1].Record}, {Record: b.all[2].Record}})
	must(t, err)
	if reader.Head != b.log.Head || reader.Hidden[layerA] != 1 || reader.Hidden[AssignmentSubject(assignmentID)] != 1 || len(reader.Published) > 0 {
		t.Errorf("%+v", reader)
	}
}

func TestTarget(t *testing.T) {
	b := newBook(t)
	b.publish(1)
	waved := b.publish(2, func(p *Publish) { p.Waves = []int{50, 100} })
	b.say(publish(3, func(p *Publish) { p.Channel = "canary" }))
	first, second := "", "" // devices of the first and of the second wave
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		if waved.In(name, 50) {
			first = name
		} else {
			second = name
		}
	}
	rollout := func(open int, stopped string) []syncer.Rollout {
		return []syncer.Rollout{{Seq: waved.Seq, Open: open, Stopped: stopped}}
	}
	stable := Source{Layer: layerA, Channel: Stable}
	for name, test := range map[string]struct {
		source Source
		reader Reader
		want   byte // 0: none
		err    error
	}{
		"no wave is open":              {stable, Reader{Device: first}, 1, nil},
		"in the wave":                  {stable, Reader{Device: first, Rollouts: rollout(50, "")}, 2, nil},
		"not in the wave":              {stable, Reader{Device: second, Rollouts: rollout(50, "")}, 1, nil},
		"the last wave":                {stable, Reader{Device: second, Rollouts: rollout(100, "")}, 2, nil},
		"stopped":                      {stable, Reader{Device: first, Rollouts: rollout(100, "1 of 2 failed")}, 1, nil},
		"stopped, and has it":          {stable, Reader{Device: first, Have: version(2), Rollouts: rollout(100, "1 of 2 failed")}, 2, nil},
		"another channel":              {Source{Layer: layerA, Channel: "canary"}, Reader{}, 3, nil},
		"a channel that is not there":  {Source{Layer: layerA, Channel: "beta"}, Reader{}, 0, ErrUnpublished},
		"a layer that is not there":    {Source{Layer: layerB, Channel: Stable}, Reader{}, 0, ErrUnpublished},
		"just that version":            {Source{Layer: layerA, Version: version(1)}, Reader{}, 1, nil},
		"a version that is not there":  {Source{Layer: layerA, Version: version(9)}, Reader{}, 0, ErrUnpublished},
		"a version of a wave, by name": {Source{Layer: layerA, Version: version(2)}, Reader{}, 2, nil},
	} {
		got, err := b.log.Target(test.source, test.reader)
		if !errors.Is(err, test.err) || test.want != 0 && got.Version != version(test.want) {
			t.Errorf("%s: %s, %v; want %d, %v", name, got.Version.Short(), err, test.want, test.err)
		}
	}
	for n := range byte(3) {
		b.say(Content{Withdraw: &Withdraw{Layer: layerA, Version: version(n + 1)}})
	}
	for _, s := range []Source{stable, {Layer: layerA, Version: version(1)}} {
		if _, err := b.log.Target(s, Reader{Have: version(2)}); !errors.Is(err, ErrWithdrawn) {
			t.Errorf("all withdrawn: %v", err)
		}
	}
}

// TestShares checks that waves take in about as many devices as they say, and
// that a wave holds the one before it.
func TestShares(t *testing.T) {
	b := newBook(t)
	one := b.publish(1)
	two := b.publish(2)
	in := map[int]int{}
	both := 0
	const devices = 4000
	for i := range devices {
		name := "device-" + string(rune('a'+i%26)) + hex.EncodeToString([]byte{byte(i >> 8), byte(i)})
		for _, percent := range []int{0, 10, 50, 100} {
			if one.In(name, percent) {
				in[percent]++
			} else if percent > 10 && one.In(name, 10) {
				t.Errorf("%s is in the wave of 10 %% and not in that of %d", name, percent)
			}
		}
		if one.In(name, 10) && two.In(name, 10) {
			both++
		}
	}
	if in[0] != 0 || in[100] != devices || in[10] < devices/13 || in[10] > devices/8 || in[50] < devices*2/5 {
		t.Errorf("%v of %d", in, devices)
	}
	if both > in[10]/3 {
		t.Errorf("%d of %d devices go first both times", both, in[10])
	}
}

func TestStart(t *testing.T) {
	a, p := Assigned{Assignment: *assignment()}, Published{Entry: Hash{1}, Time: day}
	if got := a.Start(&p, "x"); got != day {
		t.Errorf("no time to land: %v", got)
	}
	a.LandBy = day.Add(4 * time.Hour)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringN(1, 10, 10).Draw(t, "device")
		if got := a.Start(&p, name); got.Before(day) || got.After(day.Add(2*time.Hour)) {
			t.Fatalf("%v", got)
		}
	})
	if a.Start(&p, "x").Equal(a.Start(&p, "y")) {
		t.Error("all at once")
	}
	a.Time = day.Add(3 * time.Hour)
	if got := a.Start(&p, "x"); got.Before(a.Time) || got.After(a.Time.Add(time.Hour/2)) {
		t.Errorf("assigned after it was published: %v", got)
	}
	if p.Time = day.Add(5 * time.Hour); !a.Start(&p, "x").Equal(p.Time) {
		t.Error("published when it should have been there")
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]Content{
		"nothing":          {},
		"two things":       {Publish: publish(1).Publish, Withdraw: &Withdraw{Layer: layerA, Version: version(1)}},
		"no layer":         publish(1, func(p *Publish) { p.Layer = store.LayerID{} }),
		"no version":       publish(1, func(p *Publish) { p.Version = store.ID{} }),
		"no number":        publish(0, func(p *Publish) { p.Version = version(1) }),
		"channel":          publish(1, func(p *Publish) { p.Channel = "Stable" }),
		"waves fall":       publish(1, func(p *Publish) { p.Waves = []int{50, 20, 100} }),
		"waves end early":  publish(1, func(p *Publish) { p.Waves = []int{50} }),
		"waves over":       publish(1, func(p *Publish) { p.Waves = []int{50, 101} }),
		"stop":             publish(1, func(p *Publish) { p.StopAt = 101 }),
		"wait":             publish(1, func(p *Publish) { p.WaveWait = -1 }),
		"reason":           {Withdraw: &Withdraw{Layer: layerA, Version: version(1), Reason: strings.Repeat("x", maxReason+1)}},
		"key":              {AddKey: &KeyChange{}},
		"assignment ID":    assigned(func(a *Assignment) { a.ID = "x" }),
		"workspace":        assigned(func(a *Assignment) { a.Workspace = "a/b" }),
		"principal":        assigned(func(a *Assignment) { a.To = "7b" }),
		"channel, version": assigned(func(a *Assignment) { a.OS.Version = version(1) }),
		"no channel":       assigned(func(a *Assignment) { a.OS.Channel = "" }),
		"layer twice":      assigned(func(a *Assignment) { a.Groups = []Source{a.OS} }),
		"switch":           assigned(func(a *Assignment) { a.Switch = "tomorrow" }),
		"unassign":         {Unassign: &Unassign{}},
	} {
		c.Time = day
		if err := c.Check(); !errors.Is(err, syncer.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range []Content{publish(1), assigned(func(a *Assignment) { a.Switch = "2027-01-31T18:00:00Z" }), assigned(func(a *Assignment) { a.Switch = Now })} {
		c.Time = day
		must(t, c.Check())
	}
	if err := (&Content{AddKey: &KeyChange{Key: Key{1}}}).Check(); err == nil {
		t.Error("no time: taken")
	}
}

func assigned(change func(*Assignment)) Content {
	a := assignment()
	change(a)
	return Content{Assign: a}
}

func TestKeyFile(t *testing.T) {
	key, err := NewKey()
	must(t, err)
	text, err := key.MarshalPEM()
	must(t, err)
	again, err := ParseKey(text)
	must(t, err)
	if again.Public() != key.Public() {
		t.Error("another key")
	}
	for _, bad := range []string{"", "x", string(text) + "x", strings.Replace(string(text), "PRIVATE", "PUBLIC", 2)} {
		if _, err := ParseKey([]byte(bad)); err == nil || strings.Contains(err.Error(), "MC4CAQ") {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

// TestGolden keeps the bytes that are specified.
func TestGolden(t *testing.T) {
	b := newBook(t)
	b.publish(2, func(p *Publish) { p.Waves = []int{5, 25, 100}; p.StopAt = 10; p.WaveWait = 3600 })
	b.say(Content{Withdraw: &Withdraw{Layer: layerA, Version: version(1), Reason: "it forgets files"}})
	b.say(assigned(func(a *Assignment) { a.Options.Memory = 1 << 30; a.Switch = Now; a.LandBy = day.Add(time.Hour) }))
	var out bytes.Buffer
	for _, s := range b.all {
		out.WriteString(hex.EncodeToString(s.Record) + "\n" + string(s.Content) + "\n")
	}
	const file = "testdata/golden.txt"
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(file, out.Bytes(), 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("got\n%s", out.Bytes())
	}
	lines := strings.Split(strings.TrimSpace(string(want)), "\n")
	reader := &Log{}
	for i := 0; i < len(lines); i += 2 {
		record, err := hex.DecodeString(lines[i])
		must(t, err)
		must(t, reader.Append(Statement{record, []byte(lines[i+1])}))
	}
	if !reflect.DeepEqual(reader, &b.log) {
		t.Errorf("%+v, want %+v", reader, b.log)
	}
}

// FuzzExtend gives readers what a server may make up.
func FuzzExtend(f *testing.F) {
	b := newBook(f)
	b.publish(1)
	b.say(Content{Assign: assignment()})
	for _, s := range b.all {
		f.Add(s.Record, s.Content)
	}
	next := b.sign(publish(2))
	f.Add(next.Record, next.Content)
	f.Fuzz(func(t *testing.T, record, content []byte) {
		l := b.log.Clone()
		_, err := l.Extend([]Statement{{record, content}})
		if err != nil && l.Seq != b.log.Seq {
			t.Error("an entry was taken in and refused")
		}
		if err == nil && l.Seq != b.log.Seq && !bytes.Equal(record, next.Record) {
			t.Error("an entry that nobody signed was taken in")
		}
		if c, err := parse(content); err == nil {
			again, err := c.marshal()
			must(t, err)
			if d, err := parse(again); err != nil || !reflect.DeepEqual(c, d) {
				t.Errorf("%+v became %+v (%v)", c, d, err)
			}
		}
	})
}

func TestAdvance(t *testing.T) {
	b := newBook(t)
	p := b.publish(1, func(p *Publish) { p.Waves = []int{10, 50, 100}; p.StopAt = 20; p.WaveWait = 3600 })
	var first, second, last []string // the devices that each wave adds
	for i := range 40 {
		name := "d" + string(rune('A'+i))
		switch {
		case p.In(name, 10):
			first = append(first, name)
		case p.In(name, 50):
			second = append(second, name)
		default:
			last = append(last, name)
		}
	}
	if len(first) < 2 || len(second) < 5 || len(last) < 5 {
		t.Fatal(first, second, last)
	}
	of := func(v Verdict, names ...string) map[string]Verdict {
		devices := map[string]Verdict{}
		for _, name := range slices.Concat(first, second, last) {
			devices[name] = Unheard
		}
		for _, name := range names {
			devices[name] = v
		}
		return devices
	}
	mixed := of(Healthy, slices.Concat(first, second)...)
	mixed[second[0]] = Failed
	for name, test := range map[string]struct {
		open    int
		after   time.Duration
		devices map[string]Verdict
		want    int
		stopped bool
	}{
		"nothing heard":                   {10, 0, of(Unheard), 10, false},
		"all but one are healthy":         {10, 0, of(Healthy, first[1:]...), 10, false},
		"all are healthy":                 {10, 0, of(Healthy, first...), 50, false},
		"only later ones are healthy":     {10, 0, of(Healthy, second...), 10, false},
		"long enough":                     {10, time.Hour, of(Unheard), 50, false},
		"one failed, too large a share":   {10, 0, of(Failed, first[0]), 10, true},
		"one failed, long enough":         {10, time.Hour, of(Failed, first[0]), 10, true},
		"one failed of many, others well": {50, 0, mixed, 50, false},
		"one failed of many, long enough": {50, time.Hour, mixed, 100, false},
		"many failed":                     {50, 0, of(Failed, second...), 50, true},
		"failures outside of the wave":    {10, 0, of(Failed, last...), 10, false},
		"the last wave":                   {100, 0, of(Healthy, slices.Concat(first, second, last)...), 100, false},
		"the last wave fails":             {100, 0, of(Failed, last...), 100, true},
		"no devices at all":               {10, 0, nil, 100, false},
	} {
		got := p.Advance(syncer.Rollout{Seq: p.Seq, Open: test.open, Opened: day}, test.devices, day.Add(test.after))
		if got.Open != test.want || (got.Stopped != "") != test.stopped {
			t.Errorf("%s: %+v", name, got)
		}
		again := p.Advance(got, of(Healthy, slices.Concat(first, second, last)...), day.Add(100*time.Hour))
		if test.stopped && again != got {
			t.Errorf("%s: went on after it was stopped: %+v", name, again)
		}
	}
}

func TestFollows(t *testing.T) {
	b := newBook(t)
	assign := func(id, channel string) {
		b.say(assigned(func(a *Assignment) { a.ID, a.OS.Channel = strings.Repeat(id, 16), channel }))
	}
	assign("01", "canary")
	assign("02", "beta")
	one, two := strings.Repeat("01", 16), strings.Repeat("02", 16)
	for _, test := range []struct {
		mine []string
		want string
	}{
		{nil, Stable},
		{[]string{"unknown"}, Stable},
		{[]string{one}, "canary"},
		{[]string{two, one}, "beta"},
		{[]string{one, two}, "beta"},
	} {
		if got := b.log.Follows(layerA, test.mine); got.Channel != test.want {
			t.Errorf("%v: %+v", test.mine, got)
		}
	}
	if got := b.log.Follows(layerB, []string{one}); got.Channel != Stable || got.Layer != layerB {
		t.Errorf("%+v", got)
	}
}
