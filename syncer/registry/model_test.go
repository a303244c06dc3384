package registry

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/store"
	"satchel/syncer"
)

// A model is what a registry must do, without any cleverness.
type model struct {
	users   map[string]bool            // publisher
	members map[string]map[string]bool // of groups
	devices map[string]modelDevice
	tokens  map[byte]int // uses left of ana's token of that secret
	layers  map[byte]modelLayer
	works   map[string]syncer.Workspace
}

type modelDevice struct {
	user    string
	key     byte
	token   byte
	revoked bool
}

type modelLayer struct {
	owner  string
	kind   layers.Kind
	grants map[syncer.Principal]syncer.Access
}

func (m *model) access(user, device string, layer byte) syncer.Access {
	l, ok := m.layers[layer]
	d := m.devices[device]
	if !ok || device != "" && (d.revoked || d.user != user) {
		return ""
	}
	var all []syncer.Access
	if l.owner == user {
		if l.kind == layers.OS && !m.users[user] {
			all = append(all, syncer.Read)
		} else {
			all = append(all, syncer.Write)
		}
	}
	for to, access := range l.grants {
		group, isGroup := strings.CutPrefix(string(to), "group:")
		if to == "all" || to == syncer.Principal("user:"+user) || device != "" && to == syncer.Principal("device:"+device) ||
			isGroup && m.members[group][user] {
			all = append(all, access)
		}
	}
	switch {
	case slices.Contains(all, syncer.Write):
		return syncer.Write
	case len(all) > 0:
		return syncer.Read
	}
	return ""
}

func (m *model) drop(to syncer.Principal) {
	for _, l := range m.layers {
		delete(l.grants, to)
	}
}

func (m *model) owns(user string) bool {
	for _, d := range m.devices {
		if d.user == user {
			return true
		}
	}
	for _, l := range m.layers {
		if l.owner == user {
			return true
		}
	}
	for _, w := range m.works {
		if w.Owner == user {
			return true
		}
	}
	return false
}

// A machine does the same to a registry and to a model.
type machine struct {
	r *Registry
	m model
}

var (
	someUser      = rapid.SampledFrom([]string{"ana", "ben", "cyn"})
	someGroup     = rapid.SampledFrom([]string{"class", "lab"})
	someDevice    = rapid.SampledFrom([]string{"pc", "pc-2", "pc-3", "pad"})
	someLayer     = rapid.ByteRange(1, 6)
	someKey       = rapid.ByteRange(1, 4)
	somePrincipal = rapid.OneOf(
		rapid.Map(someUser, func(s string) syncer.Principal { return syncer.Principal("user:" + s) }),
		rapid.Map(someGroup, func(s string) syncer.Principal { return syncer.Principal("group:" + s) }),
		rapid.Map(someDevice, func(s string) syncer.Principal { return syncer.Principal("device:" + s) }),
		rapid.Just(syncer.Principal("all")))
)

// agree fails the test unless an error is there just when it should be.
func agree(t *rapid.T, what string, err error, want bool) {
	t.Helper()
	if (err == nil) != want {
		t.Fatalf("%s: error %v; the model wants success %t", what, err, want)
	}
}

func (x *machine) AddUser(t *rapid.T) {
	u := syncer.User{Name: someUser.Draw(t, "user"), Publisher: rapid.Bool().Draw(t, "publisher")}
	_, there := x.m.users[u.Name]
	_, err := x.r.AddUser(u)
	agree(t, "add user", err, !there)
	if !there {
		x.m.users[u.Name] = u.Publisher
	}
}

func (x *machine) SetUser(t *rapid.T) {
	u := syncer.User{Name: someUser.Draw(t, "user"), Publisher: rapid.Bool().Draw(t, "publisher")}
	_, there := x.m.users[u.Name]
	_, err := x.r.SetUser(u)
	agree(t, "set user", err, there)
	if there {
		x.m.users[u.Name] = u.Publisher
	}
}

func (x *machine) RemoveUser(t *rapid.T) {
	u := someUser.Draw(t, "user")
	_, there := x.m.users[u]
	ok := there && !x.m.owns(u)
	agree(t, "remove user", x.r.RemoveUser(u), ok)
	if ok {
		delete(x.m.users, u)
		for _, g := range x.m.members {
			delete(g, u)
		}
		if u == "ana" {
			clear(x.m.tokens)
		}
		x.m.drop(syncer.Principal("user:" + u))
	}
}

