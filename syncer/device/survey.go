package device

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/store/disk"
)

// A survey is what is old here, and what goes with it.
type survey struct {
	old  []Old // that may go, the oldest first
	stay []Old
	rest int64 // bytes on disk, about, that gc frees as things are
}

// choose returns the versions that have to go for so many bytes, and how many
// that frees, about. What is shared by several goes with the newest of them, so
// those that are older have to go, too.
func (v *survey) choose(want int64) (chosen []Old, freed int64) {
	freed = v.rest
	useful := 0
	for i, o := range v.old {
		if freed >= want {
			break
		}
		if freed += o.Bytes; o.Bytes > 0 {
			useful = i + 1
		}
	}
	return v.old[:useful], freed
}

// survey looks at all histories.
func (s *shedder) survey(ctx context.Context) (*survey, error) {
	heads, err := s.opt.Store.Heads().List(ctx)
	if err != nil {
		return nil, err
	}
	needed, err := s.needed(ctx, heads)
	if err != nil {
		return nil, err
	}
	used := s.fetched()
	may, must := map[store.ID]Old{}, map[store.ID]Old{}
	for _, h := range heads {
		sent, err := s.sent(ctx, h)
		if err != nil {
			return nil, err
		}
		for entry, err := range s.opt.Repo.Log(ctx, h) {
			if err != nil {
				return nil, fmt.Errorf("layer %s: %w", h.Name, err)
			}
			if entry.Partial || entry.ID == h.Version {
				continue
			}
			o := Old{Layer: h.Name, Version: entry.ID, Used: entry.Version.Time, Reason: needed[entry.ID], layer: h.Layer}
			if at, ok := used[entry.ID]; ok && at.After(o.Used) {
				o.Used = at
				if o.Reason == "" && time.Since(at) < rest {
					o.Reason, o.passing = "it was fetched by hand less than a day ago", true
				}
			}
			if o.Reason == "" && sent[entry.ID] {
				may[o.Version] = o
				continue
			}
			if o.Reason == "" {
				o.Reason = "nobody knows that the server has it"
			}
			must[o.Version] = o
		}
	}
	return s.weigh(ctx, heads, may, must)
}

// needed tells of versions why they have to stay, whatever the server has.
func (s *shedder) needed(ctx context.Context, heads []store.Head) (map[store.ID]string, error) {
	needed := map[store.ID]string{}
	for _, base := range s.bases {
		needed[base] = "it is what both sides had at the last sync"
	}
	foundations, err := s.opt.Workspaces.Foundations()
	if err != nil {
		return nil, err
	}
	for _, id := range foundations {
		needed[id] = "a session lies on it"
	}
	kept, err := s.opt.Workspaces.Kept()
	if err != nil {
		return nil, err
	}
	for _, id := range kept {
		needed[id] = "a workspace may have to go back to it"
	}
	for _, h := range heads {
		needed[h.Version] = "it is a layer's head"
	}
	delete(needed, store.ID{})
	// A disk names the version of the os layer that it was started from.
	for id := range needed {
		v, err := manifest.ReadVersion(ctx, s.opt.Store, id)
		if errors.Is(err, store.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if _, known := needed[v.On]; !known && !v.On.IsZero() {
			needed[v.On] = "a disk was started from it"
		}
	}
	return needed, nil
}

// sent returns the versions of a layer's history that the server has: what the
// version descends from that both sides had at the last sync, as far as the server
// still has that. A layer that it does not know is here alone.
func (s *shedder) sent(ctx context.Context, h store.Head) (map[store.ID]bool, error) {
	sent := map[store.ID]bool{}
	shown, ok := s.shown[h.Layer]
	if !ok {
		return sent, nil
	}
	// A server that was set back has no more than leads to what it shows. If the
	// record of that is not here, it has moved on.
	base, err := repo.Base(ctx, s.opt.Store, s.bases[h.Layer], shown)
	if errors.Is(err, store.ErrNotExist) {
		base, err = s.bases[h.Layer], nil
	}
	if err != nil || base.IsZero() {
		return sent, err
	}
	known, err := descends(ctx, s.opt.Store, h.Version, base)
	if err != nil || !known {
		return sent, err
	}
	for entry, err := range s.opt.Repo.Log(ctx, store.Head{Layer: h.Layer, Version: base}) {
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", h.Name, err)
		}
		sent[entry.ID] = true
	}
	return sent, nil
}

// weigh finds out what goes with each version that may go: what neither one that
// stays nor a newer one has.
func (s *shedder) weigh(ctx context.Context, heads []store.Head, may, must map[store.ID]Old) (*survey, error) {
	v := &survey{old: sortedOld(may)}
	for id, o := range must {
		if _, elsewhere := may[id]; !elsewhere {
			v.stay = append(v.stay, o)
		}
	}
	slices.SortFunc(v.stay, older)
	scale, err := s.opt.Store.Scale(ctx)
	if err != nil {
		return nil, err
	}
	all, err := s.opt.Store.Heads().Partial(ctx)
	if err != nil {
		return nil, err
	}
	partial := func(context.Context) (map[store.ID]struct{}, error) { return all, nil }
	whole := manifest.Walk(s.opt.Store, partial)
	for _, o := range v.old {
		all[o.Version] = struct{}{}
	}
	if err := s.walkKept(ctx, scale, whole, heads); err != nil {
		return nil, err
	}
	for i := len(v.old) - 1; i >= 0; i-- {
		delete(all, v.old[i].Version)
		if v.old[i].Bytes, err = scale.Add(ctx, whole, v.old[i].Version); err != nil {
			return nil, fmt.Errorf("version %s of layer %s: %w", v.old[i].Version.Short(), v.old[i].Layer, err)
		}
	}
	v.rest = scale.Rest()
	return v, nil
}

// walkKept walks from all that gc would.
func (s *shedder) walkKept(ctx context.Context, scale *disk.Scale, walk store.Walker, heads []store.Head) error {
	from, err := s.present(ctx, s.opt.Workspaces.Kept, s.opt.Workspaces.Roots)
	if err != nil {
		return err
	}
	for _, h := range heads {
		from[h.Version] = !h.Version.IsZero()
	}
	for id, there := range from {
		if !there {
			continue
		}
		if _, err := scale.Add(ctx, walk, id); err != nil {
			return fmt.Errorf("walk from version %s: %w (satchel store verify tells more)", id.Short(), err)
		}
	}
	return nil
}

func sortedOld(of map[store.ID]Old) []Old {
	all := make([]Old, 0, len(of))
	for _, o := range of {
		all = append(all, o)
	}
	slices.SortFunc(all, older)
	return all
}

func older(a, b Old) int {
	if c := a.Used.Compare(b.Used); c != 0 {
		return c
	}
	return bytes.Compare(a.Version[:], b.Version[:])
}
