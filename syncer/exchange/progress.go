package exchange

import (
	"sync"
	"time"
)

// Progress counts what an exchange has done so far. Its fields only grow.
type Progress struct {
	Chunks  int64 `json:"chunks"`  // chunks moved
	Bytes   int64 `json:"bytes"`   // plaintext bytes of those
	Done    int64 `json:"done"`    // logical bytes of files known to be there now, moved or not
	Total   int64 `json:"total"`   // logical bytes of files in all; 0: not known yet
	Retries int64 `json:"retries"` // tries after a cut
}

// reportEvery is how often progress is told at most.
const reportEvery = 100 * time.Millisecond

// A meter adds up progress and tells it.
type meter struct {
	mu      sync.Mutex
	p       Progress
	report  func(Progress) // may be nil
	last    time.Time
	missing int64 // logical bytes known to be wanted
	settled bool  // all that is wanted is known
}

// of sets what there is in all.
func (m *meter) of(total int64) { m.change(func() { m.p.Total = total }) }

// found counts bytes that were there already.
func (m *meter) found(bytes int64) { m.change(func() { m.p.Done += bytes }) }

// want counts bytes that have to be moved.
func (m *meter) want(bytes int64) { m.change(func() { m.missing += bytes }) }

// moved counts chunks that were moved, and how much of files is in them.
func (m *meter) moved(chunks, bytes, logical int64) {
	m.change(func() {
		m.p.Chunks += chunks
		m.p.Bytes += bytes
		m.p.Done += logical
		m.missing -= logical
	})
}

// brought counts chunks of files that were moved.
func (m *meter) brought(pieces []piece) {
	var s Size
	s.add(pieces)
	m.moved(s.Chunks, s.Bytes, s.Bytes)
}

// settle tells that all that has to be moved is known. What was not looked at is
// there.
func (m *meter) settle() { m.change(func() { m.settled = true }) }

func (m *meter) retry() { m.change(func() { m.p.Retries++ }) }

func (m *meter) change(by func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	by()
	if m.settled && m.p.Total > 0 {
		m.p.Done = max(m.p.Done, m.p.Total-m.missing)
	}
	if m.p.Total > 0 {
		m.p.Done = min(m.p.Done, m.p.Total)
	}
	if m.report != nil && time.Since(m.last) >= reportEvery {
		m.report(m.p)
		m.last = time.Now()
	}
}

// end tells the last state.
func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.report != nil {
		m.report(m.p)
	}
}