func (x *machine) Group(t *rapid.T) {
	g := someGroup.Draw(t, "group")
	_, there := x.m.members[g]
	if rapid.Bool().Draw(t, "add") {
		_, err := x.r.AddGroup(syncer.Group{Name: g})
		agree(t, "add group", err, !there)
		if !there {
			x.m.members[g] = map[string]bool{}
		}
		return
	}
	agree(t, "remove group", x.r.RemoveGroup(g), there)
	delete(x.m.members, g)
	x.m.drop(syncer.Principal("group:" + g))
}

func (x *machine) Member(t *rapid.T) {
	g, u := someGroup.Draw(t, "group"), someUser.Draw(t, "user")
	members, group := x.m.members[g]
	_, user := x.m.users[u]
	if rapid.Bool().Draw(t, "join") {
		_, err := x.r.Join(g, u)
		agree(t, "join", err, group && user)
		if group && user {
			members[u] = true
		}
		return
	}
	_, err := x.r.Leave(g, u)
	agree(t, "leave", err, group && user)
	delete(members, u)
}

func (x *machine) AddToken(t *rapid.T) {
	n, uses := byte(len(x.m.tokens)+1), rapid.IntRange(1, 3).Draw(t, "uses")
	_, there := x.m.users["ana"]
	_, err := x.r.AddToken(syncer.Token{User: "ana", Uses: uses}, [32]byte{n})
	agree(t, "add token", err, there)
	if there {
		x.m.tokens[n] = uses
	}
}

func (x *machine) Enrol(t *rapid.T) {
	secret, key, name := rapid.ByteRange(1, 2).Draw(t, "token"), someKey.Draw(t, "key"), rapid.SampledFrom([]string{"pc", "pad"}).Draw(t, "name")
	uses, ok := x.m.tokens[secret]
	known := ""
	for _, n := range slices.Sorted(maps.Keys(x.m.devices)) {
		if d := x.m.devices[n]; d.key == key && d.user == "ana" {
			known = n
		}
	}
	spend := known == "" || x.m.devices[known].token != secret
	ok = ok && !x.m.devices[known].revoked && (uses > 0 || !spend)
	d, err := x.r.Enrol([32]byte{secret}, name, [32]byte{key}, time.Now().Add(month))
	agree(t, "enrol", err, ok)
	if !ok {
		return
	}
	if spend {
		x.m.tokens[secret]--
	}
	want := known
	for n := 1; want == ""; n++ {
		free := name
		if n > 1 {
			free = fmt.Sprintf("%s-%d", name, n)
		}
		if _, taken := x.m.devices[free]; !taken {
			want = free
		}
	}
	if d.Name != want {
		t.Fatalf("enrolled as %s, want %s", d.Name, want)
	}
	x.m.devices[want] = modelDevice{user: "ana", key: key, token: secret}
}

func (x *machine) Device(t *rapid.T) {
	name := someDevice.Draw(t, "device")
	d, there := x.m.devices[name]
	if rapid.Bool().Draw(t, "revoke") {
		_, err := x.r.Revoke(name)
		agree(t, "revoke", err, there)
		if there {
			d.revoked = true
			x.m.devices[name] = d
		}
		return
	}
	agree(t, "remove device", x.r.RemoveDevice(name), there)
	delete(x.m.devices, name)
	x.m.drop(syncer.Principal("device:" + name))
}

func (x *machine) Layer(t *rapid.T) {
	n, owner := someLayer.Draw(t, "layer"), someUser.Draw(t, "owner")
	kind := []layers.Kind{layers.OS, layers.Personal, layers.System, layers.Data}[n%4]
	_, there := x.m.layers[n]
	if rapid.IntRange(0, 3).Draw(t, "add") > 0 {
		publisher, user := x.m.users[owner]
		ok := !there && user && (publisher || kind != layers.OS)
		_, err := x.r.AddLayer(syncer.LayerInfo{ID: store.LayerID{n}, Name: fmt.Sprint("layer", n), Kind: kind, Owner: owner})
		agree(t, "add layer", err, ok)
		if ok {
			x.m.layers[n] = modelLayer{owner, kind, map[syncer.Principal]syncer.Access{}}
		}
		return
	}
	used := false
	for _, w := range x.m.works {
		used = used || w.OS[0] == n || w.Personal[0] == n || w.System[0] == n || w.Data[0] == n
	}
	agree(t, "remove layer", x.r.RemoveLayer(store.LayerID{n}), there && !used)
	if !used {
		delete(x.m.layers, n)
	}
}

