package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/trace"
)

// How long a trace is kept before a newer one may take its place, and of how many
// stacks there is one.
const (
	traceLife = 7 * 24 * time.Hour
	maxTraces = 4096
)

// traces keeps boot traces, each in a file that is named after its stack. They are
// advice, and come again, so they are not synced to the disk.
type traces struct{ dir string }

func openTraces(dir string) (*traces, error) {
	return &traces{dir}, os.MkdirAll(dir, 0o700)
}

func (t *traces) path(stack store.ID) string { return filepath.Join(t.dir, stack.String()) }

// read returns the trace of a stack, or fails with [store.ErrNotExist]. One that
// is damaged counts as missing.
func (t *traces) read(stack store.ID) (*trace.Trace, error) {
	b, err := os.ReadFile(t.path(stack))
	if err == nil {
		var got *trace.Trace
		if got, err = trace.Decode(b); err == nil {
			return got, nil
		}
	}
	return nil, fmt.Errorf("trace of stack %s: %w", stack.Short(), store.ErrNotExist)
}

// wanted reports whether a trace would be kept.
func (t *traces) wanted(stack store.ID) bool {
	info, err := os.Stat(t.path(stack))
	if err == nil && time.Since(info.ModTime()) < traceLife {
		_, err = t.read(stack)
		return err != nil
	}
	return true
}

// keep writes a trace. When there are too many the oldest goes.
func (t *traces) keep(stack store.ID, got *trace.Trace) error {
	f, err := os.CreateTemp(t.dir, "tmp-")
	if err != nil {
		return err
	}
	_, err = f.Write(got.Encode())
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), t.path(stack))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return t.trim()
}

func (t *traces) trim() error {
	files, err := os.ReadDir(t.dir)
	if err != nil || len(files) <= maxTraces {
		return err
	}
	type file struct {
		name string
		time time.Time
	}
	var all []file
	for _, f := range files {
		if info, err := f.Info(); err == nil {
			all = append(all, file{f.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b file) int { return b.time.Compare(a.time) })
	for _, f := range all[min(len(all), maxTraces*3/4):] {
		_ = os.Remove(filepath.Join(t.dir, f.name)) // the next time tries again
	}
	return nil
}

// getTrace answers with the trace of a stack. A device that may not read all of
// its layers is told that there is none.
func (s *Server) getTrace(w http.ResponseWriter, r *http.Request, d caller) error {
	stack, err := stackOf(r)
	if err != nil {
		return err
	}
	got, err := s.traces.read(stack)
	if err == nil {
		if _, denied := s.stack(r.Context(), d, got.Stack); denied != nil {
			err = fmt.Errorf("trace of stack %s: %w", stack.Short(), store.ErrNotExist)
		}
	}
	if err != nil {
		return err
	}
	b := got.Encode()
	w.Header().Set("Content-Type", trace.MediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b) // an error here is one of the connection
	return nil
}

// keepTrace takes a trace. It keeps the first of a stack for a while, and of it
// only chunks that the stack's layers reach.
func (s *Server) keepTrace(w http.ResponseWriter, r *http.Request, d caller) error {
	stack, err := stackOf(r)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, int64(trace.MaxBytes)+1))
	if err != nil {
		return cutOff(err)
	}
	got, err := trace.Decode(b)
	if err != nil {
		return fmt.Errorf("%w: %w", syncer.ErrMalformed, err)
	}
	if trace.StackID(s.store.Domain(), got.Stack) != stack {
		return fmt.Errorf("the trace is of another stack: %w", syncer.ErrMalformed)
	}
	sets, err := s.stack(r.Context(), d, got.Stack)
	if err != nil {
		return err
	}
	seen := map[store.ID]bool{}
	got.Chunks = slices.DeleteFunc(got.Chunks, func(id store.ID) bool {
		reached := slices.ContainsFunc(sets, func(x *reached) bool { return x.contents.has(id) })
		again := seen[id]
		seen[id] = true
		return again || !reached
	})
	var kept syncer.TraceKept
	if len(got.Chunks) > 0 && s.traces.wanted(stack) {
		if err := s.traces.keep(stack, got); err != nil {
			return fmt.Errorf("keep trace: %w", err)
		}
		kept.Chunks = len(got.Chunks)
	}
	writeJSON(w, kept)
	return nil
}

func stackOf(r *http.Request) (store.ID, error) {
	id, err := store.ParseID(r.PathValue("id"))
	if err != nil {
		return id, fmt.Errorf("stack: %w: %w", err, syncer.ErrMalformed)
	}
	return id, nil
}

// stack returns what the layers of a stack reach, all of which the device must be
// allowed to read.
func (s *Server) stack(ctx context.Context, d caller, stack []trace.Layer) ([]*reached, error) {
	var sets []*reached
	for _, l := range stack {
		if err := s.allow(d, l.Layer, syncer.Read); err != nil {
			return nil, err
		}
		set, err := s.reached(ctx, l.Layer)
		if err != nil {
			return nil, err
		}
		if !set.versions.has(l.Version) {
			return nil, fmt.Errorf("version %s of layer %s: %w", l.Version.Short(), l.Layer, syncer.ErrForbidden)
		}
		sets = append(sets, set)
	}
	return sets, nil
}
