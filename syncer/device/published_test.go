package device

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/publication"
)

// A press is a world with a publisher who has a key, and an os layer of which
// the first version is published.
type press struct {
	*world
	pub *home
}

func newPress(t *testing.T) *press {
	w := newWorld(t)
	p := &press{w, w.enrolled("pub", "press")}
	p.pub.layer("debian-12", layers.OS, map[string]string{"etc/os": "one"})
	p.send()
	w.do("PUT", "layers/debian-12/grants/all", syncer.Grant{To: "all", Access: syncer.Read}, nil)
	key, err := p.pub.dev.Signer()
	must(t, err)
	p.say(publication.Content{AddKey: &publication.KeyChange{Key: key, Name: "press"}})
	p.release(Release{})
	return p
}

func (p *press) send() {
	p.t.Helper()
	_, err := p.pub.dev.Publish(p.t.Context(), "debian-12")
	must(p.t, err)
}

func (p *press) say(c publication.Content) {
	p.t.Helper()
	_, err := p.pub.dev.Say(p.t.Context(), c)
	must(p.t, err)
}

func (p *press) release(r Release) publication.Publish {
	p.t.Helper()
	if r.Channel == "" {
		r.Channel = publication.Stable
	}
	r.Layer = "debian-12"
	got, err := p.pub.dev.Release(p.t.Context(), r)
	must(p.t, err)
	return got
}

// version makes a version of the os layer and sends it, without a release.
func (p *press) version(content string) store.ID {
	p.t.Helper()
	id := p.pub.commit("debian-12", layers.OS, map[string]string{"etc/os": content})
	p.send()
	return id
}

func (p *press) layer() store.LayerID { return p.pub.head("debian-12").Layer }

// pupil returns a home with a workspace over the os layer, in sync.
func (p *press) pupil(user, name string) *home {
	p.t.Helper()
	h := p.enrolled(user, name)
	p.do("POST", "workspaces", syncer.Workspace{Name: "desk", Owner: user, OS: p.layer()}, nil)
	h.sync()
	return h
}

func wantOS(t *testing.T, h *home, want string) {
	t.Helper()
	wantFiles(t, h, "debian-12", map[string]string{"etc/os": want})
}

func TestChannels(t *testing.T) {
	p := newPress(t)
	ana := p.pupil("ana", "laptop")
	wantOS(t, ana, "one")
	second := p.version("two")
	ana.sync()
	wantOS(t, ana, "one") // it was sent, and not published
	p.release(Release{Channel: "canary"})
	ana.sync()
	wantOS(t, ana, "one")
	p.release(Release{})
	ana.sync()
	wantOS(t, ana, "two")

	first := p.pub.head("debian-12").Version
	for e, err := range p.pub.repo.Log(t.Context(), p.pub.head("debian-12")) {
		must(t, err)
		first = e.ID
	}
	if _, err := p.pub.dev.Release(t.Context(), Release{Layer: "debian-12", Version: first.String(), Channel: publication.Stable}); !errors.Is(err, publication.ErrDowngrade) {
		t.Errorf("an older version without a word: %v", err)
	}
	p.release(Release{Version: first.String(), Back: true})
	wantNote(t, ana.sync(), "went back")
	wantOS(t, ana, "one")
	ana.sound()
	p.release(Release{})
	ana.sync()
	wantOS(t, ana, "two")

	p.say(publication.Content{Withdraw: &publication.Withdraw{Layer: p.layer(), Version: second, Reason: "it eats files"}})
	ana.sync()
	wantOS(t, ana, "one")
	if _, err := p.pub.dev.Release(t.Context(), Release{Layer: "debian-12", Channel: publication.Stable}); !errors.Is(err, publication.ErrWithdrawn) {
		t.Errorf("a version that was withdrawn: %v", err)
	}
	ben := p.newcomer("ben")
	wantOS(t, ben, "one") // the newest that counts, not the newest that there is
}

// newcomer is a pupil whose user is new.
func (p *press) newcomer(user string) *home {
	p.t.Helper()
	p.do("POST", "users", syncer.User{Name: user}, nil)
	return p.pupil(user, user+"-laptop")
}

// TestFirstKey has publishing begin where devices have followed heads.
func TestFirstKey(t *testing.T) {
	w := newWorld(t)
	p := &press{w, w.enrolled("pub", "press")}
	p.pub.layer("debian-12", layers.OS, map[string]string{"etc/os": "one"})
	p.send()
	w.do("PUT", "layers/debian-12/grants/all", syncer.Grant{To: "all", Access: syncer.Read}, nil)
	ana := p.pupil("ana", "laptop")
	p.version("two")
	ana.sync()
	wantOS(t, ana, "two")
	if _, err := p.pub.dev.Say(t.Context(), publication.Content{}); !errors.Is(err, ErrNoSigner) {
		t.Errorf("no key: %v", err)
	}
	key, err := p.pub.dev.Signer()
	must(t, err)
	p.say(publication.Content{AddKey: &publication.KeyChange{Key: key}})
	p.version("three")
	wantNote(t, ana.sync(), "no publisher has published")
	wantOS(t, ana, "two") // from now on only what is signed counts
	p.release(Release{})
	ana.sync()
	wantOS(t, ana, "three")
}