func (x *machine) Grant(t *rapid.T) {
	n, to := someLayer.Draw(t, "layer"), somePrincipal.Draw(t, "to")
	access := rapid.SampledFrom([]syncer.Access{"", syncer.Read, syncer.Write}).Draw(t, "access")
	kind, name, _ := strings.Cut(string(to), ":")
	_, user := x.m.users[name]
	_, group := x.m.members[name]
	_, device := x.m.devices[name]
	there := kind == "all" || kind == "user" && user || kind == "group" && group || kind == "device" && device
	l, ok := x.m.layers[n]
	_, had := l.grants[to]
	ok = ok && there && (access != "" || had)
	_, err := x.r.SetGrant(store.LayerID{n}, syncer.Grant{To: to, Access: access})
	agree(t, "grant", err, ok)
	switch {
	case ok && access == "":
		delete(l.grants, to)
	case ok:
		l.grants[to] = access
	}
}

func (x *machine) PutWorkspace(t *rapid.T) {
	w := syncer.Workspace{
		ID:   strings.Repeat(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "id"), 32),
		Name: rapid.SampledFrom([]string{"desk", "home"}).Draw(t, "name"), Owner: rapid.SampledFrom([]string{"ben", "ben", "ben", "ana"}).Draw(t, "owner"),
		Revision: rapid.SampledFrom([]uint64{0, 0, 0, 1, 2}).Draw(t, "revision"), Groups: []store.LayerID{},
		OS: store.LayerID{4}, Personal: store.LayerID{rapid.SampledFrom([]byte{1, 1, 1, 1, 5}).Draw(t, "personal")},
		System: store.LayerID{rapid.SampledFrom([]byte{2, 2, 2, 2, 6}).Draw(t, "system")}, Data: store.LayerID{3},
	}
	old, there := x.m.works[w.ID]
	put := w
	put.Revision++
	same := there && cmp.Equal(old, put)
	_, ok := x.m.users[w.Owner]
	ok = ok && (there && old.Owner == w.Owner || !there) && old.Revision == w.Revision && x.m.access(w.Owner, "", w.OS[0]) != ""
	for _, id := range []store.LayerID{w.Personal, w.System, w.Data} {
		ok = ok && x.m.access(w.Owner, "", id[0]) == syncer.Write
	}
	for _, other := range x.m.works {
		ok = ok && (other.ID == w.ID || other.Owner != w.Owner || other.Name != w.Name)
	}
	_, err := x.r.PutWorkspace(w)
	agree(t, "put workspace", err, ok || same)
	if ok {
		x.m.works[w.ID] = put
	}
}

func (x *machine) RemoveWorkspace(t *rapid.T) {
	id := strings.Repeat(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "id"), 32)
	_, there := x.m.works[id]
	agree(t, "remove workspace", x.r.RemoveWorkspace(id), there)
	delete(x.m.works, id)
}

func (x *machine) Reopen(t *rapid.T) {
	path := x.r.db.Path()
	if err := x.r.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	x.r = r
}

// begin makes a few things, so that most of what is drawn means something: a
// publisher ben with a stack of layers, and ana, who has a device.
func (x *machine) begin(t *rapid.T) {
	for _, u := range []string{"ana", "ben"} {
		_, err := x.r.AddUser(syncer.User{Name: u, Publisher: true})
		agree(t, "add user", err, true)
		x.m.users[u] = true
	}
	for n, kind := range []layers.Kind{1: layers.Personal, 2: layers.System, 3: layers.Data, 4: layers.OS} {
		if n > 0 {
			_, err := x.r.AddLayer(syncer.LayerInfo{ID: store.LayerID{byte(n)}, Name: fmt.Sprint("layer", n), Kind: kind, Owner: "ben"})
			agree(t, "add layer", err, true)
			x.m.layers[byte(n)] = modelLayer{"ben", kind, map[syncer.Principal]syncer.Access{}}
		}
	}
	_, err := x.r.AddGroup(syncer.Group{Name: "class", Members: []string{"ana"}})
	agree(t, "add group", err, true)
	x.m.members["class"] = map[string]bool{"ana": true}
	x.m.tokens[1] = 2
	_, err = x.r.AddToken(syncer.Token{User: "ana", Uses: 2}, [32]byte{1})
	agree(t, "add token", err, true)
	x.Enrol(t)
}

