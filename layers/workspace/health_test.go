package workspace

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/store"
)

// pins reads "os:1 g2:3 personal:1": layers by name, versions by number. Names
// that begin with os or g are of kinds os and group.
func pins(s string) (out []Pin) {
	for _, word := range strings.Fields(s) {
		name, n, _ := strings.Cut(word, ":")
		kind := layers.Kind(name)
		switch {
		case strings.HasPrefix(name, "os"):
			kind = layers.OS
		case strings.HasPrefix(name, "g"):
			kind = layers.Group
		}
		p := Pin{Kind: kind, Name: name}
		copy(p.Layer[:], name)
		if n != "0" {
			copy(p.Version[:], n)
		}
		out = append(out, p)
	}
	return out
}

func spell(ps []Pin) string {
	var words []string
	for _, p := range ps {
		n := strings.TrimRight(string(p.Version[:]), "\x00")
		if n == "" {
			n = "0"
		}
		words = append(words, p.Name+":"+n)
	}
	return strings.Join(words, " ")
}

func failures(s string) (out []Failure) {
	for _, p := range pins(s) {
		out = append(out, Failure{Pin: p})
	}
	return out
}

func TestChoose(t *testing.T) {
	const own = " personal:7 system:7 local:7 data:7"
	tests := []struct{ name, heads, good, failed, want string }{
		{"first start", "os:1 g1:1", "", "", "os:1 g1:1"},
		{"failed, and no way back", "os:1", "", "os:1", "os:1"},
		{"all good", "os:1 g1:1", "os:1 g1:1", "", "os:1 g1:1"},
		{"upgrade", "os:2 g1:1", "os:1 g1:1", "", "os:2 g1:1"},
		{"os failed", "os:2 g1:1", "os:1 g1:1", "os:2", "os:1 g1:1"},
		{"another version failed", "os:3 g1:1", "os:1 g1:1", "os:2", "os:3 g1:1"},
		{"group failed", "os:1 g1:2 g2:1", "os:1 g1:1 g2:1", "g1:2", "os:1 g1:1 g2:1"},
		{"both failed, os has yet another", "os:3 g1:2", "os:1 g1:1", "os:2 g1:2", "os:3 g1:1"},
		{"other os layer", "os2:1", "os:1", "", "os2:1"},
		{"other os layer failed", "os2:1 g1:1", "os:1 g1:1", "os2:1", "os:1 g1:1"},
		{"new group failed", "os:1 g1:1 g2:1", "os:1 g1:1", "g2:1", "os:1 g1:1"},
		{"leaving a group out", "os:1 g2:1", "os:1 g1:1 g2:1", "", "os:1 g2:1"},
		{"leaving the lowest group out failed", "os:1 g2:1", "os:1 g1:1 g2:1", "g1:0", "os:1 g1:1 g2:1"},
		{"leaving the topmost group out failed", "os:1 g1:1", "os:1 g1:1 g2:1", "g2:0", "os:1 g1:1 g2:1"},
		{"failed once, good since", "os:2", "os:2", "os:2", "os:2"},
		{"failed, other order", "os:1 g2:2 g1:1", "os:1 g1:1 g2:1", "g2:2", "os:1 g2:1 g1:1"},
		{"mark of a layer that is not here", "os:1", "os:1", "g9:1", "os:1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := Health{Good: pins(tt.good), Failed: failures(tt.failed)}
			if got := spell(h.Choose(pins(tt.heads + own))); got != tt.want+own {
				t.Errorf("heads %s, good %s, failed %s: chose %s, want %s", tt.heads, tt.good, tt.failed, got, tt.want+own)
			}
		})
	}
}