func TestWaves(t *testing.T) {
	p := newPress(t)
	homes := []*home{p.pupil("ana", "laptop"), p.newcomer("cem"), p.newcomer("dea")}
	two := p.version("two")
	p.release(Release{Waves: []int{40, 100}})
	log, err := homes[0].dev.Log(t.Context())
	must(t, err)
	wave, _ := log.Channel(p.layer(), publication.Stable)
	in := func(h *home) bool { return wave.In(h.dev.membership().Device, 40) }
	var first *home
	for _, h := range homes {
		h.sync()
		want := "one"
		if in(h) {
			want, first = "two", h
		}
		wantOS(t, h, want)
	}
	for i := 0; first == nil; i++ {
		h := p.newcomer(fmt.Sprintf("user%d", i))
		if homes = append(homes, h); in(h) {
			first = h
			wantOS(t, h, "two")
		}
	}
	must(t, first.dev.server().Report(t.Context(), syncer.Report{
		Failed: []syncer.Failure{{Layer: p.layer(), Version: two, Reason: "init exited", Time: time.Now()}},
	}))
	var rollouts []syncer.RolloutInfo
	p.do("GET", "rollouts", nil, &rollouts)
	if len(rollouts) != 1 || !strings.Contains(rollouts[0].Stopped, "failed") || len(rollouts[0].Failed) != 1 || rollouts[0].Failed[0].Reason != "init exited" {
		t.Errorf("rollouts %+v", rollouts)
	}
	ben := p.newcomer("ben")
	wantOS(t, ben, "one")
	p.version("three")
	p.release(Release{}) // to all at once
	for _, h := range append(homes, ben) {
		h.sync()
		wantOS(t, h, "three")
	}
}

// TestWavesOpen has a wave open when all devices of the one before are well.
func TestWavesOpen(t *testing.T) {
	p := newPress(t)
	ana := p.pupil("ana", "laptop")
	two := p.version("two")
	wave := p.release(Release{Waves: []int{1, 100}})
	ana.sync()
	if wave.Version != two {
		t.Fatal(wave)
	}
	must(t, ana.dev.server().Report(t.Context(), syncer.Report{Workspaces: []syncer.WorkspaceReport{{
		Name: "desk", Layers: []syncer.LayerUse{{Layer: p.layer(), Version: two, Healthy: true}},
	}}}))
	ana.sync() // either it was in the wave and is well, or the wave was of nobody
	wantOS(t, ana, "two")
}

func (p *press) assign(to syncer.Principal, more ...func(*publication.Assignment)) *publication.Assignment {
	p.t.Helper()
	a := &publication.Assignment{ID: newID(), Workspace: "lab", To: to, OS: publication.Source{Layer: p.layer(), Channel: publication.Stable}}
	for _, change := range more {
		change(a)
	}
	p.say(publication.Content{Assign: a})
	return a
}

func TestAssigned(t *testing.T) {
	p := newPress(t)
	p.do("POST", "groups", syncer.Group{Name: "7b"}, nil)
	p.do("POST", "users", syncer.User{Name: "ben"}, nil)
	ana, ben := p.enrolled("ana", "laptop"), p.enrolled("ben", "laptop-2")
	ana.sync()
	p.assign("group:7b", func(a *publication.Assignment) { a.Options.Memory = 1 << 30 })
	ana.sync()
	if _, err := ana.set.Load("lab"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("not of the group: %v", err)
	}
	p.do("PUT", "groups/7b/members/ana", nil, nil) // after the assignment, which she was not shown
	ana.sync()
	def, err := ana.set.Load("lab")
	must(t, err)
	if def.Options.Memory != 1<<30 {
		t.Errorf("options %+v", def.Options)
	}
	wantOS(t, ana, "one")
	p.assign("device:laptop-2", func(a *publication.Assignment) { a.Workspace = "exam" })
	ben.sync()
	if _, err := ben.set.Load("exam"); err != nil {
		t.Error(err)
	}
	other := p.enrolled("ben", "desk")
	other.sync()
	if _, err := other.set.Load("exam"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("of another device of the user: %v", err)
	}

	// The user's own layers stay as they are when another system is assigned.
	ana.commit("lab/data", layers.Data, map[string]string{"home/ana/essay": "mine"})
	ana.sync()
	p.version("two")
	p.release(Release{Channel: "canary"})
	p.assign("user:ana", func(a *publication.Assignment) { a.OS.Channel = "canary" })
	ana.sync()
	wantOS(t, ana, "two")
	wantFiles(t, ana, "lab/data", map[string]string{"home/ana/essay": "mine"})

	// What was assigned is not the user's to change.
	must(t, ana.set.Update("lab", func(d *workspace.Definition) error { d.Options.Memory = 2 << 30; return nil }))
	wantNote(t, ana.sync(), "as it was assigned")
	if def, err := ana.set.Load("lab"); err != nil || def.Options.Memory != 0 {
		t.Errorf("%+v, %v", def.Options, err)
	}
	wantFiles(t, ana, "lab/data", map[string]string{"home/ana/essay": "mine"})
}

