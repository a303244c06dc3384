package syncer

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"satchel/store"
)

// cross sends an error over the wire.
func cross(t *testing.T, err error) (status int, got error) {
	t.Helper()
	e, status := ToError(err)
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var received Error
	if err := json.Unmarshal(b, &received); err != nil {
		t.Fatal(err)
	}
	return status, received.Err()
}

func TestErrorsCrossTheWire(t *testing.T) {
	for _, c := range codes {
		t.Run(c.code, func(t *testing.T) {
			sent := fmt.Errorf("push to layer: %w", c.err)
			status, got := cross(t, sent)
			if status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			if got.Error() != "server: "+sent.Error() {
				t.Errorf("message %q, sent %q", got, sent)
			}
			for _, other := range codes {
				if errors.Is(got, other.err) != (other.code == c.code) {
					t.Errorf("taken for %s: %t", other.code, errors.Is(got, other.err))
				}
			}
			_, again := cross(t, got) // as from a server to one behind it
			if !errors.Is(again, c.err) {
				t.Errorf("sent on it is %v", again)
			}
		})
	}
}

func TestMissingErrorCrossesTheWire(t *testing.T) {
	ids := []store.ID{{1}, {2, 3}}
	status, got := cross(t, fmt.Errorf("push: %w", &MissingError{IDs: ids}))
	missing := (*MissingError)(nil)
	if !errors.As(got, &missing) || !slices.Equal(missing.IDs, ids) || status != http.StatusConflict {
		t.Errorf("got %v, status %d", got, status)
	}
}

func TestFaultsStayAtHome(t *testing.T) {
	status, got := cross(t, errors.New("open /srv/secret: permission denied"))
	if status != http.StatusInternalServerError || strings.Contains(got.Error(), "secret") {
		t.Errorf("got %v, status %d", got, status)
	}
	for _, c := range codes {
		if errors.Is(got, c.err) {
			t.Errorf("taken for %s", c.code)
		}
	}
}

func TestUnknownCode(t *testing.T) {
	for _, code := range []string{"", "of a later version"} {
		if err := (Error{Code: code, Message: "no"}).Err(); err == nil || !strings.Contains(err.Error(), "no") {
			t.Errorf("code %q: %v", code, err)
		}
	}
}
