package disk

import (
	"math/bits"
	"sync"

	"satchel/store"
	"satchel/store/index"
)

// marks records which chunks a walk has reached: one bit for each candidate,
// which are ordered by ID, and a set of the few that came later.
type marks struct {
	mu         sync.Mutex
	candidates *index.Candidates
	bits       []uint64
	others     map[store.ID]struct{}
}

func newMarks(candidates *index.Candidates) *marks {
	return &marks{
		candidates: candidates,
		bits:       make([]uint64, (candidates.Len()+63)/64),
		others:     map[store.ID]struct{}{},
	}
}

// visit marks a chunk and reports whether that was the first time.
func (m *marks) visit(id store.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.candidates.Find(id)
	if !ok {
		_, seen := m.others[id]
		m.others[id] = struct{}{}
		return !seen
	}
	if m.has(i) {
		return false
	}
	m.bits[i/64] |= 1 << (i % 64)
	return true
}

// has reports whether candidate i was reached.
func (m *marks) has(i int) bool { return m.bits[i/64]&(1<<(i%64)) != 0 }

// count returns how many chunks were reached.
func (m *marks) count() int64 {
	n := len(m.others)
	for _, b := range m.bits {
		n += bits.OnesCount64(b)
	}
	return int64(n)
}
