package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"satchel/layers"
	"satchel/layers/ingest"
	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/layers/tarball"
	"satchel/store"
	"satchel/syncer"
)

const (
	handoutInto  = "home/{user}/Handouts" // where hand-outs go unless it is said
	handoutMark  = "hand-out: "           // begins the messages of the versions that they make
	maxTitle     = 100                    // bytes
	handoutTries = 100                    // races with pushes that a hand-out may lose in one layer
)

// A handout is files on their way to layers.
type handout struct {
	title string
	into  string      // a path, in which {user} stands for a layer's owner
	files layers.Tree // paths below into
	when  time.Time
}

// handout adds the files in a request's body to data layers of the users meant.
// The files are stored once, under a lease that lasts until all heads have
// moved. A layer that fails is told of in the answer, and keeps nobody from
// theirs.
func (s *Server) handout(r *http.Request) (syncer.Handout, error) {
	ctx := r.Context()
	q := r.URL.Query()
	h := handout{title: cmp.Or(q.Get("title"), "hand-out"), into: cmp.Or(q.Get("into"), handoutInto), when: time.Now()}
	out := syncer.Handout{Title: h.title, Layers: []syncer.HandoutResult{}}
	if err := h.check(); err != nil {
		return out, err
	}
	targets, err := s.handoutLayers(syncer.Principal(q.Get("to")), q.Get("workspace"))
	if err != nil {
		return out, err
	}
	w, err := s.store.Begin(ctx, "hand out "+h.title)
	if err != nil {
		return out, fmt.Errorf("hand out: %w", err)
	}
	defer w.Close()
	pl := ingest.New(ctx, w, s.store.Domain())
	if h.files, _, err = tarball.Import(ctx, r.Body, pl, tarball.Options{}); err != nil {
		if w.Flush(ctx) == nil { // it is not the store that failed
			err = fmt.Errorf("%w: %w", err, syncer.ErrMalformed)
		}
		return out, fmt.Errorf("hand out: %w", err)
	}
	if h.files, err = handedFiles(h.files); err != nil {
		return out, err
	}
	for _, e := range h.files {
		if e.Type == layers.Regular {
			out.Files++
			out.Bytes += e.Size
		}
	}
	for _, l := range targets {
		result, err := s.handTo(ctx, w, l, &h)
		if err != nil {
			result.Error = err.Error()
		}
		out.Layers = append(out.Layers, result)
		if err := ctx.Err(); err != nil {
			return out, err
		}
	}
	return out, nil
}

// check reports a title or place that no hand-out may have.
func (h *handout) check() error {
	unprintable := strings.ContainsFunc(h.title, func(r rune) bool { return r < ' ' || r == 0x7f || r == '/' })
	if len(h.title) > maxTitle || unprintable || !utf8.ValidString(h.title) {
		return fmt.Errorf("title %.120q: want 1 to %d bytes, without slashes and control characters: %w", h.title, maxTitle, syncer.ErrMalformed)
	}
	h.into = strings.Trim(h.into, "/")
	if err := layers.CheckPath(h.into); err != nil || strings.HasPrefix(path.Clean(h.into), "..") {
		return fmt.Errorf("place %.200q: not a path: %w", h.into, syncer.ErrMalformed)
	}
	return nil
}

// handoutLayers lists the data layers of workspaces of the users meant, ordered
// by name, those of workspaces of that name only if there is one.
func (s *Server) handoutLayers(to syncer.Principal, workspace string) ([]syncer.LayerInfo, error) {
	meant, err := s.handoutUsers(to)
	if err != nil {
		return nil, err
	}
	works, err := s.registry.Workspaces()
	if err != nil {
		return nil, err
	}
	var found []syncer.LayerInfo
	for _, w := range works {
		if !meant(w.Owner) || workspace != "" && w.Name != workspace {
			continue
		}
		l, err := s.registry.Layer(w.Data)
		if err != nil {
			return nil, err
		}
		found = append(found, l)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("workspace %.80q of %s to hand out to: %w", workspace, to, store.ErrNotExist)
	}
	byName := func(a, b syncer.LayerInfo) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(found, byName)
	return slices.CompactFunc(found, func(a, b syncer.LayerInfo) bool { return a.ID == b.ID }), nil
}

