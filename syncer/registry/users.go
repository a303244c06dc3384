package registry

import (
	"fmt"
	"slices"
	"time"

	"satchel/syncer"
)

// A userRow is a user; which groups that is in is in the groups' rows.
type userRow struct {
	Publisher bool      `json:"publisher"`
	Created   time.Time `json:"created"`
}

// Users lists all users, ordered by name.
func (r *Registry) Users() ([]syncer.User, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]syncer.User, 0, len(r.users.rows))
	for _, name := range r.users.sorted() {
		all = append(all, r.user(name))
	}
	return all, nil
}

// User finds a user, or fails with [store.ErrNotExist].
func (r *Registry) User(name string) (syncer.User, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, ok := r.users.rows[name]; !ok {
		return syncer.User{}, notExist("user", name)
	}
	return r.user(name), nil
}

// user puts together what is known of a user.
func (r *Registry) user(name string) syncer.User {
	row := r.users.rows[name]
	return syncer.User{Name: name, Publisher: row.Publisher, Groups: r.groupsOf(name), Created: row.Created}
}

// groupsOf lists the groups that a user is in, ordered by name.
func (r *Registry) groupsOf(user string) []string {
	in := []string{}
	for name, g := range r.groups.rows {
		if slices.Contains(g.Members, user) {
			in = append(in, name)
		}
	}
	slices.Sort(in)
	return in
}

// AddUser adds a user, to the groups named in it too. It fails with
// [store.ErrExist], [store.ErrNotExist] of a group, or [syncer.ErrMalformed].
func (r *Registry) AddUser(u syncer.User) (syncer.User, error) {
	err := r.change(func(c *change) error {
		if err := syncer.CheckName(u.Name); err != nil {
			return err
		}
		if _, ok := r.users.rows[u.Name]; ok {
			return exist("user", u.Name)
		}
		u.Created = r.time()
		return r.putUser(c, &u)
	})
	return u, err
}

// SetUser changes a user to be as u says. Groups that are nil stay as they are;
// when it was made stays in any case.
func (r *Registry) SetUser(u syncer.User) (syncer.User, error) {
	err := r.change(func(c *change) error {
		row, ok := r.users.rows[u.Name]
		if !ok {
			return notExist("user", u.Name)
		}
		u.Created = row.Created
		return r.putUser(c, &u)
	})
	return u, err
}

func (r *Registry) putUser(c *change, u *syncer.User) error {
	if u.Groups == nil {
		u.Groups = r.groupsOf(u.Name)
	}
	u.Groups = slices.Compact(slices.Sorted(slices.Values(u.Groups)))
	for _, name := range u.Groups {
		if _, ok := r.groups.rows[name]; !ok {
			return notExist("group", name)
		}
	}
	for name := range r.groups.rows {
		if err := r.setMember(c, name, u.Name, slices.Contains(u.Groups, name)); err != nil {
			return err
		}
	}
	return r.users.put(c, u.Name, userRow{u.Publisher, u.Created})
}

// RemoveUser removes a user who has no layers, devices and workspaces; others
// are [store.ErrBusy], with a [*UseError].
func (r *Registry) RemoveUser(name string) error {
	return r.change(func(c *change) error {
		if _, ok := r.users.rows[name]; !ok {
			return notExist("user", name)
		}
		if by := r.belongings(name); len(by) > 0 {
			return &UseError{"user " + name, by}
		}
		for group := range r.groups.rows {
			if err := r.setMember(c, group, name, false); err != nil {
				return err
			}
		}
		for id, t := range r.tokens.rows {
			if t.User == name {
				r.tokens.remove(c, id)
			}
		}
		r.users.remove(c, name)
		return r.dropGrants(c, syncer.Principal("user:"+name))
	})
}

// belongings names what belongs to a user.
func (r *Registry) belongings(user string) []string {
	var by []string
	for _, d := range r.devices.rows {
		if d.User == user {
			by = append(by, "device "+d.Name)
		}
	}
	for _, w := range r.works.rows {
		if w.Owner == user {
			by = append(by, fmt.Sprintf("workspace %s (%s)", w.Name, w.ID))
		}
	}
	for _, l := range r.layers.rows {
		if l.Owner == user {
			by = append(by, "layer "+l.Name)
		}
	}
	slices.Sort(by)
	return by
}

// time is now, as it is kept: whole seconds in UTC.
func (r *Registry) time() time.Time { return r.now().UTC().Truncate(time.Second) }
