package syncer_test

import (
	"fmt"
	"strings"
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
	{"sync", 8},            //
	{"race", 4},            // a session on each device, then all sync at the same time
	{"work-while-sync", 2}, // a capture lands in the middle of a sync
	{"cut", 4},             // a sync whose connections are cut after n bytes
	{"crash", 4},           // a sync in which power fails at the device's n-th durable step
	{"crash-server", 3},    // a sync in which power fails at the server's n-th durable step
	{"restart", 1},         // the server
	{"rollback", 1},        // to an older version that is here
	{"publish", 1},         // a new version of the operating system
	{"hand-out", 2},        // files for all users
	{"gc", 1},              // of the device
	{"gc-server", 1},       //
	{"forget", 1},          // what the device last heard from the server
}

func (s step) String() string {
	switch s.do {
	case "work", "race", "work-while-sync", "rollback", "publish", "hand-out":
		return fmt.Sprintf("%s %d seed=%d", s.do, s.device, s.n)
	case "cut":
		return fmt.Sprintf("cut %d after=%d bytes", s.device, s.n)
	case "crash", "crash-server":
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
	at := rapid.IntRange(0, total-1).Draw(t, "event")
	for _, e := range events {
		if at -= e.weight; at < 0 {
			s.do = e.do
			break
		}
	}
	switch s.do {
	case "cut":
		s.n = rapid.IntRange(500, 20000).Draw(t, "bytes")
	case "crash", "crash-server":
		s.n = rapid.IntRange(0, 30).Draw(t, "at")
	default:
		s.n = rapid.IntRange(0, 1<<20).Draw(t, "seed")
	}
	return s
}

func drawScript(t *rapid.T) script {
	return rapid.SliceOfN(rapid.Custom(drawStep), 4, 30).Draw(t, "steps")
}

func TestModel(t *testing.T) {
	origin := newOrigin(t)
	for worker := range 2 {
		t.Run(fmt.Sprintf("worker=%d", worker), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				steps := rapid.Custom(drawScript).Draw(rt, "script")
				w := origin.world(rt)
				defer w.close()
				for _, s := range steps {
					w.do(s)
				}
				w.settle()
				w.check()
			})
		})
	}
}