// handoutUsers returns what tells whether a user is meant by a principal.
func (s *Server) handoutUsers(to syncer.Principal) (func(user string) bool, error) {
	if err := to.Check(); err != nil {
		return nil, err
	}
	kind, name, _ := strings.Cut(string(to), ":")
	switch kind {
	case "all":
		return func(string) bool { return true }, nil
	case "user":
		_, err := s.registry.User(name)
		return func(user string) bool { return user == name }, err
	case "group":
		groups, err := s.registry.Groups()
		for _, g := range groups {
			if g.Name == name {
				return func(user string) bool { return slices.Contains(g.Members, user) }, err
			}
		}
		return nil, cmp.Or(err, fmt.Errorf("group %s: %w", name, store.ErrNotExist))
	default:
		return nil, fmt.Errorf("hand out to %s: want user:NAME, group:NAME or all: %w", to, syncer.ErrMalformed)
	}
}

// handTo makes a version of a layer with the files in it. When a device pushes
// meanwhile it begins anew, with what that pushed.
func (s *Server) handTo(ctx context.Context, w store.Writer, l syncer.LayerInfo, h *handout) (syncer.HandoutResult, error) {
	result := syncer.HandoutResult{Layer: l.Name, Owner: l.Owner}
	if err := s.ensureHead(ctx, l); err != nil {
		return result, err
	}
	for try := 1; ; try++ {
		head, err := s.store.Heads().Head(ctx, l.ID)
		if err != nil {
			return result, err
		}
		version, kept, err := s.handToHead(ctx, w, head, l, h)
		if errors.Is(err, store.ErrMoved) && try < handoutTries {
			continue
		}
		if err != nil {
			return result, err
		}
		result.Version, result.Kept = version, kept
		if version != head.Version {
			s.registry.Touch()
		}
		return result, nil
	}
}

// handToHead makes one attempt, at the head that a layer was seen at.
func (s *Server) handToHead(ctx context.Context, w store.Writer, head store.Head, l syncer.LayerInfo, h *handout) (store.ID, []string, error) {
	var old layers.Version
	var tree, base layers.Tree
	var err error
	if !head.Version.IsZero() {
		if old, err = manifest.ReadVersion(ctx, s.store, head.Version); err == nil {
			tree, err = manifest.ReadTree(ctx, s.store, old.Tree)
		}
		if err == nil {
			base, err = manifest.ReadTree(ctx, s.store, old.Base)
		}
		if err != nil {
			return store.ID{}, nil, fmt.Errorf("read layer %s: %w", l.Name, err)
		}
	}
	p := newPlacing(tree, h, l.Owner)
	placed, err := p.place(h.files)
	if err == nil && len(p.kept) > 0 { // now the history matters
		p = newPlacing(tree, h, l.Owner)
		if p.handed, err = s.handedBefore(ctx, head); err == nil {
			placed, err = p.place(h.files)
		}
	}
	if err != nil {
		return store.ID{}, nil, err
	}
	if len(p.added) == 0 {
		return head.Version, p.kept, nil
	}
	ids, err := s.repo.Commit(ctx, w, repo.Commit{Head: head, Kind: l.Kind, Tree: placed, Base: base, Message: handoutMark + h.title})
	if err != nil {
		return store.ID{}, nil, err
	}
	return ids[0], p.kept, nil
}

// handedBefore returns what earlier hand-outs have put where in a layer. A file
// that is still so may be replaced: no user has changed it.
func (s *Server) handedBefore(ctx context.Context, head store.Head) (map[string][]layers.Entry, error) {
	handed := make(map[string][]layers.Entry)
	for e, err := range s.repo.Log(ctx, head) {
		if err != nil {
			return nil, fmt.Errorf("read history of layer %s: %w", head.Name, err)
		}
		v := e.Version
		if v.Device != deviceName || !strings.HasPrefix(v.Message, handoutMark) || len(v.Parents) > 1 {
			continue
		}
		var before layers.Root
		if len(v.Parents) == 1 {
			parent, err := manifest.ReadVersion(ctx, s.store, v.Parents[0])
			if err != nil {
				return nil, fmt.Errorf("read history of layer %s: %w", head.Name, err)
			}
			before = parent.Tree
		}
		for c, err := range manifest.Diff(ctx, s.store, before, v.Tree) {
			if err != nil {
				return nil, fmt.Errorf("read history of layer %s: %w", head.Name, err)
			}
			if c.To != nil {
				handed[c.Path] = append(handed[c.Path], *c.To)
			}
		}
	}
	return handed, nil
}