// Whatever fails, the way back is found: after as many failures as there are
// things to change, and without a loop.
func TestTrialsEnd(t *testing.T) {
	stack := rapid.Custom(func(t *rapid.T) string {
		words := []string{rapid.SampledFrom([]string{"os", "os2"}).Draw(t, "os") + fmt.Sprint(":", rapid.IntRange(1, 3).Draw(t, "version"))}
		for _, g := range rapid.SliceOfDistinct(rapid.IntRange(1, 4), rapid.ID[int]).Draw(t, "groups") {
			words = append(words, fmt.Sprintf("g%d:%d", g, rapid.IntRange(1, 3).Draw(t, "version")))
		}
		return strings.Join(words, " ")
	})
	rapid.Check(t, func(t *rapid.T) {
		good, heads := pins(stack.Draw(t, "good")), pins(stack.Draw(t, "heads"))
		h := Health{Good: good, Failed: failures(stack.Draw(t, "failed before"))}
		own := pins("personal:1 data:1")
		now := time.Now()
		for range len(good) + len(heads) + 1 {
			chosen := h.Choose(slices.Concat(heads, own))
			if chosen[0].Kind != layers.OS || !cmp.Equal(chosen[len(chosen)-2:], own) {
				t.Fatalf("chose %s", spell(chosen))
			}
			if !h.Begin(chosen, own, now) {
				if !sameVersions(good, Public(chosen)) {
					t.Fatalf("%s is taken for good, which is %s", spell(chosen), spell(good))
				}
				return
			}
			h.Trial.Reason = "no"
			if len(h.Fail(now)) == 0 {
				t.Fatalf("nothing is marked of %s, with %s good", spell(chosen), spell(good))
			}
		}
		t.Fatalf("heads %s never lead back to %s: failed %v", spell(heads), spell(good), h.Failed)
	})
}

func TestTrialThatPasses(t *testing.T) {
	h, now := Health{}, time.Now()
	one, two, own := pins("os:1 g1:1 personal:1"), pins("os:2 g1:1 personal:2"), pins("personal:1")
	if !h.Begin(one, own, now) || h.Trial.Starts != 1 || spell(h.Trial.Versions) != "os:1 g1:1" {
		t.Fatalf("first start: %+v", h.Trial)
	}
	h.Pass(now)
	if spell(h.Good) != "os:1 g1:1" || h.Trial != nil || h.Begin(one, own, now) {
		t.Fatalf("after the first start: %+v", h)
	}
	h.Failed = failures("os:2 os:3")
	h.Begin(two, own, now)
	h.Pass(now)
	if spell(h.Good) != "os:2 g1:1" || len(h.Failed) != 1 || spell([]Pin{h.Failed[0].Pin}) != "os:3" {
		t.Errorf("after an upgrade: %+v", h)
	}
}

// Two starts may end without a verdict; the third has failed. What was there
// before the first is what the trial goes back to.
func TestTrialWithoutVerdict(t *testing.T) {
	h, now := Health{Good: pins("os:1")}, time.Now()
	two := pins("os:2")
	for start := 1; start <= Tries; start++ {
		if h.Exhausted(two) {
			t.Fatalf("start %d counts as failed", start)
		}
		for range 5 { // starts that fail, or are stopped, do not count
			h.Begin(two, pins("personal:1"), now)
			h.NoVerdict()
		}
		h.Begin(two, pins(fmt.Sprint("personal:", start)), now)
		if h.Trial.Starts != start || spell(h.Trial.Before) != "personal:1" {
			t.Fatalf("start %d: %+v", start, h.Trial)
		}
	}
	if !h.Exhausted(two) || h.Exhausted(pins("os:3")) {
		t.Error("the third start does not count as failed, or one of other versions does")
	}
	h.Begin(pins("os:3"), pins("personal:9"), now)
	if h.Trial.Starts != 1 || spell(h.Trial.Before) != "personal:1" {
		t.Errorf("yet another version: %+v", h.Trial)
	}
	if h.Begin(pins("os:1"), pins("personal:9"), now) || h.Trial != nil {
		t.Errorf("back at what is good: %+v", h.Trial)
	}
}

