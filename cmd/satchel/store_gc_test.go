package main

import (
	"strings"
	"testing"

	"satchel/store/disk"
)

func TestCollectedIsTold(t *testing.T) {
	for _, c := range []struct {
		freed int64
		want  string
	}{
		{2_500_000, "recompressed: 3 packs became 2, freed 2.5 MB; 4 packs are left"},
		{-1_500_000, "recompressed: 3 packs became 2, for now 1.5 MB more; 4 packs are left"},
	} {
		var out strings.Builder
		writeCollected(&out, collected{Recompressed: &disk.RecompressResult{Packs: 2, Removed: 3, FreedBytes: c.freed, Left: 4}})
		if !strings.Contains(out.String(), c.want) {
			t.Errorf("it says %q, want %q in it", out.String(), c.want)
		}
	}
}
