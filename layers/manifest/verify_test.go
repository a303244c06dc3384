package manifest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/layerstest"
	"satchel/store"
)

func none(store.ID) bool { return false }

// file is a file of one chunk.
func file(path string, n byte) layers.Entry {
	return layers.Entry{Path: path, Type: layers.Regular, Size: 3, Extents: []layers.Extent{{ID: store.ID{n, 0xff}, Len: 3}}}
}

func fifo(path string) layers.Entry { return layers.Entry{Path: path, Type: layers.Fifo} }

func hardlink(path, target string) layers.Entry {
	return layers.Entry{Path: path, Type: layers.Hardlink, Target: target}
}

// numbered returns n files of chunks of their own.
func numbered(n int) (t layers.Tree) {
	for i := range n {
		e := file(fmt.Sprintf("d/%05d", i), 0)
		e.Extents[0].ID = store.ID{byte(i), byte(i >> 8), 1}
		t = append(t, e)
	}
	return t
}

// verify returns the chunks of contents that Verify hands over.
func verify(st *layerstest.Store, version store.ID, known func(store.ID) bool) (map[store.ID]bool, error) {
	seen := map[store.ID]bool{}
	err := Verify(context.Background(), st, version, known, func(ids []store.ID) error {
		if len(ids) == 0 || len(ids) > verifyContents {
			return fmt.Errorf("batch of %d", len(ids))
		}
		for _, id := range ids {
			seen[id] = true
		}
		return nil
	})
	return seen, err
}

func contentsOf(trees ...layers.Tree) map[store.ID]bool {
	ids := map[store.ID]bool{}
	for _, t := range trees {
		for i := range t {
			for _, x := range t[i].Extents {
				ids[x.ID] = true
			}
		}
	}
	delete(ids, store.ID{})
	return ids
}

func TestVerifyTakesWhatIsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := layerstest.NewStore()
		tree, base := layerstest.RandomTree(200).Draw(t, "tree"), layerstest.RandomTree(10).Draw(t, "base")
		id, err := Write(context.Background(), st, layers.Version{Kind: layers.Data}, tree, base)
		if err != nil {
			t.Fatal(err)
		}
		got, err := verify(st, id, none)
		if err != nil || !maps.Equal(got, contentsOf(tree, base)) {
			t.Fatalf("%d chunks of contents, want %d; error %v", len(got), len(contentsOf(tree, base)), err)
		}
	})
}

// TestVerifyAgreesWithReaders flips each bit of each chunk of a version: what
// readers report is refused, and what they take is taken if the roots are right.
func TestVerifyAgreesWithReaders(t *testing.T) {
	st := layerstest.NewStore()
	tree := layers.Tree{{Type: layers.Dir, Mode: 0o755}, file("a", 1), hardlink("b", "a"), file("c", 3), fifo("d")}
	for range 40 {
		tree[3].Extents = append(tree[3].Extents, layers.Extent{ID: store.ID{9}, Len: 1})
		tree[3].Size++
	}
	v := layers.Version{Kind: layers.Data}
	root, err := WriteTree(t.Context(), st, tree)
	if err != nil {
		t.Fatal(err)
	}
	v.Tree = root
	good, err := st.Get(t.Context(), root.ID)
	if err != nil {
		t.Fatal(err)
	}
	taken := 0
	for i := range len(good) * 8 {
		bad := slices.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		v.Tree.ID = put(t, st, bad)
		read, readErr := ReadTree(t.Context(), st, v.Tree)
		if readErr == nil {
			again, err := WriteTree(t.Context(), layerstest.NewStore(), read)
			if err != nil || again.Files != root.Files || again.Bytes != root.Bytes {
				readErr = errors.New("counts differ")
			}
		}
		id, err := WriteVersion(t.Context(), st, v)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verify(st, id, none); (err == nil) != (readErr == nil) {
			t.Fatalf("bit %d: error %v, a reader says %v", i, err, readErr)
		} else if err == nil {
			taken++
		}
	}
	if taken == 0 {
		t.Error("no change was taken, though some only change attributes")
	}
}

