package overlay

import "testing"

// TestBitsAreFreshBeforeTheyAreSeen: who finds a bit set, and leaves it at that, can
// have the next take find it.
func TestBitsAreFreshBeforeTheyAreSeen(t *testing.T) {
	const blocks = 1 << 20
	present, fresh := newBitmap(blocks), newFreshBits(blocks)
	taken := newBitmap(blocks)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range int64(blocks) {
			fresh.set(&present, i, i+1)
		}
	}()
	for first := int64(0); first < blocks; {
		seen := present.next(first, blocks, false)
		for _, w := range fresh.take() {
			taken[w.word] |= w.bits
		}
		if i := taken.next(first, seen, false); i < seen {
			t.Fatalf("block %d of %d: its bit is set, and no take has found it", i, seen)
		}
		first = seen
	}
	<-done
}
