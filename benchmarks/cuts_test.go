package benchmarks

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"satchel/layers"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/synctest"
)

const (
	cutFiles = 2000 // of a megabyte each, half of that on the wire
	cuts     = 50
)

// BenchmarkCuts fetches a layer of a gigabyte on the wire, once in one go and
// once over a line that is cut off 50 times after random numbers of bytes, with
// all its connections at once. It counts what the line delivered, both ways.
// The line is as fast as loopback is, or carries so much a second for each
// connection, which is less than a device takes.
//
//	go test -run '^$' -bench Cuts -benchtime 1x ./benchmarks
func BenchmarkCuts(b *testing.B) {
	for name, rate := range map[string]int{"loopback": 0, "20MBps": 20e6} {
		b.Run("line="+name, func(b *testing.B) { cutLine(b, rate) })
	}
}

func cutLine(b *testing.B, rate int) {
	ctx := b.Context()
	s := startSchool(b)
	s.post("users", syncer.User{Name: "teacher", Publisher: true}, nil)
	teacher := s.enrol("teacher", s.url)
	s.must(teacher.commit(ctx, "base", layers.OS, 1, cutFiles, 1_000_000))
	s.must(teacher.makeWorkspace(ctx, "desk"))
	_, err := teacher.device.Sync(ctx)
	s.must(err)
	base := s.grantToAll("base")
	r := rand.New(rand.NewPCG(1, 1))
	for b.Loop() {
		whole, _ := s.fetchCut(base, rate, nil)
		at := make([]int64, cuts)
		for i := range at {
			at[i] = r.Int64N(whole)
		}
		slices.Sort(at)
		moved, made := s.fetchCut(base, rate, at)
		b.ReportMetric(float64(whole)/1e6, "MB-uncut")
		b.ReportMetric(float64(moved)/1e6, "MB-cut")
		b.ReportMetric(float64(moved)/float64(whole), "ratio")
		b.ReportMetric(float64(made), "cuts")
	}
}

// fetchCut has a new device fetch an operating system over a line that is cut
// off when it has delivered so many bytes, and returns how many it delivered in
// all and how often it was cut off.
func (s *school) fetchCut(base store.LayerID, rate int, at []int64) (moved int64, made int) {
	s.b.Helper()
	proxy := synctest.NewProxy(s.b, strings.TrimPrefix(s.url, "https://"), synctest.Faults{Rate: rate})
	p := s.newPupil(base, "https://"+proxy.Addr())
	delivered := func() int64 { up, down := proxy.Bytes(); return up + down }
	before := delivered()
	ctx, stop := context.WithCancel(s.b.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for len(at) > 0 && ctx.Err() == nil {
			if delivered()-before < at[0] {
				time.Sleep(100 * time.Microsecond)
				continue
			}
			proxy.CutAll()
			at = at[1:]
			made++
		}
	}()
	_, err := p.device.Sync(ctx)
	stop()
	<-ended
	s.must(err)
	return delivered() - before, made
}
