package syncer_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// The model-based test of synchronisation. A script is a random sequence of
// what users, networks and machines do to three devices and a server that share
// a workspace. After it all faults end and everybody syncs until nothing moves.
// Then all must agree, and nothing that anybody wrote may be gone.
//
// A failing script is shrunk and printed, one step a line. Longer runs:
//
//	go test ./syncer -run TestModel -rapid.checks=10000 -timeout 6h

// A step is one event of a script.
type step struct {
	do     string
	device int
	n      int // seed, count of bytes or count of durable steps, by what is done
}

// The events and their weights.
var events = []struct {
	do     string
	weight int
}{
	{"work", 10},           // a session: edits, then a capture
	{"lazy", 3},            // another device publishes, and this one takes that before its contents
	{"lazy-cut", 1},        // a lazy sync whose connections are cut once, after n bytes
	{"sync", 8},            //
	{"race", 3},            // a session on each device, then all sync at the same time
	{"work-while-sync", 2}, // a capture lands in the middle of a sync
	{"cut", 4},             // a sync whose connections are cut once, after n bytes
	{"outage", 2},          // a sync whose network is gone after n bytes
	{"crash", 7},           // a sync in which power fails at the device's n-th durable step
	{"crash-server", 7},    // a sync in which power fails at the server's n-th durable step
	{"restart", 1},         // the server
	{"rollback", 1},        // to an older version that is here
	{"publish", 1},         // a new version of the operating system
	{"hand-out", 2},        // files for all users
	{"gc", 1},              // of the device
	{"gc-server", 1},       //
	{"evict", 2},           // the device gives up all old versions that it may
	{"crash-evict", 1},     // the same, in which power fails at the n-th durable step
	{"forget", 1},          // what the device last heard from the server
}

func (s step) String() string {
	switch s.do {
	case "work", "lazy", "race", "work-while-sync", "rollback", "publish", "hand-out":
		return fmt.Sprintf("%s %d seed=%d", s.do, s.device, s.n)
	case "cut", "outage", "lazy-cut":
		return fmt.Sprintf("%s %d after=%d bytes", s.do, s.device, s.n)
	case "crash", "crash-server", "crash-evict":
		return fmt.Sprintf("%s %d at=%d", s.do, s.device, s.n)
	default:
		return fmt.Sprintf("%s %d", s.do, s.device)
	}
}

type script []step

// GoString is how a failing script is printed.
func (s script) GoString() string {
	var b strings.Builder
	for _, st := range s {
		b.WriteString("\n\t" + st.String())
	}
	return b.String()
}

func drawStep(t *rapid.T) step {
	total := 0
	for _, e := range events {
		total += e.weight
	}
	s := step{device: rapid.IntRange(0, devices-1).Draw(t, "device")}
	at := spread(t, "event", 0, total)
	for _, e := range events {
		if at -= e.weight; at < 0 {
			s.do = e.do
			break
		}
	}
	switch s.do {
	case "cut", "lazy-cut":
		s.n = spread(t, "bytes", 500, 12000)
	case "outage":
		s.n = spread(t, "bytes", 500, 5000)
	case "crash", "crash-server":
		s.n = spread(t, "at", 0, 12)
	case "crash-evict":
		s.n = spread(t, "at", 0, 6)
	default:
		s.n = rapid.IntRange(0, 1<<20).Draw(t, "seed")
	}
	return s
}

// spread draws a number from low to below high, all as likely: what rapid draws
// by itself is mostly small, or one of few, so that most connections would be
// cut, and most power fail, before anything has begun. Its bits alone are fair.
func spread(t *rapid.T, label string, low, high int) int {
	n := 0
	for _, bit := range rapid.SliceOfN(rapid.Bool(), 20, 20).Draw(t, label) {
		n <<= 1
		if bit {
			n++
		}
	}
	return low + n%(high-low)
}

func drawScript(t *rapid.T) script {
	return rapid.SliceOfN(rapid.Custom(drawStep), 8, 40).Draw(t, "steps")
}

// workers run scripts at the same time. They are more than processors: syncs
// that were cut, or that race, pause now and then. Parallel tests would be as
// many as processors.
const workers = 3

func TestModel(t *testing.T) {
	origin := newOrigin(t)
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() { t.Run(fmt.Sprintf("worker=%d", worker), origin.scripts) })
	}
	all.Wait()
	if !t.Failed() {
		origin.seen.enough(t)
	}
}

// scripts draws scripts and checks what comes of each.
func (o *origin) scripts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.Custom(drawScript).Draw(rt, "script")
		w := o.world(rt)
		defer w.close()
		for _, s := range steps {
			w.do(s)
		}
		w.settle()
		w.check()
	})
}
