package tarball_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"satchel/layers"
	"satchel/layers/ingest"
	"satchel/layers/layerstest"
	"satchel/layers/tarball"
	"satchel/layers/treefs"
)

// archive makes an archive of headers, each with "NAME contents" as contents.
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		data := ""
		if h.Typeflag == 0 || h.Typeflag == tar.TypeReg {
			data = h.Name + " contents"
			h.Size = int64(len(data))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name string) tar.Header { return tar.Header{Name: name, Mode: 0o644} }
func folder(name string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}
}
func link(kind byte, name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: kind, Linkname: target, Mode: 0o777}
}

// describe lists a tree: path, type, what it links to or contains.
func describe(t testing.TB, st *layerstest.Store, tree layers.Tree) []string {
	t.Helper()
	lines := []string{}
	for i := range tree {
		e := &tree[i]
		line := e.Path + " " + e.Type.String()
		switch {
		case e.Opaque:
			line += " opaque"
		case e.Target != "":
			line += " " + e.Target
		case e.Type == layers.Regular:
			b := make([]byte, e.Size)
			if _, err := treefs.Open(t.Context(), st, e).ReadAt(b, 0); err != nil {
				t.Fatal(err)
			}
			line += " " + strings.TrimSuffix(string(b), " contents")
		}
		lines = append(lines, line)
	}
	return lines
}

func TestStepsOfAnArchive(t *testing.T) {
	for name, c := range map[string]struct {
		opt  tarball.Options
		in   []tar.Header
		want []string
	}{
		"clean names": {
			in:   []tar.Header{folder("./"), file("./a"), file("/b"), file("c//./d")},
			want: []string{" dir", "a file ./a", "b file /b", "c/d file c//./d"},
		},
		"last wins": {
			in:   []tar.Header{file("a"), folder("b"), file("b/x"), link(tar.TypeSymlink, "a", "b"), file("b")},
			want: []string{"a symlink b", "b file b"},
		},
		"directory again": {
			in:   []tar.Header{folder("a"), file("a/x"), folder("a")},
			want: []string{"a dir", "a/x file a/x"},
		},
		"through links": {
			in: []tar.Header{folder("usr/lib"), link(tar.TypeSymlink, "lib", "usr/lib"), file("lib/x"),
				link(tar.TypeSymlink, "abs", "/../usr"), file("abs/y"), link(tar.TypeSymlink, "up", "../../usr/../usr"), file("up/z")},
			want: []string{"abs symlink /../usr", "lib symlink usr/lib", "up symlink ../../usr/../usr",
				"usr/lib dir", "usr/lib/x file lib/x", "usr/y file abs/y", "usr/z file up/z"},
		},
		"hard links": {
			in:   []tar.Header{file("m"), link(tar.TypeLink, "z", "m"), link(tar.TypeLink, "./a", "/z"), file("m")},
			want: []string{"a file m", "m file m", "z hardlink a"},
		},
		"marks are files": {
			in:   []tar.Header{file("d/.wh.x")},
			want: []string{"d/.wh.x file d/.wh.x"},
		},
		"whiteouts": {
			opt: tarball.Options{OCI: true},
			in: []tar.Header{folder("d"), file("d/.wh..wh..opq"), file("d/x"), file(".wh.gone"), file(".wh..wh.plnk"),
				file("e/.wh..wh..opq"), file(".wh.f"), folder("f"), folder("g"), file(".wh.g")},
			want: []string{"d dir opaque", "d/x file d/x", "e dir opaque", "f dir opaque", "g dir opaque", "gone whiteout"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			st := layerstest.NewStore()
			tree, _ := importTar(t, st, bytes.NewReader(archive(t, c.in...)), c.opt)
			if got := describe(t, st, tree); !slices.Equal(got, c.want) {
				t.Errorf("tree\n%q\nwant\n%q", got, c.want)
			}
		})
	}
}

