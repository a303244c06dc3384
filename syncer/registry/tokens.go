package registry

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"time"

	"satchel/syncer"
)

// What a token is worth unless it is said.
const (
	tokenUses = 1
	tokenLife = 7 * 24 * time.Hour
)

// A tokenRow is a token with the hash of its secret.
type tokenRow struct {
	syncer.Token
	Hash []byte `json:"hash"`
}

// Admin reports whether a token is the administrator's: nil, or [syncer.ErrToken].
func (r *Registry) Admin(secret [32]byte) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if subtle.ConstantTimeCompare(secret[:], r.meta.Admin) != 1 {
		return syncer.ErrToken
	}
	return nil
}

// SetAdmin replaces the administrator's token.
func (r *Registry) SetAdmin(secret [32]byte) error {
	return r.change(func(c *change) error {
		m := meta{r.meta.Server, secret[:]}
		return c.putMeta(m, func() { r.meta = m })
	})
}

// Tokens lists all tokens by ID, without their secrets: those that are used up
// too, until they are out of date and another is made.
func (r *Registry) Tokens() ([]syncer.Token, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]syncer.Token, 0, len(r.tokens.rows))
	for _, id := range r.tokens.sorted() {
		all = append(all, r.tokens.rows[id].Token)
	}
	return all, nil
}

// AddToken adds a token of t's user that is good for t's number of uses, once
// if that is 0, until it expires, in a week if that is not said.
func (r *Registry) AddToken(t syncer.Token, secret [32]byte) (syncer.Token, error) {
	err := r.change(func(c *change) error {
		if _, ok := r.users.rows[t.User]; !ok {
			return notExist("user", t.User)
		}
		now := r.now()
		if t.Uses == 0 {
			t.Uses = tokenUses
		}
		if t.Expires.IsZero() {
			t.Expires = r.time().Add(tokenLife)
		}
		if t.Uses < 0 || !t.Expires.After(now) {
			return malformed("token of %d uses until %s", t.Uses, t.Expires.Format(time.RFC3339))
		}
		for id, old := range r.tokens.rows {
			if !old.Expires.After(now) {
				r.tokens.remove(c, id)
			}
		}
		t.ID, t.Expires, t.Secret = newID(8), t.Expires.UTC(), ""
		return r.tokens.put(c, t.ID, tokenRow{t, secret[:]})
	})
	return t, err
}

// newID returns n random bytes in hexadecimal.
func newID(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// RemoveToken ends a token.
func (r *Registry) RemoveToken(id string) error {
	return r.change(func(c *change) error {
		if _, ok := r.tokens.rows[id]; !ok {
			return notExist("token", id)
		}
		r.tokens.remove(c, id)
		return nil
	})
}

// tokenOf finds the token of a secret that is not out of date. How long it
// takes says nothing of how near a wrong secret came.
func (r *Registry) tokenOf(secret [32]byte) (found tokenRow, ok bool) {
	for _, t := range r.tokens.rows {
		if subtle.ConstantTimeCompare(secret[:], t.Hash) == 1 {
			found, ok = t, true
		}
	}
	return found, ok && found.Expires.After(r.now())
}
