package dir

import (
	"fmt"
	"strings"

	"satchel/layers"
)

// A walk goes through a tree and a directory that holds it side by side.
type walk struct {
	tree layers.Tree

	// visit is called with each entry but the root's, in order, with its name
	// and directory.
	visit func(fd int, name string, e *layers.Entry) error
	// implied is called before a directory without an entry is entered.
	implied func(fd int, name string) error
	// leave is called with each directory, after all that is in it; the entry
	// is nil if it has none.
	leave func(fd int, e *layers.Entry) error

	stack stack
	path  string          // of the top directory
	dirs  []*layers.Entry // of the stack
}

func (w *walk) run(root string) error {
	defer w.stack.close()
	if err := w.stack.push(root); err != nil {
		return err
	}
	w.dirs = append(w.dirs, w.tree.Find(""))
	for i := range w.tree {
		e := &w.tree[i]
		if e.Path == "" {
			continue
		}
		if err := w.step(e); err != nil {
			return fmt.Errorf("%q: %w", e.Path, err)
		}
	}
	for len(w.stack) > 0 {
		if err := w.pop(); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) step(e *layers.Entry) error {
	dir, name := layers.SplitPath(e.Path)
	if err := w.enter(dir); err != nil {
		return err
	}
	if w.visit != nil {
		if err := w.visit(w.stack.fd(), name, e); err != nil {
			return err
		}
	}
	if e.Type == layers.Dir {
		return w.push(name, e)
	}
	return nil
}

// enter makes dir the top directory.
func (w *walk) enter(dir string) error {
	for w.path != "" && dir != w.path && !strings.HasPrefix(dir, w.path+"/") {
		if err := w.pop(); err != nil {
			return err
		}
	}
	for dir != w.path {
		rest := dir
		if w.path != "" {
			rest = dir[len(w.path)+1:]
		}
		name, _, _ := strings.Cut(rest, "/")
		if w.implied != nil {
			if err := w.implied(w.stack.fd(), name); err != nil {
				return err
			}
		}
		if err := w.push(name, nil); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) push(name string, e *layers.Entry) error {
	if err := w.stack.push(name); err != nil {
		return err
	}
	w.dirs = append(w.dirs, e)
	if w.path != "" {
		name = w.path + "/" + name
	}
	w.path = name
	return nil
}

func (w *walk) pop() error {
	top := w.dirs[len(w.dirs)-1]
	err := w.stack.pop(func(fd int) error {
		if w.leave == nil {
			return nil
		}
		return w.leave(fd, top)
	})
	if err != nil {
		return fmt.Errorf("%q: %w", w.path, err)
	}
	w.dirs = w.dirs[:len(w.dirs)-1]
	w.path, _ = layers.SplitPath(w.path)
	return nil
}
