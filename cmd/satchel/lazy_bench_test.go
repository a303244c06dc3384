package main

import (
	"cmp"
	"os"
	"testing"
	"time"
)

// BenchmarkLazyStart starts a guest with nothing of it here, with a trace of an
// earlier start, and with everything here, over a line of 100 Mbit/s and 20 ms;
// see docs/benchmarks.md. $SATCHEL_BENCH_GUEST may name another guest.
func BenchmarkLazyStart(b *testing.B) {
	c := newCampus(b, cmp.Or(os.Getenv("SATCHEL_BENCH_GUEST"), "os-v1.tar"))
	var stats struct {
		StoredBytes int64 `json:"stored_bytes"`
	}
	c.facts(&stats, c.srv, "store", "stats")
	homes := map[string]string{}
	for _, name := range []string{"laptop", "desk", "whole"} {
		homes[name] = c.enrol(c.line.Addr(), "ana", name)
	}
	satchel(b, homes["whole"], "sync")
	for b.Loop() {
		for _, run := range []struct{ what, home string }{{"lazy", "laptop"}, {"traced", "desk"}, {"local", "whole"}} {
			before, began := c.line.Down(), time.Now()
			boot := c.run(homes[run.home])
			boot.ready()
			b.ReportMetric(time.Since(began).Seconds(), run.what+"-s")
			came := c.line.Down() - before
			a := boot.stop().Arrival
			if a == nil {
				continue
			}
			b.ReportMetric(100*float64(came)/float64(stats.StoredBytes), run.what+"-%")
			b.ReportMetric(float64(a.Missed), run.what+"-misses")
			b.ReportMetric(100*float64(a.Prefetched)/float64(a.Used), run.what+"-prefetched-%")
			b.Logf("%s: %d of %d bytes, %+v", run.what, came, stats.StoredBytes, *a)
		}
	}
}
