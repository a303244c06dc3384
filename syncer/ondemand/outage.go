package ondemand

import (
	"sync"
	"time"
)

// An outage is a time without a server. A person is told when it begins and when
// it ends.
type outage struct {
	mu    sync.Mutex
	since time.Time // zero: there is none
}

func (o *outage) begin(note func(string, ...any), err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.since.IsZero() {
		return
	}
	o.since = time.Now()
	note("the guest waits for its disk since %s: %v; it goes on when the server can be reached again", o.since.Format(time.TimeOnly), err)
}

func (o *outage) end(note func(string, ...any)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		return
	}
	note("the server can be reached again after %.0f s: the guest goes on", time.Since(o.since).Seconds())
	o.since = time.Time{}
}
