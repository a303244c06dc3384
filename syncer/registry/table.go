package registry

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"
)

// A table is the rows of one bucket, by key. A row is never changed in place,
// slices in it included: whoever has read one keeps what was read.
type table[V any] struct {
	bucket []byte
	rows   map[string]V
}

func newTable[V any](bucket string) table[V] {
	return table[V]{[]byte(bucket), make(map[string]V)}
}

// load reads the bucket, if there is one yet.
func (t *table[V]) load(tx *bbolt.Tx) error {
	b := tx.Bucket(t.bucket)
	if b == nil {
		return nil
	}
	return b.ForEach(func(key, value []byte) error {
		var row V
		if err := json.Unmarshal(value, &row); err != nil {
			return fmt.Errorf("%s %q: %w", t.bucket, key, err)
		}
		t.rows[string(key)] = row
		return nil
	})
}

// put adds or replaces a row as part of a change.
func (t *table[V]) put(c *change, key string, row V) error {
	value, err := json.Marshal(row)
	if err != nil {
		return err
	}
	c.writes = append(c.writes, write{t.bucket, []byte(key), value})
	c.then(func() { t.rows[key] = row })
	return nil
}

// remove takes a row away as part of a change.
func (t *table[V]) remove(c *change, key string) {
	c.writes = append(c.writes, write{t.bucket, []byte(key), nil})
	c.then(func() { delete(t.rows, key) })
}

// sorted returns the keys in order.
func (t *table[V]) sorted() []string { return slices.Sorted(maps.Keys(t.rows)) }

// countOf counts rows.
func countOf[V any](rows map[string]V, is func(V) bool) (n int) {
	for _, row := range rows {
		if is(row) {
			n++
		}
	}
	return n
}

// A change is what one call does: first to the file, then in memory.
type change struct {
	writes  []write
	effects []func()
}

type write struct {
	bucket, key, value []byte // no value: the row goes
}

// then has fn called when the change is durable, before anybody sees it.
func (c *change) then(fn func()) { c.effects = append(c.effects, fn) }

// putMeta replaces what the registry says of itself, as part of a change.
func (c *change) putMeta(m meta, then func()) error {
	value, err := json.Marshal(m)
	if err != nil {
		return err
	}
	c.writes = append(c.writes, write{metaBucket, metaKey, value})
	c.then(then)
	return nil
}

func (c *change) commit(tx *bbolt.Tx) error {
	for _, w := range c.writes {
		b, err := tx.CreateBucketIfNotExists(w.bucket)
		if err != nil {
			return err
		}
		if w.value == nil {
			err = b.Delete(w.key)
		} else {
			err = b.Put(w.key, w.value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// change makes a change. What plan reads of the tables stays as it is until the
// change is visible, since there is only one at a time; other readers wait for
// the end of it only, not for the disk. A plan that fails, or plans nothing,
// changes nothing. The rows that it returns to its caller it has from the plan.
func (r *Registry) change(plan func(c *change) error) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	c := &change{}
	if err := plan(c); err != nil || len(c.writes) == 0 {
		return err
	}
	if err := r.db.Update(c.commit); err != nil {
		return fmt.Errorf("write registry: %w", err)
	}
	r.mu.Lock()
	for _, effect := range c.effects {
		effect()
	}
	r.views.Clear()
	r.mu.Unlock()
	r.Touch()
	return nil
}