func TestFailAndRetry(t *testing.T) {
	h := Health{Good: pins("os:1 g1:1 g3:1"), Last: &Start{OS: pins("os:2")[0]}}
	heads := pins("os:2 g1:1 g2:1")
	for range 2 { // the second takes the place of the first
		h.Begin(heads, nil, time.Now())
		h.Trial.Reason = "no"
		h.Fail(time.Now())
	}
	if got := spell([]Pin{h.Failed[0].Pin, h.Failed[1].Pin, h.Failed[2].Pin}); got != "os:2 g2:1 g3:0" || len(h.Failed) != 3 {
		t.Errorf("marked %s of %d", got, len(h.Failed))
	}
	if h.Last.OS.Version != h.Good[0].Version {
		t.Error("the way back counts as an upgrade")
	}
	h.Failed = append(h.Failed, failures("os:9")...)
	h.Retry(heads)
	if len(h.Failed) != 1 || h.Failed[0].Name != "os" {
		t.Errorf("still marked: %+v", h.Failed)
	}
	for i := range 3 * maxFailures {
		h.Begin(pins(fmt.Sprint("os:", i)), nil, time.Now())
		h.Fail(time.Now())
	}
	if len(h.Failed) != maxFailures || h.check() != nil {
		t.Errorf("%d failures are kept: %v", len(h.Failed), h.check())
	}
}

func TestReasonIsBounded(t *testing.T) {
	for _, s := range []string{"", " short\n", strings.Repeat("é", maxReason), "\xff\xfe", "\x1b[2Jgone\r", strings.Repeat("\xff", 2*maxReason)} {
		if got := Reason(s); len(got) > maxReason || strings.ToValidUTF8(got, "") != got || strings.ContainsAny(got, "\x1b\r") {
			t.Errorf("%.10q became %d bytes", s, len(got))
		}
	}
}

func TestDue(t *testing.T) {
	zone := time.FixedZone("", 2*60*60)
	at := func(day, hour int) time.Time { return time.Date(2026, 1, day, hour, 0, 0, 0, zone) }
	last := func(t time.Time, os string) *Start { return &Start{Time: t.UTC(), OS: pins(os)[0]} }
	rules := map[layers.Kind]ResetRule{layers.Personal: EveryStart, layers.System: OnUpgrade, layers.Local: Daily, layers.OS: EveryStart, layers.Data: Never}
	tests := []struct {
		name string
		last *Start
		want string
	}{
		{"first start", nil, "[personal local]"},
		{"same day", last(at(2, 1), "os:1"), "[personal]"}, // another day in UTC
		{"day before", last(at(1, 23), "os:1"), "[personal local]"},
		{"upgrade", last(at(2, 9), "os:2"), "[personal system]"},
		{"other os", last(at(2, 9), "os2:1"), "[personal system]"},
	}
	for _, tt := range tests {
		o := Options{Reset: rules}
		if got := fmt.Sprint(o.Due(tt.last, pins("os:1")[0], at(2, 12))); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	if due := (&Options{}).Due(nil, pins("os:1")[0], at(1, 1)); len(due) > 0 {
		t.Errorf("without rules: %v", due)
	}
}

func TestOptionsRefused(t *testing.T) {
	reset := func(kind layers.Kind, rule ResetRule) Options {
		return Options{Reset: map[layers.Kind]ResetRule{kind: rule}}
	}
	tests := []struct {
		name string
		o    Options
		want string // "": it is accepted
	}{
		{"data never", reset(layers.Data, Never), ""},
		{"os at every start", reset(layers.OS, EveryStart), ""},
		{"local daily", reset(layers.Local, Daily), ""},
		{"data at every start", reset(layers.Data, EveryStart), "never loses"},
		{"data on upgrade", reset(layers.Data, OnUpgrade), "never loses"},
		{"os daily", reset(layers.OS, Daily), "no guest ever writes"},
		{"no such kind", reset("root", Never), "root"},
		{"no such rule", reset(layers.System, "weekly"), "want never"},
		{"time", Options{Health: Mark{Within: -1}}, "24 hours"},
		{"long time", Options{Health: Mark{Runs: maxWithin + 1}}, "24 hours"},
		{"long check", Options{Health: Mark{Check: strings.Repeat("x", maxCheck+1)}}, "longer"},
		{"check without agent", Options{Health: Mark{Check: "x", Runs: 1}}, "agent"},
	}
	for _, tt := range tests {
		d := definition("ana")
		d.Options = tt.o
		err := d.Check()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one that says %q", tt.name, err, tt.want)
		}
	}
}

