package compose

import (
	"context"
	"path"
	"slices"
	"strings"

	"satchel/layers"
	"satchel/layers/merge"
)

// settleAlternatives makes the links of update-alternatives in the result
// follow from the merged administrative files, for the groups in which more
// than one layer has a say.
func (c *composer) settleAlternatives(ctx context.Context) error {
	files, err := c.groups(ctx)
	if err != nil || len(files) == 0 {
		return err
	}
	links, conflicts := merge.Alternatives(files, func(link string) (target string, ok bool) {
		target, ok, readErr := c.current(ctx, link)
		if readErr != nil {
			err = readErr
		}
		return target, ok
	})
	if err != nil {
		return err
	}
	for _, x := range conflicts {
		x.Layer = c.stack[c.last(x.Path)].Name
		c.out.Conflicts = append(c.out.Conflicts, x)
	}
	pinned := c.pinned()
	for _, l := range links {
		if !pinned[l.Path] && c.out.Tree.Find(merge.AlternativesLinks) != nil {
			c.settle(l)
		}
	}
	return nil
}

// groups returns the administrative files, as they are in the result, of the
// groups that more than one layer touches.
func (c *composer) groups(ctx context.Context) (map[string][]byte, error) {
	touched, known := map[string]int{}, map[string]bool{}
	for _, l := range c.stack {
		here := map[string]bool{}
		for _, dir := range []string{merge.AlternativesDir, merge.AlternativesLinks} {
			for _, e := range l.Tree.Under(dir) {
				name := path.Base(e.Path)
				here[name] = true
				if dir == merge.AlternativesDir && e.Type != layers.Whiteout {
					known[name] = true
				}
			}
		}
		for name := range here {
			touched[name]++
		}
	}
	files := map[string][]byte{}
	for name := range known {
		if touched[name] < 2 {
			continue
		}
		files[name] = nil
		if e := c.out.Tree.Find(merge.AlternativesDir + "/" + name); e != nil {
			data, err := c.readFile(ctx, c.out.Tree, e)
			if err != nil {
				return nil, err
			}
			files[name] = data
		}
	}
	return files, nil
}

// readFile returns the content of an entry of a tree, nil when that is no
// regular file.
func (c *composer) readFile(ctx context.Context, t layers.Tree, e *layers.Entry) ([]byte, error) {
	if e = t.Resolve(e); e == nil || e.Type != layers.Regular {
		return nil, nil
	}
	return c.read(ctx, e)
}

// current returns where a link points in the topmost layer that has it and
// says that its group was set by hand, or else in the topmost that has it.
func (c *composer) current(ctx context.Context, link string) (target string, ok bool, err error) {
	admin := merge.AlternativesDir + "/" + path.Base(link)
	for _, l := range slices.Backward(c.stack) {
		e := l.Tree.Find(link)
		if e == nil {
			continue
		}
		if e = l.Tree.Resolve(e); e == nil || e.Type != layers.Symlink {
			continue
		}
		if !ok {
			target, ok = e.Target, true
		}
		if a := l.Tree.Find(admin); a != nil {
			data, err := c.readFile(ctx, l.Tree, a)
			if err != nil {
				return "", false, err
			}
			if merge.Manual(data) {
				return e.Target, true, nil
			}
		}
	}
	return target, ok, nil
}

// last returns the topmost layer with an entry at a path, or the lowest layer.
func (c *composer) last(path string) int {
	for i := len(c.stack) - 1; i > 0; i-- {
		if c.stack[i].Tree.Find(path) != nil {
			return i
		}
	}
	return 0
}

// pinned returns the links that carry hard links: they are left alone.
func (c *composer) pinned() map[string]bool {
	pinned := map[string]bool{}
	for i := range c.out.Tree {
		if e := &c.out.Tree[i]; e.Type == layers.Hardlink && under(e.Target, merge.AlternativesLinks) {
			pinned[e.Target] = true
		}
	}
	return pinned
}

// settle makes the result have a link as it must be. It never replaces what is
// no symlink.
func (c *composer) settle(l merge.Link) {
	t := c.out.Tree
	i, there := t.Index(l.Path)
	if there && t[i].Type != layers.Symlink && t[i].Type != layers.Hardlink {
		return
	}
	wanted := l.Target != "" && (!l.Slave || exists(t, l.Target))
	switch {
	case !wanted && there:
		c.out.Tree = slices.Delete(t, i, i+1)
		c.out.owners = slices.Delete(c.out.owners, i, i+1)
	case !wanted, there && t.Resolve(&t[i]).Target == l.Target:
	case there:
		e := *t.Resolve(&t[i])
		e.Path, e.Target = l.Path, l.Target
		t[i] = e
	default:
		e := layers.Entry{Path: l.Path, Type: layers.Symlink, Mode: 0o777, Target: l.Target}
		owner := int32(0)
		if dir, ok := t.Index(merge.AlternativesDir); ok {
			e.ModTime, owner = t[dir].ModTime, c.out.owners[dir]
		}
		c.out.Tree = slices.Insert(t, i, e)
		c.out.owners = slices.Insert(c.out.owners, i, owner)
	}
}

// exists reports whether a path leads to something in a tree, through its
// symlinks.
func exists(t layers.Tree, target string) bool {
	const maxLinks = 40 // as in Linux
	rest := strings.Split(target, "/")
	at := ""
	for links := 0; len(rest) > 0; {
		next := path.Join(at, rest[0])
		rest = rest[1:]
		if next == "." || next == ".." {
			next = ""
		}
		e := t.Find(next)
		if e != nil {
			e = t.Resolve(e)
		}
		switch {
		case e == nil:
			return false
		case e.Type != layers.Symlink:
			at = next
			continue
		case links == maxLinks:
			return false
		}
		links++
		if strings.HasPrefix(e.Target, "/") {
			at = ""
		}
		rest = append(strings.Split(e.Target, "/"), rest...)
	}
	return true
}
