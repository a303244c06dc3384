package repo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/store"
)

// MinPrefix is how many hexadecimal digits of a version a reference needs.
const MinPrefix = 6

// Resolved is what a reference stands for.
type Resolved struct {
	Head    store.Head // of the layer
	ID      store.ID   // of the version; zero: the layer has none yet
	Version layers.Version
}

// ErrPartial reports a version of which the store holds the record but not the
// trees. A sync can bring them.
var ErrPartial = errors.New("is not on this device")

// ErrThin reports a version whose files have not all been fetched yet. A sync
// fetches them.
var ErrThin = errors.New("is still being fetched")

// Whole fails with [ErrThin] when contents of the version's files may still have
// to come.
func (r *Repo) Whole(ctx context.Context, version store.ID) error {
	thin, err := r.st.Heads().Thin(ctx)
	if err != nil {
		return err
	}
	if _, ok := thin[version]; ok {
		return fmt.Errorf("version %s %w: satchel sync fetches the rest", version.Short(), ErrThin)
	}
	return nil
}

// Resolve finds what a reference stands for. It fails with [store.ErrNotExist]
// when there is no such layer or version. A layer without a version is found
// by its name. With [ErrPartial], what it found is returned all the same.
func (r *Repo) Resolve(ctx context.Context, ref string) (Resolved, error) {
	name, digits, exact := strings.Cut(ref, "@")
	if err := CheckName(name); err != nil {
		return Resolved{}, err
	}
	head, err := r.st.Heads().Lookup(ctx, name)
	if err != nil {
		return Resolved{}, err
	}
	if !exact {
		res := Resolved{Head: head, ID: head.Version}
		if !head.Version.IsZero() {
			if res.Version, err = manifest.ReadVersion(ctx, r.st, head.Version); err != nil {
				return Resolved{}, fmt.Errorf("layer %q: %w", name, err)
			}
		}
		return res, nil
	}
	e, err := r.find(ctx, head, strings.ToLower(digits))
	if err != nil {
		return Resolved{}, fmt.Errorf("layer %q: %w", name, err)
	}
	res := Resolved{head, e.ID, e.Version}
	if e.Partial {
		return res, fmt.Errorf("version %s of layer %s %w: fetch it first: satchel fetch %s@%s", e.ID.Short(), name, ErrPartial, name, e.ID.Short())
	}
	return res, nil
}

// find looks for the one version in a layer's history whose ID begins with
// digits.
func (r *Repo) find(ctx context.Context, head store.Head, digits string) (LogEntry, error) {
	var found LogEntry
	if len(digits) < MinPrefix || len(digits) > hex.EncodedLen(len(found.ID)) || strings.Trim(digits, "0123456789abcdef") != "" {
		return found, fmt.Errorf("version %.70q: want %d to %d hexadecimal digits", digits, MinPrefix, hex.EncodedLen(len(found.ID)))
	}
	for e, err := range r.Log(ctx, head) {
		if err != nil {
			return found, err
		}
		if !strings.HasPrefix(e.ID.String(), digits) {
			continue
		}
		if !found.ID.IsZero() {
			return found, fmt.Errorf("version %s is ambiguous: %s or %s", digits, found.ID, e.ID)
		}
		found = e
	}
	if found.ID.IsZero() {
		return found, fmt.Errorf("version %s %w", digits, store.ErrNotExist)
	}
	return found, nil
}

// A LogEntry is one version of a layer's history.
type LogEntry struct {
	ID      store.ID       `json:"id"`
	Version layers.Version `json:"version"`
	Partial bool           `json:"partial,omitempty"` // the store holds the record only, not the trees
}

// Log yields the history of a layer from its head on, through all parents, each
// version once, the newest first. It ends after the first error.
func (r *Repo) Log(ctx context.Context, head store.Head) iter.Seq2[LogEntry, error] {
	return func(yield func(LogEntry, error) bool) {
		partial, err := r.st.Heads().Partial(ctx)
		if err != nil {
			yield(LogEntry{}, fmt.Errorf("list partial versions: %w", err))
			return
		}
		r.log(ctx, head, partial)(yield)
	}
}

// log is Log, given which versions are partial.
func (r *Repo) log(ctx context.Context, head store.Head, partial map[store.ID]struct{}) iter.Seq2[LogEntry, error] {
	return func(yield func(LogEntry, error) bool) {
		var next []LogEntry // found but not yielded yet, oldest first
		seen := map[store.ID]bool{}
		for found := []store.ID{head.Version}; ; {
			for _, id := range found {
				if id.IsZero() || seen[id] {
					continue
				}
				seen[id] = true
				v, err := manifest.ReadVersion(ctx, r.st, id)
				if err != nil {
					yield(LogEntry{}, err)
					return
				}
				i, _ := slices.BinarySearchFunc(next, v.Time, func(e LogEntry, t time.Time) int { return e.Version.Time.Compare(t) })
				_, recordOnly := partial[id]
				next = slices.Insert(next, i, LogEntry{id, v, recordOnly})
			}
			if len(next) == 0 {
				return
			}
			newest := next[len(next)-1]
			next = next[:len(next)-1]
			if !yield(newest, nil) {
				return
			}
			found = newest.Version.Parents
		}
	}
}

// Number returns how many versions there are in the history of a version, itself
// included: a layer's later versions have larger numbers.
func (r *Repo) Number(ctx context.Context, version store.ID) (number uint64, err error) {
	for _, err := range r.Log(ctx, store.Head{Version: version}) {
		if err != nil {
			return 0, err
		}
		number++
	}
	return number, nil
}

// Info describes a layer.
type Info struct {
	Name     string        `json:"name"`
	Layer    store.LayerID `json:"layer"`
	Kind     layers.Kind   `json:"kind"`    // empty: no version yet
	Version  store.ID      `json:"version"` // zero: no version yet
	Time     time.Time     `json:"time"`    // when that version was made
	Entries  int64         `json:"entries"`
	Files    int64         `json:"files"`
	Bytes    int64         `json:"bytes"`             // logical, of all files
	Versions int           `json:"versions"`          // in the layer's history
	Partial  int           `json:"partial,omitempty"` // of those, how many the store holds only the records of
}

// Layers describes all layers, ordered by name.
func (r *Repo) Layers(ctx context.Context) ([]Info, error) {
	heads, err := r.st.Heads().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list layers: %w", err)
	}
	partial, err := r.st.Heads().Partial(ctx)
	if err != nil {
		return nil, fmt.Errorf("list layers: %w", err)
	}
	infos := make([]Info, 0, len(heads))
	for _, h := range heads {
		info := Info{Name: h.Name, Layer: h.Layer, Version: h.Version}
		for e, err := range r.log(ctx, h, partial) {
			if err != nil {
				return nil, fmt.Errorf("layer %q: %w", h.Name, err)
			}
			info.Versions++
			if e.Partial {
				info.Partial++
			}
			if e.ID == h.Version {
				root := e.Version.Tree
				info.Kind, info.Time = e.Version.Kind, e.Version.Time
				info.Entries, info.Files, info.Bytes = root.Entries, root.Files, root.Bytes
			}
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// Tree returns the tree of the version that a reference stands for. It fails
// with [ErrPartial] when the store has only the version's record.
func (r *Repo) Tree(ctx context.Context, ref string) (layers.Tree, error) {
	res, err := r.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	t, err := manifest.ReadTree(ctx, r.st, res.Version.Tree)
	if err != nil {
		return nil, fmt.Errorf("layer %q: %w", ref, err)
	}
	return t, nil
}
