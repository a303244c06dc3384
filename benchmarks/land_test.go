package benchmarks

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"satchel/layers"
	"satchel/syncer"
	"satchel/syncer/device"
	"satchel/syncer/publication"
	"satchel/syncer/synctest"
)

// What BenchmarkLand has devices fetch, and by when.
const (
	landDevices = 100
	landFiles   = 400 // of half a megabyte each
	landBy      = 10 * time.Minute
)

// BenchmarkLand publishes an update of 200 MB for an assignment that has it on
// 100 devices within ten minutes, whose agents run. It writes a line for each two
// seconds to the file that SATCHEL_LAND names: seconds, megabytes that the server
// has sent so far, its seconds of processor time, and devices that have landed.
// Homes are made below TMPDIR, and need 12 GB there.
//
//	SATCHEL_LAND=land.txt go test -run '^$' -bench Land -benchtime 1x -timeout 1h ./benchmarks
//	benchmarks/land.py land.txt docs/benchmarks-land.svg
func BenchmarkLand(b *testing.B) {
	ctx := b.Context()
	s := startSchool(b)
	s.homes = s.dir
	s.post("users", syncer.User{Name: "teacher", Publisher: true}, nil)
	teacher := s.enrol("teacher", s.url)
	s.must(teacher.commit(ctx, "base", layers.OS, 1, 20, 50_000))
	_, err := teacher.device.Publish(ctx, "base")
	s.must(err)
	base := s.grantToAll("base")
	key, err := teacher.device.Signer()
	s.must(err)
	say := func(c publication.Content) {
		_, err := teacher.device.Say(ctx, c)
		s.must(err)
	}
	say(publication.Content{AddKey: &publication.KeyChange{Key: key}})
	release := device.Release{Layer: "base", Channel: publication.Stable}
	_, err = teacher.device.Release(ctx, release)
	s.must(err)
	proxy := synctest.NewProxy(b, s.url[len("https://"):], synctest.Faults{})
	pupils := make([]*pupil, landDevices)
	for i := range pupils {
		pupils[i] = s.newPupil(base, "https://"+proxy.Addr())
	}
	syncAll(b, pupils)

	s.must(teacher.commit(ctx, "base", layers.OS, 2, landFiles, 500_000))
	_, err = teacher.device.Publish(ctx, "base")
	s.must(err)
	l := &landing{b: b, school: s, proxy: proxy, landed: make(chan time.Duration, landDevices)}
	b.Cleanup(l.agents.Wait)
	for b.Loop() {
		assigned := publication.Assignment{
			ID: fmt.Sprintf("%032x", b.N), Workspace: "school", To: "all", LandBy: time.Now().Add(landBy),
			OS: publication.Source{Layer: base, Channel: publication.Stable},
		}
		say(publication.Content{Assign: &assigned})
		l.begin(pupils)
		_, err = teacher.device.Release(ctx, release)
		s.must(err)
		l.wait(pupils)
	}
}

// A landing is devices that fetch what was assigned to them.
type landing struct {
	*school
	b      *testing.B
	proxy  *synctest.Proxy
	began  time.Time
	cpu    float64
	sent   int64
	landed chan time.Duration
	agents sync.WaitGroup
}

// begin starts the devices' agents.
func (l *landing) begin(pupils []*pupil) {
	l.began, l.cpu = time.Now(), l.school.cpu()
	_, l.sent = l.proxy.Bytes()
	for _, p := range pupils {
		l.agents.Go(func() {
			err := p.device.Run(l.b.Context(), func(r device.Report, err error) {
				for _, layer := range r.Layers {
					if layer.Name == "base" && !layer.Pulled.IsZero() {
						l.landed <- time.Since(l.began)
					}
				}
			})
			if err != nil && l.b.Context().Err() == nil {
				l.b.Error(err)
			}
		})
	}
}

// wait waits for all of them, and tells how it went.
func (l *landing) wait(pupils []*pupil) {
	out := os.Stdout
	if name := os.Getenv("SATCHEL_LAND"); name != "" {
		f, err := os.Create(name)
		l.must(err)
		defer f.Close()
		out = f
	}
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	var took []float64
	line := func() {
		_, sent := l.proxy.Bytes()
		fmt.Fprintf(out, "%.0f %.1f %.1f %d\n", time.Since(l.began).Seconds(), float64(sent-l.sent)/1e6, l.school.cpu()-l.cpu, len(took))
	}
	for len(took) < len(pupils) {
		select {
		case d := <-l.landed:
			took = append(took, d.Seconds())
		case <-tick.C:
			line()
		}
	}
	line()
	slices.Sort(took)
	_, sent := l.proxy.Bytes()
	l.b.ReportMetric(took[len(took)/2], "s-median")
	l.b.ReportMetric(took[len(took)*9/10], "s-90%")
	l.b.ReportMetric(took[len(took)-1], "s-slowest")
	l.b.ReportMetric(landBy.Seconds(), "s-wanted")
	l.b.ReportMetric(float64(sent-l.sent)/1e6, "server-MB")
	l.b.ReportMetric((l.school.cpu()-l.cpu)/float64(len(pupils))*1000, "server-ms-cpu/device")
	l.b.ReportMetric(l.peak(), "server-MiB")
}
