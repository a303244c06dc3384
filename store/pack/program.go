package pack

// How program looks at a frame.
const (
	programLeast  = 1 << 10 // bytes of the shortest that is looked at
	programSample = 16 << 10
	programRuns   = 64
	programCalls  = 100 // at least one call in so many bytes
)

// program reports whether data is mostly code for x86-64: whether what looks
// like a call of a place within 16 MiB is frequent in a sample. In other data
// it hardly occurs.
func program(data []byte) bool {
	if len(data) < programLeast {
		return false
	}
	run, step := len(data), len(data)
	if len(data) > programSample {
		run, step = programSample/programRuns, len(data)/programRuns
	}
	calls, n := 0, 0
	for at := 0; at+run <= len(data); at += step {
		b := data[at : at+run]
		for i := 0; i+4 < len(b); i++ {
			if b[i] == 0xe8 && (b[i+4] == 0 || b[i+4] == 0xff) {
				calls++
			}
		}
		n += len(b)
	}
	return calls*programCalls >= n
}
