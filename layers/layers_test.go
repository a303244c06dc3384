package layers_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/layerstest"
)

func TestPathsAreInTotalOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.OneOf(layerstest.Path(), rapid.Just(""))
		a, b, c := path.Draw(t, "a"), path.Draw(t, "b"), path.Draw(t, "c")
		if (layers.ComparePaths(a, b) == 0) != (a == b) {
			t.Errorf("%q and %q compare as equal, or one does not with itself", a, b)
		}
		if layers.ComparePaths(a, b) != -layers.ComparePaths(b, a) {
			t.Errorf("%q and %q compare differently the other way round", a, b)
		}
		if layers.ComparePaths(a, b) < 0 && layers.ComparePaths(b, c) < 0 && layers.ComparePaths(a, c) >= 0 {
			t.Errorf("%q < %q < %q, but not the first before the last", a, b, c)
		}
	})
}

func TestOrderGoesDownBeforeItGoesOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, other := layerstest.Path().Draw(t, "dir"), layerstest.Path().Draw(t, "other")
		inside := dir + "/" + layerstest.Path().Draw(t, "inside")
		if layers.ComparePaths(dir, inside) >= 0 {
			t.Errorf("%q does not come before %q", dir, inside)
		}
		outside := other != dir && !strings.HasPrefix(other, dir+"/")
		if outside && layers.ComparePaths(dir, other) != layers.ComparePaths(inside, other) {
			t.Errorf("%q comes between %q and %q", other, dir, inside)
		}
	})
}

func TestUnderFindsWhatIsBelow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := layerstest.RandomTree(40).Draw(t, "tree")
		dir := rapid.OneOf(layerstest.Path(), rapid.Just("")).Draw(t, "dir")
		var want []string
		for _, e := range tree {
			if dir == "" && e.Path != "" || strings.HasPrefix(e.Path, dir+"/") {
				want = append(want, e.Path)
			}
		}
		var got []string
		for _, e := range tree.Under(dir) {
			got = append(got, e.Path)
		}
		if !slices.Equal(got, want) {
			t.Errorf("below %q: %q, want %q", dir, got, want)
		}
	})
}

func TestFindAgreesWithIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := layerstest.RandomTree(40).Draw(t, "tree")
		path := layerstest.Path().Draw(t, "path")
		i, ok := tree.Index(path)
		if e := tree.Find(path); (e != nil) != ok || ok && (e != &tree[i] || e.Path != path) {
			t.Errorf("Find %q: %v, Index %d, %v", path, e, i, ok)
		}
		if i > 0 && layers.ComparePaths(tree[i-1].Path, path) >= 0 || i < len(tree) && layers.ComparePaths(tree[i].Path, path) < 0 {
			t.Errorf("Index %q is %d, which is not its place", path, i)
		}
	})
}

func TestResolve(t *testing.T) {
	tree := layers.Tree{
		{Path: "dir", Type: layers.Dir},
		{Path: "file", Type: layers.Regular},
		{Path: "gone", Type: layers.Whiteout},
		{Path: "link", Type: layers.Hardlink, Target: "file"},
	}
	for target, want := range map[string]*layers.Entry{
		"file": &tree[1], "dir": nil, "gone": nil, "link": nil, "none": nil,
	} {
		if got := tree.Resolve(&layers.Entry{Type: layers.Hardlink, Target: target}); got != want {
			t.Errorf("hard link to %s resolves to %v, want %v", target, got, want)
		}
	}
	if got := tree.Resolve(&tree[0]); got != &tree[0] {
		t.Errorf("a directory resolves to %v", got)
	}
}

func TestCheckPath(t *testing.T) {
	long := strings.Repeat("n", 255)
	for path, want := range map[string]string{
		"": "", "a": "", "a/b": "", "..a": "", "...": "", "\xff\n": "", long: "", long + "/" + long: "",
		"/a": "clean", "a/": "clean", "a//b": "clean", ".": "clean", "a/./b": "clean", "..": "clean", "a/..": "clean",
		"a\x00b": "NUL", long + "n": "longer than 255", strings.Repeat("n/", 40_000) + "n": "longer than 65536",
	} {
		err := layers.CheckPath(path)
		var perr *layers.PathError
		switch {
		case want == "" && err != nil:
			t.Errorf("%.20q: error %v", path, err)
		case want != "" && (!errors.As(err, &perr) || !strings.Contains(perr.Reason, want)):
			t.Errorf("%.20q: error %v, want one that says %q", path, err, want)
		}
	}
}

