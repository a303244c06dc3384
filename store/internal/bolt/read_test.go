package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"satchel/store"
	"satchel/store/durable"
)

// read returns what Read sees of keys in a bucket.
func read(f *File, bucket []byte, keys [][]byte) (values [][]byte, err error) {
	err = f.Read(context.Background(), func(s *Snapshot) error {
		b, err := s.Bucket(bucket)
		if err != nil {
			return err
		}
		for _, k := range keys {
			v, err := b.Get(k)
			if err != nil {
				return err
			}
			values = append(values, bytes.Clone(v))
		}
		return nil
	})
	return values, err
}

// TestReadSeesWhatBboltSees compares the two after changes of all sizes: with
// buckets that lie in their parent, values larger than a page, pages that ran
// empty.
func TestReadSeesWhatBboltSees(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		path := filepath.Join(dir, fmt.Sprint(n))
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{
			PageSize: rapid.SampledFrom([]int{1 << 10, 1 << 12, 1 << 14}).Draw(t, "page size"),
			NoSync:   true,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(path)
		defer db.Close()
		keys := [][]byte{nil, []byte("zzz"), []byte("0")}
		for range rapid.IntRange(1, 4).Draw(t, "transactions") {
			keys = append(keys, change(t, db)...)
		}
		if rapid.Bool().Draw(t, "sorted") {
			slices.SortFunc(keys, bytes.Compare)
		}
		compare(t, db, path, keys)
	})
}

var testBuckets = [][]byte{[]byte("a"), []byte("bucket"), []byte("z")}

