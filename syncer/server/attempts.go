package server

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"satchel/syncer"
)

// Wrong tokens that an address may show: so many at once, and then one in each
// interval. Tokens are far too long to be guessed; this keeps the log and the
// processor from those who try.
const (
	maxAttempts   = 10
	attemptEvery  = 6 * time.Second
	maxAttempters = 4096 // addresses that are remembered
)

// attempts limits how often an address may show wrong tokens.
type attempts struct {
	mu     sync.Mutex
	by     map[netip.Prefix]*attempter
	others *attempter // shared by those for whom there is no room
}

type attempter struct {
	mu    sync.Mutex // held during a try, so that none overtakes the count
	wrong *rate.Limiter
}

func newAttempts() *attempts {
	return &attempts{by: map[netip.Prefix]*attempter{}, others: newAttempter()}
}

func newAttempter() *attempter {
	return &attempter{wrong: rate.NewLimiter(rate.Every(attemptEvery), maxAttempts)}
}

// try calls check unless the address has shown too many wrong tokens lately;
// then it fails with [syncer.ErrUnavailable].
func (a *attempts) try(remote string, check func() error) error {
	t := a.find(remote)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wrong.Tokens() < 1 {
		return fmt.Errorf("too many wrong tokens from this address: %w", syncer.ErrUnavailable)
	}
	err := check()
	if errors.Is(err, syncer.ErrToken) {
		t.wrong.Allow()
	}
	return err
}

func (a *attempts) find(remote string) *attempter {
	key := network(remote)
	a.mu.Lock()
	defer a.mu.Unlock()
	if t, ok := a.by[key]; ok {
		return t
	}
	if len(a.by) >= maxAttempters {
		a.forget()
	}
	if len(a.by) >= maxAttempters {
		return a.others
	}
	t := newAttempter()
	a.by[key] = t
	return t
}

// forget drops the addresses that have nothing against them.
func (a *attempts) forget() {
	for key, t := range a.by {
		if t.wrong.Tokens() >= maxAttempts {
			delete(a.by, key)
		}
	}
}

// network is what counts as one address: of IPv6 the half that a site is given.
func network(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := at.Addr().Unmap().WithZone(""), 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // no address has fewer
	return p
}