func TestCheck(t *testing.T) {
	dir := layers.Entry{Path: "d", Type: layers.Dir}
	for name, c := range map[string]struct {
		tree layers.Tree
		want string
	}{
		"empty":        {nil, ""},
		"one":          {layers.Tree{dir}, ""},
		"twice":        {layers.Tree{dir, dir}, "out of order"},
		"order":        {layers.Tree{dir, {Path: "a", Type: layers.Fifo}}, "out of order"},
		"no type":      {layers.Tree{{Path: "a"}}, "no known type"},
		"odd type":     {layers.Tree{{Path: "a", Type: layers.Whiteout + 1}}, "no known type"},
		"root":         {layers.Tree{{Type: layers.Symlink}}, "not a directory"},
		"dangling":     {layers.Tree{{Path: "a", Type: layers.Hardlink, Target: "b"}}, "not a file of this tree"},
		"link to dir":  {layers.Tree{dir, {Path: "e", Type: layers.Hardlink, Target: "d"}}, "not a file of this tree"},
		"no length":    {layers.Tree{{Path: "a", Type: layers.Regular, Extents: []layers.Extent{{}}}}, "impossible length"},
		"overflow":     {layers.Tree{{Path: "a", Type: layers.Regular, Extents: []layers.Extent{{Len: 1 << 62}, {Len: 1 << 62}}}}, "impossible length"},
		"size":         {layers.Tree{{Path: "a", Type: layers.Regular, Size: 2, Extents: []layers.Extent{{Len: 1}}}}, "size 2, but extents of 1"},
		"size matches": {layers.Tree{{Path: "a", Type: layers.Regular, Size: 1, Extents: []layers.Extent{{Len: 1}}}}, ""},
	} {
		err := c.tree.Check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

func TestSameSeesEveryField(t *testing.T) {
	base := layers.Entry{Path: "a", Type: layers.Regular, Size: 1, Extents: []layers.Extent{{Len: 1}}}
	for field, change := range map[string]func(*layers.Entry){
		"Type":    func(e *layers.Entry) { e.Type = layers.Fifo },
		"Opaque":  func(e *layers.Entry) { e.Opaque = true },
		"Mode":    func(e *layers.Entry) { e.Mode = 1 },
		"UID":     func(e *layers.Entry) { e.UID = 1 },
		"GID":     func(e *layers.Entry) { e.GID = 1 },
		"ModTime": func(e *layers.Entry) { e.ModTime.Nsec = 1 },
		"Size":    func(e *layers.Entry) { e.Size = 2 },
		"Target":  func(e *layers.Entry) { e.Target = "x" },
		"Major":   func(e *layers.Entry) { e.Major = 1 },
		"Minor":   func(e *layers.Entry) { e.Minor = 1 },
		"Xattrs":  func(e *layers.Entry) { e.Xattrs = []layers.Xattr{{Name: "user.a"}} },
		"Extents": func(e *layers.Entry) { e.Extents = nil },
	} {
		e := base
		if change(&e); e.Same(&base) {
			t.Errorf("entries that differ in %s are the same", field)
		}
	}
	moved := base
	if moved.Path = "b"; !moved.Same(&base) {
		t.Error("entries that differ in path only are not the same")
	}
}

func TestKinds(t *testing.T) {
	for i, k := range layers.Kinds {
		got, err := layers.ParseKind(string(k))
		if err != nil || got != k || k.Rank() != i {
			t.Errorf("kind %s: parsed as %q, error %v, rank %d; want rank %d", k, got, err, k.Rank(), i)
		}
	}
	if _, err := layers.ParseKind("root"); err == nil {
		t.Error("an unknown kind was parsed")
	}
	if layers.OS.Writable() || layers.Group.Writable() || !layers.Personal.Writable() || !layers.Data.Writable() {
		t.Error("guests write to personal layers and those above, and no others")
	}
}

func TestTimesConvert(t *testing.T) {
	for _, want := range []time.Time{time.Unix(0, 0).UTC(), time.Unix(-2, 1).UTC(), time.Date(2200, 1, 2, 3, 4, 5, 999_999_999, time.UTC)} {
		if got := layers.TimeOf(want).Time(); !got.Equal(want) {
			t.Errorf("%v became %v", want, got)
		}
	}
	if layers.Regular.String() != "file" || layers.Type(77).String() != "type 77" {
		t.Error("types have wrong names")
	}
}

func TestSplitPath(t *testing.T) {
	for path, want := range map[string][2]string{"": {}, "a": {"", "a"}, "a/b": {"a", "b"}, "a/b/c": {"a/b", "c"}} {
		if dir, name := layers.SplitPath(path); [2]string{dir, name} != want {
			t.Errorf("%q: got %q and %q, want %q", path, dir, name, want)
		}
	}
}
