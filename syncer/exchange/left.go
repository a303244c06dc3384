package exchange

import (
	"context"
	"fmt"

	"satchel/store"
	"satchel/store/disk"
)

// Left tells, without asking anybody, how much a version whose manifests are
// here consists of, and how much of that is not here yet.
func Left(ctx context.Context, st *disk.Store, version store.ID) (all, left Size, err error) {
	seen := idSet{}
	err = newNeeds(st).version(ctx, version, nil, func(ctx context.Context, ps []piece) error {
		fresh := make([]piece, 0, len(ps))
		for _, p := range ps {
			if seen.add(p.id) {
				fresh = append(fresh, p)
			}
		}
		has, err := st.Has(ctx, idsOf(fresh))
		if err != nil {
			return err
		}
		all.add(fresh)
		for i, p := range fresh {
			if !has[i] {
				left.add([]piece{p})
			}
		}
		return nil
	})
	if err != nil {
		return Size{}, Size{}, fmt.Errorf("measure version %s: %w", version.Short(), err)
	}
	return all, left, nil
}
