package device

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"time"

	"github.com/fsnotify/fsnotify"

	"satchel/layers/workspace"
	"satchel/store"
)

// How long to wait for more after a change, and how often to look where no
// change is told of, as on network file systems.
const (
	settle = 500 * time.Millisecond
	lookIn = time.Minute
)

// watch notices what changes in a home: heads, and definitions of workspaces.
type watch struct {
	d    *Device
	fs   *fsnotify.Watcher
	last scene
}

// scene is all that may have to be sent.
type scene struct {
	heads       []store.Head
	definitions []workspace.Definition
	verdicts    []workspace.Verdict
	budget      int64
}

func (d *Device) watch() (*watch, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch the store: %w", err)
	}
	if err := fs.Add(d.opt.Store.Dir()); err != nil {
		return nil, errors.Join(fmt.Errorf("watch the store: %w", err), fs.Close())
	}
	return &watch{d: d, fs: fs}, nil
}

func (w *watch) close() error { return w.fs.Close() }

func (w *watch) scene(ctx context.Context) (s scene, err error) {
	if s.heads, err = w.d.opt.Store.Heads().List(ctx); err != nil {
		return s, err
	}
	s.budget, _ = Budget(w.d.opt.Home) // the next sync reports one that cannot be read
	p := pass{Device: w.d}
	s.definitions, _ = p.definitions() // the next sync reports those that cannot be read
	for i := range s.definitions {
		verdicts, _ := w.d.opt.Workspaces.Verdicts(s.definitions[i].Name) // the same
		s.verdicts = append(s.verdicts, verdicts...)
	}
	return s, nil
}

// look remembers what is there now.
func (w *watch) look(ctx context.Context) (err error) {
	w.last, err = w.scene(ctx)
	return err
}

// wait returns when something is no longer as it was at the last look.
func (w *watch) wait(ctx context.Context) error {
	for {
		now, err := w.scene(ctx)
		if err != nil {
			return err
		}
		if !reflect.DeepEqual(now, w.last) {
			return nil
		}
		if err := w.stir(ctx); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// stir returns some time after the file with the heads was written.
func (w *watch) stir(ctx context.Context) error {
	timer := time.NewTimer(lookIn)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			return nil
		case e, ok := <-w.fs.Events:
			if ok && filepath.Base(e.Name) == "heads.db" {
				timer.Reset(settle)
			}
		case err := <-w.fs.Errors:
			if errors.Is(err, fsnotify.ErrEventOverflow) { // as after a long sync: something has changed
				timer.Reset(settle)
				continue
			}
			return fmt.Errorf("watch the store: %w", err)
		}
	}
}
