package deltas_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"satchel/store"
	"satchel/store/delta"
	"satchel/store/disk"
	"satchel/syncer"
	"satchel/syncer/deltas"
)

// random returns bytes that do not compress.
func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = r.Read(b) // never fails
	return b
}

// TestMakeAndApply makes a delta at one end and applies it at another that has
// only the base.
func TestMakeAndApply(t *testing.T) {
	ctx := t.Context()
	sender, err := disk.Create(t.TempDir() + "/sender")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	receiver, err := disk.CreateIn(t.TempDir()+"/receiver", sender.Domain())
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	put := func(st *disk.Store, chunks ...[]byte) []store.ID {
		t.Helper()
		w, err := st.Begin(ctx, "test")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		ids, err := w.Put(ctx, chunks...)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	base := random(1, 300_000)
	edited := slices.Concat(base[:100_000], []byte("an insertion"), base[100_000:250_000])
	from := [][]byte{base[:200_000], base[200_000:]}
	to := [][]byte{edited[:120_000], edited[120_000:]}
	p := syncer.Pair{Base: put(sender, from...), Target: put(sender, to...)}
	put(receiver, from...)

	made, err := deltas.New(sender, sender.Domain()).Make(ctx, &p)
	if err != nil {
		t.Fatal(err)
	}
	if len(made.Data) > 1000 {
		t.Errorf("a delta of %d bytes for an insertion of 12", len(made.Data))
	}
	codec := deltas.New(receiver, receiver.Domain())
	err = codec.Apply(ctx, &p, made, func(chunks [][]byte) error {
		if !slices.EqualFunc(chunks, to, slices.Equal) {
			t.Error("the delta makes other chunks")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}

	never := func([][]byte) error { t.Error("chunks of a delta that is refused"); return nil }
	for name, c := range map[string]struct {
		change func(p *syncer.Pair, d *syncer.Delta)
		want   error
	}{
		"another base":      {func(p *syncer.Pair, _ *syncer.Delta) { p.Base = p.Base[:1] }, syncer.ErrForged},
		"no such base":      {func(p *syncer.Pair, _ *syncer.Delta) { p.Base = []store.ID{{1}} }, store.ErrNotExist},
		"another target":    {func(p *syncer.Pair, _ *syncer.Delta) { p.Target = []store.ID{p.Target[1], p.Target[0]} }, syncer.ErrForged},
		"another length":    {func(_ *syncer.Pair, d *syncer.Delta) { d.Lens = []int{len(to[0]), len(to[1]) - 1} }, syncer.ErrForged},
		"cut off":           {func(_ *syncer.Pair, d *syncer.Delta) { d.Data = d.Data[:len(d.Data)-1] }, syncer.ErrForged},
		"too large a base":  {func(p *syncer.Pair, _ *syncer.Delta) { p.Base = slices.Repeat(p.Base[:1], 1+delta.MaxBase/200_000) }, syncer.ErrTooLarge},
		"too few lengths":   {func(_ *syncer.Pair, d *syncer.Delta) { d.Lens = d.Lens[:1] }, syncer.ErrForged},
		"nothing but bytes": {func(_ *syncer.Pair, d *syncer.Delta) { d.Data = nil }, syncer.ErrForged},
	} {
		q, d := p, made
		c.change(&q, &d)
		if err := codec.Apply(ctx, &q, d, never); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := codec.Make(ctx, &p); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("a delta of what is not there: %v", err)
	}
	large := syncer.Pair{Target: slices.Repeat(p.Target[:1], 1+delta.MaxTarget/len(to[0]))}
	if _, err := deltas.New(sender, sender.Domain()).Make(ctx, &large); !errors.Is(err, syncer.ErrTooLarge) {
		t.Errorf("a delta of too large a target: %v", err)
	}
}

// TestRoomIsGivenBack works on more pairs than there is room for at once, some of
// which fail.
func TestRoomIsGivenBack(t *testing.T) {
	st, err := disk.Create(t.TempDir() + "/store")
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	codec := deltas.New(st, st.Domain())
	p := syncer.Pair{Base: make([]store.ID, 1000), Target: make([]store.ID, 200)}
	for range 10 {
		if _, err := codec.Make(t.Context(), &p); !errors.Is(err, store.ErrNotExist) {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := codec.Apply(ctx, &p, syncer.Delta{Lens: make([]int, 200)}, nil); err == nil {
		t.Error("applied after the end")
	}
}