func health() Health {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	os := Pin{layers.OS, store.LayerID{1}, "debian-12", store.ID{0xA}}
	next := os
	next.Version = store.ID{0xB}
	worse := os
	worse.Version = store.ID{0xC}
	return Health{
		Good: []Pin{os}, Since: at,
		Trial: &Trial{
			Versions: []Pin{next}, Began: at, Starts: 2, Reason: "exit status 3",
			Before: []Pin{{layers.Personal, store.LayerID{4}, "ana/personal", store.ID{0xD}}, {layers.System, store.LayerID{5}, "ana/system", store.ID{}}},
		},
		Failed: []Failure{{worse, at, "the guest ended before it was ready", true}},
		Last:   &Start{at, next},
	}
}

func TestHealthRecord(t *testing.T) {
	s := created(t, "ana", "ben")
	if got, err := s.LoadHealth("ana"); err != nil || !cmp.Equal(got, Health{}) {
		t.Errorf("before the first start: %+v, %v", got, err)
	}
	must(t, s.UpdateHealth("ana", func(h *Health) error { *h = health(); return nil }))
	got, err := s.LoadHealth("ana")
	must(t, err)
	if diff := cmp.Diff(health(), got); diff != "" {
		t.Error(diff)
	}
	golden, err := os.ReadFile(filepath.Join("testdata", "health.json"))
	must(t, err)
	written, err := os.ReadFile(filepath.Join(s.Dir("ana"), healthFile))
	must(t, err)
	if diff := cmp.Diff(string(golden), string(written)); diff != "" {
		t.Error(diff)
	}
	kept, err := s.Kept()
	must(t, err)
	if want := []store.ID{{0xA}, {0xB}, {0xD}}; !slices.Equal(kept, want) {
		t.Errorf("kept %v, want %v", kept, want)
	}
	for layer, want := range map[byte]string{1: "[ana]", 5: "[ana]", 9: "[]"} {
		if names, err := s.KeptFor(store.LayerID{layer}); err != nil || fmt.Sprint(names) != want {
			t.Errorf("layer %d is kept for %v, %v: want %s", layer, names, err, want)
		}
	}
}

func TestHealthRecordRefused(t *testing.T) {
	s := created(t, "ana")
	must(t, s.UpdateHealth("ana", func(h *Health) error { *h = health(); return nil }))
	for name, spoil := range map[string]func(*Health){
		"kind":     func(h *Health) { h.Good[0].Kind = layers.Data },
		"own":      func(h *Health) { h.Trial.Before[0].Kind = layers.OS },
		"many":     func(h *Health) { h.Good = make([]Pin, maxPublic+1) },
		"failures": func(h *Health) { h.Failed = make([]Failure, maxFailures+1) },
		"reason":   func(h *Health) { h.Failed[0].Reason = strings.Repeat("x", maxReason+1) },
		"starts":   func(h *Health) { h.Trial.Starts = -1 },
	} {
		if err := s.UpdateHealth("ana", func(h *Health) error { spoil(h); return nil }); err == nil {
			t.Errorf("%s: written", name)
		}
	}
	if got, err := s.LoadHealth("ana"); err != nil || !cmp.Equal(got, health()) {
		t.Errorf("after all refusals: %+v, %v", got, err)
	}
	if err := s.UpdateHealth("ben", func(*Health) error { return nil }); err == nil {
		t.Error("a record was written for no workspace")
	}
}

func TestVerdicts(t *testing.T) {
	s := created(t, "ana")
	must(t, s.UpdateHealth("ana", func(h *Health) error { *h = health(); h.Failed[0].Told = false; return nil }))
	all, err := s.Verdicts("ana")
	must(t, err)
	var outcomes []Outcome
	for _, v := range all {
		outcomes = append(outcomes, v.Outcome)
	}
	if want := []Outcome{Good, OnTrial, Failed}; !slices.Equal(outcomes, want) || all[2].Reason == "" || all[2].Workspace != "ana" || all[2].Told {
		t.Fatalf("verdicts %+v", all)
	}
	again := all[2]
	again.Time = again.Time.Add(time.Second)
	must(t, s.MarkTold("ana", []Verdict{all[0], again}))
	if now, err := s.Verdicts("ana"); err != nil || now[2].Told {
		t.Errorf("another failure was told, and this one counts as told: %v", err)
	}
	must(t, s.MarkTold("ana", all))
	if now, err := s.Verdicts("ana"); err != nil || !now[2].Told {
		t.Errorf("it was told: %v", err)
	}
}
