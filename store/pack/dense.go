package pack

// How Dense looks at a chunk.
const (
	denseLeast  = 2 << 10 // shorter chunks are never dense
	denseSample = 4 << 10 // bytes that are looked at, at most
	denseRuns   = 16      // stretches that those are taken from
)

// Dense reports whether data is such that compressing it is not worth the
// time: an archive, a picture, what is encrypted. It looks at a sample, and
// asks how often two bytes of it are equal. For random bytes that is one pair
// in 256, and little more for the output of any compressor; for everything
// else it is far more.
func Dense(data []byte) bool {
	if len(data) < denseLeast {
		return false
	}
	var counts [256]uint64
	n := uint64(0)
	run, step := len(data), len(data)
	if len(data) > denseSample {
		run, step = denseSample/denseRuns, len(data)/denseRuns
	}
	for at := 0; at+run <= len(data); at += step {
		for _, b := range data[at : at+run] {
			counts[b]++
		}
		n += uint64(run)
	}
	pairs := uint64(0) // each counted twice
	for _, c := range counts {
		pairs += c * (c - 1)
	}
	return 4*256*pairs < 5*n*n
}