func TestArchivesAreLaidOverEachOther(t *testing.T) {
	st := layerstest.NewStore()
	im := tarball.NewImporter(ingest.New(t.Context(), st, st.Domain()), tarball.Options{Flatten: true})
	for _, layer := range [][]tar.Header{
		{folder("etc"), file("etc/a"), file("etc/b"), folder("opt"), file("opt/old"), file("opt/sub/old"), file("z"), link(tar.TypeLink, "a", "z")},
		{file("etc/.wh.a"), file("opt/new"), file("opt/.wh..wh..opq"), file(".wh.z"), link(tar.TypeLink, "b", "a"), file("opt/sub/new")},
		{file("etc/.wh.none")},
	} {
		if err := im.Add(t.Context(), bytes.NewReader(archive(t, layer...))); err != nil {
			t.Fatal(err)
		}
	}
	tree, _, err := im.Tree()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a file z", "b hardlink a", "etc dir", "etc/b file etc/b", "opt dir", "opt/new file opt/new", "opt/sub/new file opt/sub/new"}
	if got := describe(t, st, tree); !slices.Equal(got, want) {
		t.Errorf("tree\n%q\nwant\n%q", got, want)
	}
}

func TestCompressedArchives(t *testing.T) {
	plain := archive(t, file("a"))
	for name, compress := range map[string]func(io.Writer) (io.WriteCloser, error){
		"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
		"zstd": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
		"xz":   func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			w, err := compress(&b)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(plain); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			whole := bytes.Clone(b.Bytes())
			st := layerstest.NewStore()
			tree, _ := importTar(t, st, &b, tarball.Options{})
			if got := describe(t, st, tree); !slices.Equal(got, []string{"a file a"}) {
				t.Errorf("tree %q", got)
			}
			pl := ingest.New(t.Context(), st, st.Domain())
			if _, _, err := tarball.Import(t.Context(), bytes.NewReader(whole[:len(whole)/2]), pl, tarball.Options{}); err == nil {
				t.Error("half an archive was read without error")
			}
		})
	}
}

func TestHostileArchivesAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		in   []tar.Header
		want string
	}{
		"upwards":         {[]tar.Header{file("a/../../etc/passwd")}, "leads out"},
		"link upwards":    {[]tar.Header{link(tar.TypeLink, "a", "../x")}, "leads out"},
		"link to nothing": {[]tar.Header{link(tar.TypeLink, "a", "x")}, "no file of the archive"},
		"link to dir":     {[]tar.Header{folder("d"), link(tar.TypeLink, "a", "d")}, "no file of the archive"},
		"below a file":    {[]tar.Header{file("a"), file("a/b")}, "not a directory"},
		"link loop":       {[]tar.Header{link(tar.TypeSymlink, "a", "a"), file("a/b")}, "too many symbolic links"},
		"long name":       {[]tar.Header{file(strings.Repeat("n", 256))}, "longer than 255 bytes"},
		"long path":       {[]tar.Header{file(strings.Repeat("n/", 40_000) + "x")}, "longer than 65536 bytes"},
		"root as a file":  {[]tar.Header{{Name: ".", Typeflag: tar.TypeFifo}}, "root is not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			st := layerstest.NewStore()
			_, _, err := tarball.Import(t.Context(), bytes.NewReader(archive(t, c.in...)), ingest.New(t.Context(), st, st.Domain()), tarball.Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
		})
	}
}

func TestCutArchiveIsAnError(t *testing.T) {
	whole := archive(t, file("a"), file("b"))
	for _, n := range []int{100, 515, 1100} {
		st := layerstest.NewStore()
		_, _, err := tarball.Import(t.Context(), bytes.NewReader(whole[:n]), ingest.New(t.Context(), st, st.Domain()), tarball.Options{})
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("archive cut at %d: error %v, want ErrUnexpectedEOF", n, err)
		}
	}
}

