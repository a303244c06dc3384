package nbd

import "iter"

// state returns the run's flags in the context base:allocation.
func (r Run) state() uint32 {
	var s uint32
	if r.Hole {
		s |= stateHole
	}
	if r.Zero {
		s |= stateZero
	}
	return s
}

// merged joins neighbours of the same kind, so that an allocator's detail
// costs the client nothing.
func merged(runs iter.Seq[Run]) iter.Seq[Run] {
	return func(yield func(Run) bool) {
		var last Run
		for r := range runs {
			if last.Length > 0 && last.state() != r.state() {
				if !yield(last) {
					return
				}
				last.Length = 0
			}
			r.Length += last.Length
			last = r
		}
		if last.Length > 0 {
			yield(last)
		}
	}
}
