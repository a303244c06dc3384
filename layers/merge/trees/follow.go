package trees

import (
	"slices"

	"satchel/layers"
	"satchel/store"
)

// follow finds out which of the ancestor's files and directories the version
// has elsewhere.
//
// Of the files that the version has no name of any more, and those that are
// new in it, two are the same when they have the same contents, and no other of
// either has, or no other of that name. A directory of which nothing is left
// was moved to where more than half of its files are, as they were. What was in
// it and is at the same place there is the same file, and so are, last, two
// files of which each is the only one with its name that is left over.
func (v *version) follow(ancestor *version) {
	lost, fresh := changes(ancestor, v)
	if len(lost) == 0 || len(fresh) == 0 {
		return
	}
	v.pair(ancestor, lost, fresh, func(f *file) any { return named{contentOf(f), baseName(f)} })
	v.pair(ancestor, lost, fresh, func(f *file) any { return contentOf(f) })
	v.followDirs(lost)
	for _, f := range lost {
		if v.moved[f] == nil {
			if dir, to := v.movedDir(f.names[0]); dir != "" {
				v.match(f, v.find(to+f.names[0][len(dir):]).file(), ancestor)
			}
		}
	}
	v.pair(ancestor, lost, fresh, func(f *file) any { return baseName(f) })
}

// changes returns the regular files, empty ones left out, of which all names
// are lost in the second version, and those of which all are new there.
func changes(old, now *version) (lost, fresh []*file) {
	var i, j int
	for i < len(old.nodes) || j < len(now.nodes) {
		var a, b *node
		order := -1
		switch {
		case i == len(old.nodes):
			order = 1
		case j < len(now.nodes):
			order = layers.ComparePaths(old.nodes[i].path, now.nodes[j].path)
		}
		if order <= 0 {
			a = &old.nodes[i]
			i++
		}
		if order >= 0 {
			b = &now.nodes[j]
			j++
		}
		if f := a.file(); f != nil && b.file() == nil && movable(f, a, now) {
			lost = append(lost, f)
		}
		if f := b.file(); f != nil && a.file() == nil && movable(f, b, old) {
			fresh = append(fresh, f)
		}
	}
	return lost, fresh
}

// movable reports whether f, met at n, is to be looked for: met by its first
// name, and without any in the other version.
func movable(f *file, n *node, other *version) bool {
	return f.entry.Type == layers.Regular && f.entry.Size > 0 && n.path == f.names[0] && other.heir(f) == nil
}

// A content stands for the contents of a regular file: equal ones of equal
// files, and rarely of others.
type content struct {
	size        int64
	extents     int
	first, last store.ID
}

func contentOf(f *file) content {
	x := f.entry.Extents
	return content{f.entry.Size, len(x), x[0].ID, x[len(x)-1].ID}
}

// named is a content at a name.
type named struct {
	content
	name string
}

func baseName(f *file) string {
	_, name := layers.SplitPath(f.names[0])
	return name
}

// pair matches those of the files left over that are alone with their key.
func (v *version) pair(ancestor *version, lost, fresh []*file, key func(*file) any) {
	type both struct{ lost, fresh []*file }
	left := map[any]both{}
	for _, f := range lost {
		if v.moved[f] == nil {
			k := key(f)
			b := left[k]
			b.lost = append(b.lost, f)
			left[k] = b
		}
	}
	for _, f := range fresh {
		if v.origin[f] == nil {
			k := key(f)
			if b, ok := left[k]; ok {
				b.fresh = append(b.fresh, f)
				left[k] = b
			}
		}
	}
	for k, b := range left {
		if len(b.lost) != 1 || len(b.fresh) != 1 {
			continue
		}
		_, byName := k.(string)
		if byName || slices.Equal(b.lost[0].entry.Extents, b.fresh[0].entry.Extents) {
			v.match(b.lost[0], b.fresh[0], ancestor)
		}
	}
}

// match notes that a file of the ancestor's is now another of the version's,
// if that is a regular one and no other's.
func (v *version) match(lost, now *file, ancestor *version) {
	if now == nil || now.entry.Type != layers.Regular || v.origin[now] != nil || ancestor.heir(now) != nil {
		return
	}
	v.moved[lost], v.origin[now] = now, lost
}

