package device

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"satchel/layers"
	"satchel/syncer"
	"satchel/syncer/exchange"
)

func TestRetryAfter(t *testing.T) {
	short := fmt.Errorf("layer a: %w", &noRoom{})
	for _, c := range []struct {
		err  error
		want time.Duration
	}{
		{syncer.ErrUnavailable, time.Second},
		{short, roomRetry},
		{errors.Join(short, syncer.ErrUnavailable), time.Second},
	} {
		if got := retryAfter(c.err, time.Second); got != c.want {
			t.Errorf("%v: after %v, want %v", c.err, got, c.want)
		}
	}
}

// TestRoomIsShared asks for room for several versions, one after another, when what
// does not fit does not land.
func TestRoomIsShared(t *testing.T) {
	type ask struct {
		kind       layers.Kind
		most, need int64
		lacking    int64 // 0: it lands
	}
	for _, c := range []struct {
		what string
		left int64
		asks []ask
	}{
		{"what is here already takes no room", 100, []ask{{layers.OS, 90, 10, 0}, {layers.Group, 90, 80, 0}, {layers.Group, 90, 20, 10}}},
		{"the user's own land, and take room from others", 50, []ask{{layers.Data, 90, 60, 0}, {layers.OS, 90, 40, 50}, {layers.System, 1, 1, 0}}},
		{"nothing takes no room", -5, []ask{{layers.OS, 90, 0, 0}}},
	} {
		t.Run(c.what, func(t *testing.T) {
			p := &pass{room: ledger{measured: true, last: true, left: c.left, ratio: 1}}
			for i, a := range c.asks {
				err := p.admit(t.Context(), a.kind)(a.most, func() (exchange.Size, error) {
					return exchange.Size{Chunks: a.need, Bytes: a.need}, nil
				})
				var short *noRoom
				if errors.As(err, &short); (err == nil) != (a.lacking == 0) || short != nil && short.lacking != a.lacking {
					t.Errorf("number %d: %v, which lacks %+v: want %d bytes lacking", i, err, short, a.lacking)
				}
			}
		})
	}
}