func put(t testing.TB, st *layerstest.Store, chunk []byte) store.ID {
	t.Helper()
	ids, err := st.Put(t.Context(), chunk)
	if err != nil {
		t.Fatal(err)
	}
	return ids[0]
}

// A forge writes nodes that no writer makes.
type forge struct {
	t  testing.TB
	st *layerstest.Store
}

func (f forge) leaf(entries ...layers.Entry) child {
	w := &nodeWriter{}
	for i := range entries {
		body, err := appendRecord(nil, &record{Entry: entries[i]})
		if err != nil {
			f.t.Fatal(err)
		}
		w.append(entries[i].Path, body, 1)
	}
	return child{w.open.first, put(f.t, f.st, w.encode()), w.open.entries}
}

func (f forge) inner(level byte, below ...child) child {
	w := &nodeWriter{level: level}
	for _, c := range below {
		w.append(c.first, appendChild(nil, c), c.entries)
	}
	return child{w.open.first, put(f.t, f.st, w.encode()), w.open.entries}
}

// file is a file whose contents are in lists, as it says.
func (f forge) file(level byte, extents, bytes int64, lists ...listRef) child {
	w := &nodeWriter{}
	e := record{Entry: layers.Entry{Path: "f", Type: layers.Regular, Size: bytes}, level: level, lists: lists}
	body, err := appendRecord(nil, &e)
	if err != nil {
		f.t.Fatal(err)
	}
	w.append("f", body, 1)
	return child{"f", put(f.t, f.st, w.encode()), 1}
}

func (f forge) list(n int) listRef {
	b := listHeader(0, n)
	for i := range n {
		b = appendExtent(b, layers.Extent{ID: store.ID{byte(i + 1)}, Len: 2})
	}
	return listRef{put(f.t, f.st, b), int64(n), int64(2 * n)}
}

func (f forge) lists(level byte, below ...listRef) listRef {
	var l listRef
	b := listHeader(level, len(below))
	for _, r := range below {
		l.extents, l.bytes = l.extents+r.extents, l.bytes+r.bytes
		b = appendListRef(b, r)
	}
	l.id = put(f.t, f.st, b)
	return l
}