// TestLyingServer has a server show what no publisher has said. Each lie is
// refused by its own name, the os layer stays, and the user's own layers are
// synced all the same.
func TestLyingServer(t *testing.T) {
	stranger, err := publication.NewKey()
	must(t, err)
	for name, test := range map[string]struct {
		// lie changes what the server answers, given what it knows: the whole log,
		// and that of the same publisher in another world.
		lie  func(t *testing.T, page *publication.Page, from uint64, other []publication.Statement)
		want error
	}{
		"forged": {func(t *testing.T, page *publication.Page, from uint64, _ []publication.Statement) {
			page.Statements[len(page.Statements)-1].Record[100] ^= 1
		}, publication.ErrForged},
		"signed by a stranger": {func(t *testing.T, page *publication.Page, _ uint64, other []publication.Statement) {
			last := len(page.Statements) - 1
			e, c, err := page.Statements[last].Open()
			must(t, err)
			page.Statements[last], err = publication.Sign(stranger, &publication.Log{Seq: e.Seq - 1, Head: e.Prev}, *c)
			must(t, err)
		}, publication.ErrForged},
		"replayed": {func(_ *testing.T, page *publication.Page, _ uint64, _ []publication.Statement) {
			page.Last, page.Statements = 1, nil
		}, publication.ErrReplayed},
		"split view": {func(_ *testing.T, page *publication.Page, from uint64, other []publication.Statement) {
			page.Statements, page.Last = other[from-1:], uint64(len(other))
		}, publication.ErrSplit},
		"withheld": {func(_ *testing.T, page *publication.Page, _ uint64, _ []publication.Statement) {
			page.Statements[len(page.Statements)-1].Content = nil
		}, publication.ErrForged},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPress(t)
			ana := p.pupil("ana", "laptop")
			p.version("evil")
			p.release(Release{})
			var whole publication.Page
			p.do("GET", "publications?from=1", nil, &whole)
			other := p.parted(t, whole.Statements)
			p.lie(func(r *http.Request, body []byte) []byte {
				if r.URL.Path != "/v1/publications" {
					return body
				}
				from := max(1, parse(t, r.URL.Query().Get("from")))
				page := publication.Page{Statements: clone(whole.Statements[from-1:]), Last: whole.Last}
				test.lie(t, &page, from, other)
				body, err := json.Marshal(page)
				must(t, err)
				return body
			})
			ana.commit("desk/data", layers.Data, map[string]string{"home/ana/essay": "mine"})
			rep, err := ana.dev.Sync(t.Context())
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			wantOS(t, ana, "one")
			sent := false
			for _, l := range rep.Layers {
				sent = sent || l.Name == "desk/data" && !l.Pushed.IsZero()
			}
			if !sent {
				t.Errorf("the user's own layer was not sent: %+v", rep.Layers)
			}
			p.lie(nil)
			ana.sync()
			wantOS(t, ana, "evil")
		})
	}
}

// parted returns a log of the same publisher that parts from the one given with
// its last entry.
func (p *press) parted(t *testing.T, all []publication.Statement) []publication.Statement {
	key, err := p.pub.dev.signer()
	must(t, err)
	log := &publication.Log{}
	_, err = log.Extend(all[:1])
	must(t, err)
	first := all[1]
	_, c, err := first.Open()
	must(t, err)
	c.Publish.StopAt = 7 // otherwise the same
	parted := clone(all[:1])
	for range len(all) {
		s, err := publication.Sign(key, log, *c)
		must(t, err)
		must(t, log.Append(s))
		parted = append(parted, s)
	}
	return parted
}

func clone(all []publication.Statement) []publication.Statement {
	var out []publication.Statement
	for _, s := range all {
		out = append(out, publication.Statement{Record: append([]byte(nil), s.Record...), Content: append([]byte(nil), s.Content...)})
	}
	return out
}