// followDirs finds the directories that were moved, by the files that were.
func (v *version) followDirs(lost []*file) {
	to := v.candidates(lost)
	all, there := map[string]int{}, map[string]int{}
	for _, f := range lost {
		for dir, _ := layers.SplitPath(f.names[0]); dir != ""; dir, _ = layers.SplitPath(dir) {
			all[dir]++
			if now := v.find(to[dir] + f.names[0][len(dir):]).file(); now != nil && now.entry.SameContent(f.entry) {
				there[dir]++
			}
		}
	}
	for dir, now := range to {
		if 2*there[dir] > all[dir] && v.find(dir).gone() && !v.implies(dir) {
			v.dirs[dir] = now
			if from, ok := v.dirsFrom[now]; !ok || dir < from {
				v.dirsFrom[now] = dir
			}
		}
	}
}

// candidates returns for directories of files that were moved where most of
// those are now.
func (v *version) candidates(lost []*file) map[string]string {
	type move struct{ from, to string }
	votes, to := map[move]int{}, map[string]string{}
	for _, f := range lost {
		now := v.moved[f]
		if now == nil {
			continue
		}
		from, name := layers.SplitPath(f.names[0])
		there, same := layers.SplitPath(now.names[0])
		for name == same && from != there && from != "" && there != "" {
			m := move{from, there}
			votes[m]++
			if best, ok := to[from]; !ok || votes[m] > votes[move{from, best}] {
				to[from] = there
			}
			from, name = layers.SplitPath(from)
			there, same = layers.SplitPath(there)
		}
	}
	return to
}

// movedDir returns the innermost moved directory that path is in, and where it
// is now.
func (v *version) movedDir(path string) (dir, to string) {
	for dir, _ = layers.SplitPath(path); dir != ""; dir, _ = layers.SplitPath(dir) {
		if to, ok := v.dirs[dir]; ok {
			return dir, to
		}
	}
	return "", ""
}

// movedFrom returns where the directory at path, which the version moved itself
// or with one around it, was in the ancestor, or "".
func (v *version) movedFrom(path string) string {
	for dir := path; dir != ""; dir, _ = layers.SplitPath(dir) {
		if from, ok := v.dirsFrom[dir]; ok {
			return from + path[len(dir):]
		}
	}
	return ""
}

// readdress has what the version added to directories that the other one moved,
// or an entry of such a directory, seen where they are now. What would meet something there stays, and so does what
// lies over something of the layers below that the other version does not hide.
// An opaque directory leaves a whiteout, for what it hides.
func (v *version) readdress(ancestor, other *version) {
	if len(other.dirs) == 0 {
		return
	}
	to := map[int]string{}
	taken := map[string]bool{}
	stays := "/" // no path
	for i := range v.nodes {
		n := &v.nodes[i]
		if under(n.path, stays) {
			continue
		}
		dir, now := other.movedDir(n.path)
		if self, ok := other.dirs[n.path]; ok && n.dir() != nil {
			dir, now = n.path, self
		}
		if dir == "" || n.whiteout() || !ancestor.find(n.path).gone() || !other.find(n.path).gone() {
			continue
		}
		if n.hid != nil && !other.hides(n.path) {
			stays = n.path
			continue
		}
		path := now + n.path[len(dir):]
		if layers.CheckPath(path) != nil || taken[path] || v.find(path) != nil {
			continue
		}
		if at := other.find(path); at.gone() || at.dir() != nil && n.dir() != nil {
			to[i], taken[path] = path, true
		}
	}
	var left []node
	for i, path := range to {
		n := &v.nodes[i]
		if n.entry.Type == layers.Dir && n.entry.Opaque {
			left = append(left, node{path: n.path, entry: &layers.Entry{Path: n.path, Type: layers.Whiteout}, hid: n.hid})
		}
		if f := n.inode; f != nil {
			f.names[slices.Index(f.names, n.path)] = path
		}
		n.path = path
	}
	for i := range to {
		if f := v.nodes[i].inode; f != nil {
			slices.SortFunc(f.names, layers.ComparePaths)
		}
	}
	v.nodes = append(v.nodes, left...)
	slices.SortFunc(v.nodes, func(a, b node) int { return layers.ComparePaths(a.path, b.path) })
}