// Check compares all that the registry says with the model.
func (x *machine) Check(t *rapid.T) {
	for name, d := range x.m.devices {
		device := syncer.Device{Name: name, User: d.user}
		seen, err := x.r.Seen(name, [32]byte{d.key})
		agree(t, "seen "+name, err, !d.revoked)
		if err == nil && seen.User != d.user {
			t.Fatalf("device %+v", seen)
		}
		view, err := x.r.View(device)
		agree(t, "view of "+name, err, !d.revoked)
		got := map[byte]syncer.Access{}
		for _, l := range view.Layers {
			got[l.ID[0]] = l.Access
		}
		want := map[byte]syncer.Access{}
		for n := range byte(8) {
			access, err := x.r.Access(device, store.LayerID{n})
			if err != nil || access != x.m.access(d.user, name, n) {
				t.Fatalf("access of %s to layer %d is %q, %v; want %q", name, n, access, err, x.m.access(d.user, name, n))
			}
			if access != "" {
				want[n] = access
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("view of %s: %s", name, diff)
		}
	}
	devices, _ := x.r.Devices()
	users, _ := x.r.Users()
	groups, _ := x.r.Groups()
	infos, _ := x.r.Layers()
	works, _ := x.r.Workspaces()
	if len(devices) != len(x.m.devices) || len(users) != len(x.m.users) || len(groups) != len(x.m.members) || len(infos) != len(x.m.layers) || len(works) != len(x.m.works) {
		t.Fatalf("%d devices, %d users, %d groups, %d layers, %d workspaces; the model has %d, %d, %d, %d, %d",
			len(devices), len(users), len(groups), len(infos), len(works),
			len(x.m.devices), len(x.m.users), len(x.m.members), len(x.m.layers), len(x.m.works))
	}
	for _, u := range users {
		for _, g := range []string{"class", "lab"} {
			if slices.Contains(u.Groups, g) != x.m.members[g][u.Name] {
				t.Fatalf("user %+v, group %s", u, g)
			}
		}
	}
	for _, l := range infos {
		grants := map[syncer.Principal]syncer.Access{}
		for _, g := range l.Grants {
			grants[g.To] = g.Access
		}
		if diff := cmp.Diff(x.m.layers[l.ID[0]].grants, grants); diff != "" {
			t.Fatalf("grants of %s: %s", l.Name, diff)
		}
		if by, err := x.r.LayerByName(l.Name); err != nil || by.ID != l.ID || by.Owner != x.m.layers[l.ID[0]].owner {
			t.Fatalf("layer %+v by its name is %+v, %v", l, by, err)
		}
	}
	for _, w := range works {
		if diff := cmp.Diff(x.m.works[w.ID], w); diff != "" {
			t.Fatal(diff)
		}
	}
}

// A registry does what the model does, whatever is done to it.
func TestModel(t *testing.T) {
	dir := memoryDir(t)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		r, err := Create(fmt.Sprintf("%s/%d.db", dir, n), "server", adminToken)
		if err != nil {
			t.Fatal(err)
		}
		x := &machine{r, model{
			users: map[string]bool{}, members: map[string]map[string]bool{}, devices: map[string]modelDevice{},
			tokens: map[byte]int{}, layers: map[byte]modelLayer{}, works: map[string]syncer.Workspace{},
		}}
		defer func() { x.r.Close() }()
		x.begin(t)
		actions := rapid.StateMachineActions(x)
		for _, often := range []string{"Grant", "PutWorkspace", "Enrol"} {
			actions[often+" again"] = actions[often]
		}
		t.Repeat(actions)
	})
}