func parse(t *testing.T, s string) (n uint64) {
	_, err := fmt.Sscan(s, &n)
	must(t, err)
	return n
}

// TestCalledOtherwise has a server say that a pupil may write the os layer, or
// that it is none, to have its own version of it taken.
func TestCalledOtherwise(t *testing.T) {
	for name, call := range map[string]func(*syncer.Layer){
		"may be written": func(l *syncer.Layer) { l.Access = syncer.Write },
		"data":           func(l *syncer.Layer) { l.Kind, l.Access = layers.Data, syncer.Write },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPress(t)
			ana := p.pupil("ana", "laptop")
			p.version("evil") // and nobody has published it
			p.lie(func(r *http.Request, body []byte) []byte {
				var state syncer.State
				if r.URL.Path != "/v1/state" || json.Unmarshal(body, &state) != nil {
					return body
				}
				for i := range state.Layers {
					if state.Layers[i].ID == p.layer() {
						call(&state.Layers[i])
					}
				}
				body, err := json.Marshal(state)
				must(t, err)
				return body
			})
			ana.dev.Sync(t.Context()) //nolint:errcheck // it may complain; what counts is that it does not follow
			wantOS(t, ana, "one")
		})
	}
}

// TestForgedAssignment has the server change what was assigned.
func TestForgedAssignment(t *testing.T) {
	p := newPress(t)
	a := p.assign("user:ana")
	ana := p.enrolled("ana", "laptop")
	ana.sync()
	p.lie(func(r *http.Request, body []byte) []byte {
		var state syncer.State
		if r.URL.Path != "/v1/state" || json.Unmarshal(body, &state) != nil {
			return body
		}
		state.Workspaces[0].Options.Memory = 3 << 30
		state.Workspaces[0].Revision++
		body, err := json.Marshal(state)
		must(t, err)
		return body
	})
	if _, err := ana.dev.Sync(t.Context()); !errors.Is(err, publication.ErrForged) {
		t.Errorf("another size than was assigned: %v", err)
	}
	if def, err := ana.set.Load(a.Workspace); err != nil || def.Options.Memory != 0 {
		t.Errorf("%+v, %v", def.Options, err)
	}
}

// TestUnfollowed has a server hand out what was signed and nobody may follow, as
// one that does not check, or a publisher who errs, may do.
func TestUnfollowed(t *testing.T) {
	p := newPress(t)
	ana := p.pupil("ana", "laptop")
	first := p.pub.head("debian-12").Version
	p.version("two")
	p.release(Release{})
	second := p.version("three")
	p.say(publication.Content{Withdraw: &publication.Withdraw{Layer: p.layer(), Version: second, Reason: "it eats files"}})
	ana.sync()
	wantOS(t, ana, "two")
	key, err := p.pub.dev.signer()
	must(t, err)
	for _, test := range []struct {
		publish publication.Publish
		note    string
	}{
		{publication.Publish{Version: first, Number: 1}, "older than the one that was published before"},
		{publication.Publish{Version: second, Number: 3}, "withdrawn: \"it eats files\""},
	} {
		log, err := ana.dev.loadLog()
		must(t, err)
		test.publish.Layer, test.publish.Channel = p.layer(), publication.Stable
		said, err := publication.Sign(key, log, publication.Content{Time: time.Now(), Publish: &test.publish})
		must(t, err)
		e, _, err := said.Open()
		must(t, err)
		p.lie(func(r *http.Request, body []byte) []byte {
			switch r.URL.Path {
			case "/v1/state":
				var state syncer.State
				must(t, json.Unmarshal(body, &state))
				state.Published, state.PublishedHead = e.Seq, e.Hash().String()
				body, _ = json.Marshal(state)
			case "/v1/publications":
				body, _ = json.Marshal(publication.Page{Statements: []publication.Statement{said}, Last: e.Seq})
			}
			return body
		})
		wantNote(t, ana.sync(), test.note)
		wantOS(t, ana, "two")
	}
}

// TestLandBy has the agent wait with what need not be there for hours, and a
// sync by hand not.
func TestLandBy(t *testing.T) {
	p := newPress(t)
	ana := p.pupil("ana", "laptop")
	p.version("two")
	p.release(Release{})
	p.assign("user:ana", func(a *publication.Assignment) {
		a.Workspace, a.LandBy = "desk", time.Now().Add(1000*time.Hour)
	})
	did, err := ana.dev.syncAll(t.Context(), nil)
	must(t, err)
	wantOS(t, ana, "one")
	if until := time.Until(did.due); until < 0 || until > 500*time.Hour {
		t.Errorf("it begins in %v", until)
	}
	ana.sync()
	wantOS(t, ana, "two")
}
