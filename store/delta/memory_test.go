package delta_test

import (
	"bytes"
	"runtime"
	"testing"

	"satchel/store/delta"
)

// TestMemoryIsBounded counts all that a first call at the largest sizes
// allocates, beside its inputs and result.
func TestMemoryIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("codes the largest spans")
	}
	allocated := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.GC() // twice, to empty the pools
		runtime.GC()
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	base := delta.Span{Data: program(1, delta.MaxBase, 0, 0)}
	target := delta.Span{Data: program(1, delta.MaxTarget-320, delta.MaxTarget/2, 320)}
	d := make([]byte, 0, delta.MaxTarget+1)
	if n := allocated(func() { d = delta.Encode(d, base, target) }); n > 56<<20 {
		t.Errorf("Encode allocated %d bytes", n)
	}
	if len(d) > len(target.Data)/2 {
		t.Fatalf("delta has %d bytes for %d: it was not coded", len(d), len(target.Data))
	}
	got := make([]byte, 0, delta.MaxTarget)
	if n := allocated(func() { got, _ = delta.Decode(got, base, 0, len(target.Data), d) }); n > 8<<20 {
		t.Errorf("Decode allocated %d bytes", n)
	}
	if !bytes.Equal(got, target.Data) {
		t.Error("Decode returned other bytes than were encoded")
	}
}
