package syncer

import (
	"testing"

	"satchel/store"
)

// TestReconcile is the truth table. The letters are versions, - is none; equal
// letters are equal versions, so these are all cases that can be told apart.
func TestReconcile(t *testing.T) {
	for _, test := range []struct {
		base, local, remote string
		want                Relation
		why                 string
	}{
		{"-", "-", "-", Equal, "neither side has anything"},
		{"-", "A", "A", Equal, "both got it elsewhere"},
		{"A", "A", "A", Equal, "nothing has happened"},
		{"A", "-", "-", Equal, "both have lost it"},
		{"A", "B", "B", Equal, "both have moved to the same"},

		{"-", "A", "-", Ahead, "a new layer of the device"},
		{"A", "B", "A", Ahead, "the device has committed"},
		{"A", "-", "A", Ahead, "the device has lost it"},

		{"-", "-", "A", Behind, "a new layer of the server"},
		{"A", "A", "B", Behind, "the server has moved on"},
		{"A", "A", "-", Behind, "the server has lost it"},

		{"-", "A", "B", Diverged, "two histories that share nothing"},
		{"A", "B", "C", Diverged, "both have moved"},
		{"A", "B", "-", Diverged, "the device has moved, the server has lost it"},
		{"A", "-", "B", Diverged, "the server has moved, the device has lost it"},
	} {
		id := func(s string) store.ID {
			if s == "-" {
				return store.ID{}
			}
			return store.ID{s[0]}
		}
		t.Run(test.base+test.local+test.remote, func(t *testing.T) {
			if got := Reconcile(id(test.base), id(test.local), id(test.remote)); got != test.want {
				t.Errorf("got %s, want %s: %s", got, test.want, test.why)
			}
		})
	}
}

// TestReconcileMirrored says that the other side sees the same from its end.
func TestReconcileMirrored(t *testing.T) {
	mirror := map[Relation]Relation{Equal: Equal, Ahead: Behind, Behind: Ahead, Diverged: Diverged}
	ids := []store.ID{{}, {1}, {2}, {3}}
	for _, base := range ids {
		for _, local := range ids {
			for _, remote := range ids {
				if got, want := Reconcile(base, remote, local), mirror[Reconcile(base, local, remote)]; got != want {
					t.Errorf("base %.4s, local %.4s, remote %.4s: the other side sees %s, want %s", base, local, remote, got, want)
				}
			}
		}
	}
}
