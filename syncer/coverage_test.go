package syncer_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"satchel/syncer"
	"satchel/syncer/device"
)

// seen counts what scripts met, by name. A test that passes because nothing
// happens in it is worth nothing.
type seen struct {
	mu     sync.Mutex
	counts map[string]int
}

func (s *seen) add(what string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == nil {
		s.counts = map[string]int{}
	}
	s.counts[what] += n
}

// hit counts a try, and whether it hit.
func (s *seen) hit(what string, hit bool) {
	s.add(what, 1)
	if hit {
		s.add(what+" that hit", 1)
	}
}

// report counts what a sync did.
func (s *seen) report(r device.Report) {
	for _, l := range r.Layers {
		if l.Found != "" && l.Found != syncer.Equal {
			s.add("found "+string(l.Found), 1)
		}
		if !l.Merged.IsZero() {
			s.add("merges", 1)
		}
		s.add("conflicts", len(l.Conflicts))
		s.add("retries", int(l.Moved.Retries))
	}
}

func (s *seen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for what, n := range s.counts {
		all = append(all, fmt.Sprintf("%s: %d", what, n))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// enough fails when something was met less than once in so many scripts.
func (s *seen) enough(t *testing.T) {
	t.Logf("what happened:\n%s", s)
	s.mu.Lock()
	defer s.mu.Unlock()
	scripts := s.counts["scripts"]
	if scripts < 100 {
		return
	}
	for what, every := range map[string]int{
		"found ahead": 1, "found behind": 1, "found diverged": 1, "merges": 1, "conflicts": 12, "retries": 15,
		"cuts that hit": 4, "outages that hit": 4, "crashes that hit": 4, "crashes of the server that hit": 4, "thin versions that hit": 10,
		"evictions that hit": 8, "crashes of evictions that hit": 30,
		"hard links": 5, "symbolic links": 8, "whiteouts": 6, "directories": 4, "kept files": 12,
	} {
		if s.counts[what]*every < scripts {
			t.Errorf("%s: %d in %d scripts", what, s.counts[what], scripts)
		}
	}
}