func TestWhiteoutsSurvive(t *testing.T) {
	st := layerstest.NewStore()
	want := layers.Tree{
		{Type: layers.Dir, Mode: 0o755, Opaque: true},
		{Path: "d", Type: layers.Dir, Mode: 0o700, Opaque: true},
		{Path: "d/gone", Type: layers.Whiteout},
	}
	var b bytes.Buffer
	if err := tarball.Export(t.Context(), want, st, &b); err != nil {
		t.Fatal(err)
	}
	got, _ := importTar(t, st, &b, tarball.Options{OCI: true})
	sameTrees(t, want, got)
}

// TestLargeNumbers needs pax records or binary fields for what octal digits
// cannot hold.
func TestLargeNumbers(t *testing.T) {
	st := layerstest.NewStore()
	want := layers.Tree{
		{Path: "dev", Type: layers.CharDev, Major: 1<<32 - 1, Minor: 1 << 21, UID: 1<<32 - 1, GID: 1 << 21},
		{Path: "hole", Type: layers.Regular, Size: 1 << 50, Extents: []layers.Extent{{Len: 1 << 50}}},
		{Path: strings.Repeat("long\xff/", 30) + "x", Type: layers.Symlink, Target: strings.Repeat("y", 3000), ModTime: layers.Time{Sec: 1 << 40, Nsec: 999_999_999}},
	}
	var b bytes.Buffer
	if err := tarball.Export(t.Context(), want, st, &b); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 1<<20 {
		t.Fatalf("archive of %d bytes; holes should take no room", b.Len())
	}
	want[1].Size, want[1].Extents = 1<<22, []layers.Extent{{Len: 1 << 22}} // soon read
	b.Reset()
	if err := tarball.Export(t.Context(), want, st, &b); err != nil {
		t.Fatal(err)
	}
	got, _ := importTar(t, st, &b, tarball.Options{})
	sameTrees(t, want, got)
	if !slices.Equal(got[1].Extents, want[1].Extents) {
		t.Errorf("extents %v, want one hole", got[1].Extents)
	}
}

func TestExportEndsWhenItCannotWrite(t *testing.T) {
	tree := make(layers.Tree, 5000)
	for i := range tree {
		tree[i] = layers.Entry{Path: fmt.Sprintf("%05d", i), Type: layers.Fifo}
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	if err := tarball.Export(t.Context(), tree, layerstest.NewStore(), full); err == nil {
		t.Error("no error from a full disk")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tarball.Export(ctx, tree, layerstest.NewStore(), io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want Canceled", err)
	}
}

func FuzzImport(f *testing.F) {
	f.Add(archive(f, folder("./"), file("a"), link(tar.TypeLink, "b", "a"), link(tar.TypeSymlink, "c", "/x"), file("c/.wh.d")))
	f.Add(archive(f, tar.Header{Name: "x", PAXRecords: map[string]string{"SCHILY.xattr.user.a%3D": "v", "SCHILY.acl.access": "user::rw-,user:5:r--,group::r--,mask::r--,other::---"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if claims(b) > 1<<24 {
			return // holes of any size take their time
		}
		for _, opt := range []tarball.Options{{}, {OCI: true}, {Flatten: true}} {
			st := layerstest.NewStore()
			ctx := context.Background()
			tree, _, err := tarball.Import(ctx, bytes.NewReader(b), ingest.New(ctx, st, st.Domain()), opt)
			if err != nil {
				continue
			}
			if err := tree.Check(); err != nil {
				t.Error(err)
			}
			var out bytes.Buffer
			if err := tarball.Export(ctx, tree, st, &out); err != nil {
				t.Error(err)
			}
		}
	})
}

// claims returns the size of the largest file in an archive, as headers have it.
func claims(b []byte) (size int64) {
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if err != nil {
			return size
		}
		if size = max(size, h.Size); size > 1<<24 {
			return size
		}
	}
}
