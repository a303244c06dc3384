package store

import "context"

// LenderOf returns a getter as a [Lender]: one that is none lends what it gives.
func LenderOf(g Getter) Lender {
	if l, ok := g.(Lender); ok {
		return l
	}
	return lending{g}
}

type lending struct{ Getter }

// Locate implements [Lender].
func (l lending) Locate(context.Context, []ID) error { return nil }

// Lend implements [Lender].
func (l lending) Lend(ctx context.Context, ids []ID, use func(chunks [][]byte) error) error {
	return GiveAll(ctx, l, ids, use)
}

// GiveAll calls use with what a getter gives, in the order of the IDs, and
// returns what use does or fails as Get does.
func GiveAll(ctx context.Context, g Getter, ids []ID, use func(chunks [][]byte) error) error {
	chunks := make([][]byte, len(ids))
	for i, id := range ids {
		var err error
		if chunks[i], err = g.Get(ctx, id); err != nil {
			return err
		}
	}
	return use(chunks)
}