// change puts and deletes random keys, and returns them.
func change(t *rapid.T, db *bbolt.DB) (keys [][]byte) {
	count := rapid.SampledFrom([]int{0, 3, 200, 2000}).Draw(t, "count")
	space := rapid.SampledFrom([]int{10, 300, 1 << 16}).Draw(t, "space")
	deletes := rapid.SampledFrom([]int{0, 2, 9}).Draw(t, "deletes of ten")
	large := rapid.SampledFrom([]int{30, 300, 20_000}).Draw(t, "large")
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	err := db.Update(func(tx *bbolt.Tx) error {
		for _, name := range testBuckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		for i := range count {
			b := tx.Bucket(testBuckets[r.IntN(len(testBuckets))])
			key := fmt.Appendf(nil, "%0*d", 4+r.IntN(3)*30, r.IntN(space))
			keys = append(keys, key)
			size := 24
			if i%100 == 0 {
				size = large
			}
			var err error
			if r.IntN(10) < deletes {
				err = b.Delete(key)
			} else {
				err = b.Put(key, bytes.Repeat([]byte{byte(i)}, size))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// list returns what both see from a key on, at most ten keys.
func list(t *rapid.T, want *bbolt.Bucket, got *Tree, start []byte) (wants, gots []string) {
	c := want.Cursor()
	for k, v := c.Seek(start); k != nil && len(wants) < 10; k, v = c.Next() {
		wants = append(wants, fmt.Sprintf("%s %x", k, v))
	}
	err := got.Each(start, func(k, v []byte) (bool, error) {
		gots = append(gots, fmt.Sprintf("%s %x", k, v))
		return len(gots) < 10, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return wants, gots
}

// compare looks for differences between bbolt and a snapshot of the file.
func compare(t *rapid.T, db *bbolt.DB, path string, keys [][]byte) {
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() // read only
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSnapshot(file, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(func(tx *bbolt.Tx) error {
		for _, name := range testBuckets {
			b, err := s.Bucket(name)
			if err != nil {
				return err
			}
			for _, k := range keys {
				got, err := b.Get(k)
				if err != nil {
					return err
				}
				if want := tx.Bucket(name).Get(k); !bytes.Equal(got, want) || (got == nil) != (want == nil) {
					t.Fatalf("bucket %s, key %q: %.40q, want %.40q", name, k, got, want)
				}
			}
			for i := 0; i < len(keys); i += 1 + len(keys)/20 {
				if want, got := list(t, tx.Bucket(name), b, keys[i]); !slices.Equal(got, want) {
					t.Fatalf("bucket %s from key %q: %.200q, want %.200q", name, keys[i], got, want)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestReadTakesTheNewestMeta spoils either of the two pages that say where all
// the others are, as a power cut may: that transaction is not seen then.
func TestReadTakesTheNewestMeta(t *testing.T) {
	f := newFile(t, filepath.Join(t.TempDir(), "db"))
	for _, v := range []string{"old", "new"} {
		if err := set(f, v); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, at := range []int{0, os.Getpagesize()} {
		b := bytes.Clone(whole)
		b[at+pageHeader+metaSize-1] ^= 1
		if err := os.WriteFile(f.Path(), b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := read(f, testBucket, [][]byte{testKey})
		if err != nil {
			t.Fatal(err)
		}
		if want := get(t, f); string(got[0]) != want {
			t.Errorf("page at %d spoilt: %q, want %q", at, got[0], want)
		}
		seen[string(got[0])] = true
	}
	if !seen["old"] || !seen["new"] {
		t.Errorf("seen: %v, want both states", seen)
	}
}

// TestReadWaits has a reader wait for a writer, and sees that it leaves no lock.
func TestReadWaits(t *testing.T) {
	f := newFile(t, filepath.Join(t.TempDir(), "db"))
	release := hold(t, f)
	f.SetPatience(time.Millisecond)
	if _, err := read(f, testBucket, nil); !errors.Is(err, store.ErrBusy) {
		t.Errorf("busy: %v, want %v", err, store.ErrBusy)
	}
	release()
	other := New(f.Path(), durable.FS{}, testFormat)
	other.SetPatience(time.Millisecond)
	err := f.Read(t.Context(), func(*Snapshot) error {
		if err := set(other, "x"); !errors.Is(err, store.ErrBusy) {
			t.Errorf("a change below a reader: %v, want %v", err, store.ErrBusy)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := set(f, "x"); err != nil {
		t.Errorf("after the reader: %v", err)
	}
}

func TestReadRefusesOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	f := newFile(t, path)
	newer, other := testFormat, testFormat
	newer.Version--
	other.Name = "other"
	for what, c := range map[string]struct {
		file   *File
		bucket string
		want   error
	}{
		"missing bucket": {f, "none", store.ErrCorrupt},
		"newer":          {New(path, durable.FS{}, newer), "bucket", store.ErrNewer},
		"other":          {New(path, durable.FS{}, other), "bucket", store.ErrCorrupt},
		"missing":        {New(path+"x", durable.FS{}, testFormat), "bucket", store.ErrCorrupt},
	} {
		if _, err := read(c.file, []byte(c.bucket), nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
}

// FuzzSnapshot damages a database in two places. Reading it must fail with
// ErrCorrupt or succeed, and end.
func FuzzSnapshot(f *testing.F) {
	db := newFile(f, filepath.Join(f.TempDir(), "db"))
	err := db.Update(context.Background(), func(tx *bbolt.Tx) error {
		for i := range 200 {
			if err := tx.Bucket(testBucket).Put(fmt.Appendf(nil, "%032d", i), make([]byte, 24)); err != nil {
				return err
			}
		}
		return tx.Bucket(testBucket).Put([]byte("large"), make([]byte, 9000))
	})
	if err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(db.Path())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), []byte{}, uint32(0), []byte{})
	f.Add(uint32(3*4096+8), []byte{1, 0, 255, 255}, uint32(6*4096+12), []byte{255})
	f.Fuzz(func(t *testing.T, at uint32, b []byte, at2 uint32, b2 []byte) {
		file := bytes.Clone(whole)
		copy(file[int(at)%len(file):], b)
		copy(file[int(at2)%len(file):], b2)
		s, err := newSnapshot(bytes.NewReader(file), int64(len(file)))
		if err == nil {
			_, err = s.root.Get(testBucket)
		}
		if err == nil {
			var tree *Tree
			if tree, err = s.Bucket(testBucket); err == nil {
				for i := 0; i < 200 && err == nil; i += 7 {
					_, err = tree.Get(fmt.Appendf(nil, "%032d", i))
				}
				n := 0
				err = errors.Join(err, tree.Each(nil, func(_, _ []byte) (bool, error) { n++; return true, nil }))
				if n > len(file)/elementSize {
					t.Errorf("%d keys in %d bytes", n, len(file))
				}
			}
		}
		if err != nil && !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("error of no kind: %v", err)
		}
	})
}
