package seen

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/dir"
	"satchel/layers/ingest"
	"satchel/layers/layerstest"
	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/store/disk"
)

var update = flag.Bool("update", false, "write the golden file anew")

const golden = "testdata/v1.seen"

func example() record {
	r := record{root: "/srv/tree", tree: layers.Root{ID: store.ID{1, 2, 31: 3}, Entries: 3, Files: 2, Bytes: 1<<40 + 1}}
	r.stamps = []dir.Stamp{
		{Dev: 0xfe01, Ino: 2, Changed: layers.Time{Sec: 1_700_000_000, Nsec: 999_999_999}},
		{},
		{Dev: 1 << 63, Ino: 1<<64 - 1, Changed: layers.Time{Sec: -1}},
	}
	return r
}

func TestGolden(t *testing.T) {
	b := encode(example())
	if *update {
		if err := os.WriteFile(golden, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Errorf("encodes to\n%x\nwant\n%x", b, want)
	}
	if got, err := decode(want); err != nil || !reflect.DeepEqual(got, example()) {
		t.Errorf("decodes to %+v, error %v; want %+v", got, err, example())
	}
}

func TestEveryDamageIsSeen(t *testing.T) {
	good := encode(example())
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if _, err := decode(bad); !errors.Is(err, store.ErrCorrupt) {
			t.Fatalf("byte %d changed: error %v, want ErrCorrupt", i, err)
		}
		if _, err := decode(good[:i]); !errors.Is(err, store.ErrCorrupt) {
			t.Fatalf("cut to %d bytes: error %v, want ErrCorrupt", i, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(example()))
	f.Add(encode(record{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > sumSize { // else none but the seeds gets past the checksum
			b = seal(b[:len(b)-sumSize])
		}
		r, err := decode(b)
		if err != nil {
			return
		}
		if again := encode(r); !bytes.Equal(again, b) {
			t.Errorf("encodes to %x", again)
		}
	})
}

func TestNewerFormat(t *testing.T) {
	b := encode(example())
	le.PutUint32(b[len(magic):], Version+1)
	if _, err := decode(seal(b[:len(b)-sumSize])); !errors.Is(err, store.ErrNewer) {
		t.Errorf("error %v, want ErrNewer", err)
	}
}

// kept is a directory that was imported and kept.
type kept struct {
	st       *disk.Store
	at, root string
	tree     layers.Tree
	stored   layers.Root
}

func keep(t *testing.T) *kept {
	t.Helper()
	st, err := disk.Create(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	k := &kept{st: st, at: filepath.Join(t.TempDir(), "cache", "seen"), root: t.TempDir()}
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(k.root, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := k.begin(t)
	defer w.Close() // gc may then take what it put
	known := &dir.Known{}
	if k.tree, _, err = dir.Import(t.Context(), k.root, ingest.New(t.Context(), w, st.Domain()), dir.Options{Known: known}); err != nil {
		t.Fatal(err)
	}
	for i := range known.Stamps { // they were too young
		known.Stamps[i] = dir.Stamp{Dev: 1, Ino: uint64(i + 1)}
	}
	if k.stored, err = manifest.WriteTree(t.Context(), w, k.tree); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Flush(t.Context()), Save(k.at, k.root, known, k.stored)); err != nil {
		t.Fatal(err)
	}
	return k
}

// begin returns a writer that is closed with the test at the latest.
func (k *kept) begin(t *testing.T) store.Writer {
	t.Helper()
	w, err := k.st.Begin(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// lacking says that a store does not hold one chunk.
type lacking struct {
	store.Haser
	id store.ID
}

func (l lacking) Has(ctx context.Context, ids []store.ID) ([]bool, error) {
	has, err := l.Haser.Has(ctx, ids)
	for i, id := range ids {
		has[i] = has[i] && id != l.id
	}
	return has, err
}

func TestLoad(t *testing.T) {
	k := keep(t)
	w := k.begin(t)
	known, root, err := Load(t.Context(), k.at, k.root, k.st, w)
	if err != nil || root != k.stored || len(known.Tree) != 3 || len(known.Stamps) != 3 {
		t.Fatalf("known %+v, root %v, error %v", known, root, err)
	}
	for i, s := range known.Stamps {
		if s.Ino != uint64(i+1) || !known.Tree[i].Same(&k.tree[i]) {
			t.Errorf("entry %d: %+v with stamp %+v", i, known.Tree[i], s)
		}
	}
	b := k.tree.Find("b").Extents[0].ID
	known, _, err = Load(t.Context(), k.at, k.root, k.st, lacking{w, b})
	if err != nil || known.Stamps[1] == (dir.Stamp{}) || known.Stamps[2] != (dir.Stamp{}) {
		t.Errorf("stamps %v, error %v: want none of b, whose chunk is missing", known.Stamps, err)
	}
}

// TestNothingIsKnown wants an import that cannot go by what is kept to know
// nothing, and to say so only if something is wrong.
func TestNothingIsKnown(t *testing.T) {
	cases := []struct {
		name   string
		change func(t *testing.T, k *kept)
		want   error
	}{
		{"no file", func(t *testing.T, k *kept) { rewrite(t, k, nil) }, nil},
		{"a damaged file", func(t *testing.T, k *kept) {
			rewrite(t, k, func(b []byte) []byte { b[len(b)/2]++; return b })
		}, store.ErrCorrupt},
		{"an empty file", func(t *testing.T, k *kept) { rewrite(t, k, func([]byte) []byte { return nil }) }, store.ErrCorrupt},
		{"a file of another directory", func(t *testing.T, k *kept) {
			rewrite(t, k, func([]byte) []byte {
				return encode(record{root: k.root + "x", tree: k.stored, stamps: make([]dir.Stamp, 3)})
			})
		}, nil},
		{"a tree of another size", func(t *testing.T, k *kept) {
			k.stored.Entries = 2
			rewrite(t, k, func([]byte) []byte { return encode(record{root: k.root, tree: k.stored, stamps: make([]dir.Stamp, 2)}) })
		}, store.ErrCorrupt},
		{"gc has taken the tree", func(t *testing.T, k *kept) {
			for range 3 {
				if _, err := k.st.GC(t.Context(), repo.New(k.st, "test").Walker()); err != nil {
					t.Fatal(err)
				}
			}
		}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			k := keep(t)
			c.change(t, k)
			known, root, err := Load(t.Context(), k.at, k.root, k.st, k.begin(t))
			if !errors.Is(err, c.want) || len(known.Tree) > 0 || len(known.Stamps) > 0 || root != (layers.Root{}) {
				t.Errorf("known %+v, root %v, error %v; want nothing, and error %v", known, root, err, c.want)
			}
		})
	}
}

// rewrite changes the one file there is, or removes it.
func rewrite(t *testing.T, k *kept, change func([]byte) []byte) {
	t.Helper()
	file := name(k.at, k.root)
	b, err := os.ReadFile(file)
	if err == nil && change == nil {
		err = os.Remove(file)
	} else if err == nil {
		err = os.WriteFile(file, change(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestOldFilesAreRemoved(t *testing.T) {
	at := t.TempDir()
	for i := range maxFiles + 3 {
		root := fmt.Sprintf("/%d", i)
		if err := Save(at, root, &dir.Known{}, layers.Root{}); err != nil {
			t.Fatal(err)
		}
		old := time.Unix(int64(1_000_000+i), 0)
		if err := os.Chtimes(name(at, root), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := prune(at); err != nil {
		t.Fatal(err)
	}
	st := layerstest.NewStore()
	for i, want := range map[int]bool{0: false, 2: false, 3: true, maxFiles + 2: true} {
		_, err := os.Stat(name(at, fmt.Sprintf("/%d", i)))
		if (err == nil) != want {
			t.Errorf("file of directory %d: %v, want it there: %v", i, err, want)
		}
	}
	if _, _, err := Load(t.Context(), at, "/0", st, st); err != nil {
		t.Error(err)
	}
}