func (f forge) version(root layers.Root, parents ...store.ID) store.ID {
	id, err := WriteVersion(f.t.Context(), f.st, layers.Version{Kind: layers.Data, Tree: root, Parents: parents})
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

func TestVerifyRefuses(t *testing.T) {
	f := forge{t, layerstest.NewStore()}
	st := f.st
	a, b, c := f.leaf(file("a", 1), file("b", 2)), f.leaf(file("c", 3), file("d", 4)), f.leaf(file("b", 2), file("c", 3))
	said := func(c child, first string, entries int64) child { return child{first, c.id, entries} }
	full := f.list(40)
	deep := full
	for level := range byte(maxListLevel) {
		deep = f.lists(level+1, deep)
	}
	for name, x := range map[string]struct {
		top          child
		files, bytes int64
		good         bool
	}{
		"good":                         {f.inner(1, a, b), 4, 12, true},
		"good hard link across leaves": {f.inner(1, a, f.leaf(hardlink("c", "b"))), 2, 6, true},
		"good lists":                   {f.file(1, 80, 160, full, full), 1, 160, true},
		"good lists of lists":          {f.file(2, 80, 160, f.lists(1, full, full)), 1, 160, true},
		"leaves overlap":               {f.inner(1, a, c), 4, 12, false},
		"leaf reaches past the next":   {f.inner(1, f.leaf(file("a", 1), file("x", 2)), b), 4, 12, false},
		"leaf twice":                   {f.inner(2, f.inner(1, a), f.inner(1, a)), 4, 12, false},
		"begins elsewhere":             {f.inner(1, said(a, "A", 2), b), 4, 12, false},
		"counts too many":              {f.inner(1, said(a, "a", 3), b), 4, 12, false},
		"counts none":                  {f.inner(1, said(a, "a", 0), b), 4, 12, false},
		"counts overflow":              {f.inner(1, said(a, "a", 1<<62), said(b, "c", 1<<62)), 4, 12, false},
		"levels skipped":               {f.inner(2, a, b), 4, 12, false},
		"too deep":                     {f.inner(maxLevel+1, a, b), 4, 12, false},
		"a list as a node":             {f.inner(1, a, child{"c", full.id, 2}), 4, 12, false},
		"root's files":                 {f.inner(1, a, b), 5, 12, false},
		"root's bytes":                 {f.inner(1, a, b), 4, 11, false},
		"root is a file":               {f.leaf(file("", 1)), 1, 3, false},
		"hard link to nothing":         {f.inner(1, a, f.leaf(hardlink("c", "aa"))), 2, 6, false},
		"hard link before all":         {f.leaf(file("b", 1), hardlink("c", "a")), 1, 3, false},
		"hard link after all":          {f.leaf(file("b", 1), hardlink("c", "d")), 1, 3, false},
		"hard link to a directory":     {f.leaf(layers.Entry{Path: "a", Type: layers.Dir}, hardlink("c", "a")), 0, 0, false},
		"hard link to itself":          {f.leaf(hardlink("c", "c")), 0, 0, false},
		"list of other extents":        {f.file(1, 80, 160, full, listRef{full.id, 41, 80}), 1, 160, false},
		"list of other bytes":          {f.file(1, 80, 161, full, listRef{full.id, 40, 81}), 1, 161, false},
		"list of another level":        {f.file(2, 80, 160, full, full), 1, 160, false},
		"node as a list":               {f.file(1, 80, 160, full, listRef{a.id, 40, 80}), 1, 160, false},
		"lists too deep":               {f.file(maxListLevel+1, 40, 80, deep), 1, 80, false},
	} {
		t.Run(name, func(t *testing.T) {
			id := f.version(layers.Root{ID: x.top.id, Entries: x.top.entries, Files: x.files, Bytes: x.bytes})
			_, err := verify(st, id, none)
			if x.good && err != nil || !x.good && !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestVerifyRefusesRecords(t *testing.T) {
	f := forge{t, layerstest.NewStore()}
	a := f.leaf(file("a", 1))
	right := layers.Root{ID: a.id, Entries: 1, Files: 1, Bytes: 3}
	for name, c := range map[string]struct {
		id   store.ID
		want error
	}{
		"good":                {f.version(right), nil},
		"empty":               {f.version(layers.Root{}), nil},
		"parent without ID":   {f.version(right, store.ID{1}, store.ID{}), store.ErrCorrupt},
		"nothing of 3 bytes":  {f.version(layers.Root{Bytes: 3}), store.ErrCorrupt},
		"other entries":       {f.version(layers.Root{ID: a.id, Entries: 2, Files: 1, Bytes: 3}), store.ErrCorrupt},
		"tree is not there":   {f.version(layers.Root{ID: store.ID{5}, Entries: 2}), store.ErrNotExist},
		"version not there":   {store.ID{6}, store.ErrNotExist},
		"a node as a version": {a.id, store.ErrCorrupt},
	} {
		if _, err := verify(f.st, c.id, none); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
	stop := errors.New("stop")
	err := Verify(t.Context(), f.st, f.version(right), none, func([]store.ID) error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("error %v, want that of contents", err)
	}
}

// TestVerifyOpensOnlyWhatIsNew edits a large tree and counts what is read.
func TestVerifyOpensOnlyWhatIsNew(t *testing.T) {
	st := layerstest.NewStore()
	old := numbered(20_000)
	root, err := WriteTree(t.Context(), st, old)
	if err != nil {
		t.Fatal(err)
	}
	known := map[store.ID]bool{}
	for _, id := range st.IDs() {
		known[id] = true
	}
	edit := slices.Clone(old)
	edit[7000] = file(edit[7000].Path, 77)
	edit = append(edit, hardlink("link", old[12_000].Path))
	v := layers.Version{Kind: layers.Data}
	id, err := Write(t.Context(), st, v, edit, nil)
	if err != nil {
		t.Fatal(err)
	}
	before := st.Gets()
	got, err := verify(st, id, func(id store.ID) bool { return known[id] })
	if err != nil || !got[store.ID{77, 0xff}] {
		t.Fatalf("new contents were not handed over, error %v", err)
	}
	if n := st.Gets() - before; n > 15 {
		t.Errorf("%d chunks were read, want those that are new", n)
	}
	wrong := root
	wrong.Entries++
	f := forge{t, st}
	if _, err := verify(st, f.version(wrong), func(id store.ID) bool { return known[id] }); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("known tree, wrong count: error %v", err)
	}
	v.Tree, err = WriteTree(t.Context(), st, edit)
	if err != nil {
		t.Fatal(err)
	}
	v.Tree.Bytes = 3
	if _, err := verify(st, f.version(v.Tree), func(id store.ID) bool { return known[id] }); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("fewer bytes than were seen: error %v", err)
	}
}

// TestVerifyLooksOnceAtRepeatedLists has a file of 33 million extents
// in a few chunks.
func TestVerifyLooksOnceAtRepeatedLists(t *testing.T) {
	f := forge{t, layerstest.NewStore()}
	l := f.list(32)
	for level := range byte(4) {
		l = f.lists(level+1, slices.Repeat([]listRef{l}, 32)...)
	}
	if l.extents != 1<<25 {
		t.Fatalf("%d extents", l.extents)
	}
	top := f.file(5, l.extents, l.bytes, l)
	before := f.st.Gets()
	id := f.version(layers.Root{ID: top.id, Entries: 1, Files: 1, Bytes: l.bytes})
	if _, err := verify(f.st, id, none); err != nil {
		t.Fatal(err)
	}
	if n := f.st.Gets() - before; n > 10 {
		t.Errorf("%d chunks were read", n)
	}
}

// TestVerifyManyLinks has more hard links than are looked up at once.
func TestVerifyManyLinks(t *testing.T) {
	st := layerstest.NewStore()
	tree := numbered(2000)
	for i := range maxLinks + 100 {
		tree = append(tree, hardlink(fmt.Sprintf("e/%06d", i), tree[i%2000].Path))
	}
	id, err := Write(t.Context(), st, layers.Version{Kind: layers.Data}, tree, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verify(st, id, none); err != nil {
		t.Error(err)
	}
}

func TestNodesReadsOnlyInnerNodes(t *testing.T) {
	st := layerstest.NewStore()
	root, err := WriteTree(t.Context(), st, numbered(20_000))
	if err != nil {
		t.Fatal(err)
	}
	before, inner := st.Gets(), 0
	var got []store.ID
	err = Nodes(t.Context(), st, root, func(id store.ID, level int) bool {
		got = append(got, id)
		if level > 0 {
			inner++
		}
		return true
	})
	slices.SortFunc(got, byID)
	if err != nil || !slices.Equal(got, st.IDs()) {
		t.Errorf("%d nodes of %d, error %v", len(got), len(st.IDs()), err)
	}
	if n := st.Gets() - before; n != inner || inner*20 > len(got) {
		t.Errorf("%d chunks were read for %d inner nodes of %d", n, inner, len(got))
	}
	n := 0
	if err := Nodes(t.Context(), st, root, func(store.ID, int) bool { n++; return false }); err != nil || n != 1 {
		t.Errorf("%d nodes below the root, error %v", n-1, err)
	}
	if err := Nodes(t.Context(), st, layers.Root{}, nil); err != nil {
		t.Error(err)
	}
	st.Remove(got[0])
	st.Remove(root.ID)
	if err := Nodes(t.Context(), st, root, func(store.ID, int) bool { return true }); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("error %v, want ErrNotExist", err)
	}
}
