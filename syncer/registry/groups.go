package registry

import (
	"slices"

	"satchel/syncer"
)

// Groups lists all groups, ordered by name.
func (r *Registry) Groups() ([]syncer.Group, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]syncer.Group, 0, len(r.groups.rows))
	for _, name := range r.groups.sorted() {
		all = append(all, copyGroup(r.groups.rows[name]))
	}
	return all, nil
}

func copyGroup(g syncer.Group) syncer.Group {
	g.Members = append([]string{}, g.Members...)
	return g
}

// AddGroup adds a group, with the members named in it. It fails with
// [store.ErrExist], [store.ErrNotExist] of a member, or [syncer.ErrMalformed].
func (r *Registry) AddGroup(g syncer.Group) (syncer.Group, error) {
	err := r.change(func(c *change) error {
		if err := syncer.CheckName(g.Name); err != nil {
			return err
		}
		if _, ok := r.groups.rows[g.Name]; ok {
			return exist("group", g.Name)
		}
		g.Members = slices.Compact(append([]string{}, slices.Sorted(slices.Values(g.Members))...))
		for _, m := range g.Members {
			if _, ok := r.users.rows[m]; !ok {
				return notExist("user", m)
			}
		}
		g.Created = r.time()
		return r.groups.put(c, g.Name, g)
	})
	return copyGroup(g), err
}

// RemoveGroup removes a group, with all grants to it.
func (r *Registry) RemoveGroup(name string) error {
	return r.change(func(c *change) error {
		if _, ok := r.groups.rows[name]; !ok {
			return notExist("group", name)
		}
		r.groups.remove(c, name)
		return r.dropGrants(c, syncer.Principal("group:"+name))
	})
}

// Join makes a user a member of a group. That it is one is no error.
func (r *Registry) Join(group, user string) (syncer.Group, error) {
	return r.member(group, user, true)
}

// Leave ends that. That a user is no member is no error.
func (r *Registry) Leave(group, user string) (syncer.Group, error) {
	return r.member(group, user, false)
}

func (r *Registry) member(group, user string, in bool) (g syncer.Group, err error) {
	err = r.change(func(c *change) error {
		if _, ok := r.groups.rows[group]; !ok {
			return notExist("group", group)
		}
		if _, ok := r.users.rows[user]; !ok {
			return notExist("user", user)
		}
		g = r.groups.rows[group]
		err := r.setMember(c, group, user, in)
		c.then(func() { g = r.groups.rows[group] })
		return err
	})
	return copyGroup(g), err
}

// setMember puts a user into a group that exists, or takes it out.
func (r *Registry) setMember(c *change, group, user string, in bool) error {
	g := r.groups.rows[group]
	at, is := slices.BinarySearch(g.Members, user)
	if is == in {
		return nil
	}
	if in {
		g.Members = slices.Insert(slices.Clone(g.Members), at, user)
	} else {
		g.Members = slices.Delete(slices.Clone(g.Members), at, at+1)
	}
	return r.groups.put(c, group, g)
}
