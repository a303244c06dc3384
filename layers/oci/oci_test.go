package oci_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	docker "github.com/google/go-containerregistry/pkg/v1/tarball"

	"satchel/layers/ingest"
	"satchel/layers/layerstest"
	"satchel/layers/oci"
	"satchel/store"
)

// image returns an image of two layers, the second of which removes a file and
// replaces one. The text is what its file "which" holds.
func image(t *testing.T, text string) v1.Image {
	t.Helper()
	img := v1.Image(empty.Image)
	for _, files := range [][2][]string{
		{{"etc/keep", "etc/gone", "which"}, {"k", "g", "below"}},
		{{"etc/.wh.gone", "which"}, {"", text}},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for i, file := range files[0] {
			data := files[1][i]
			if err := w.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(data))}); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, data); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		layer, err := docker.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

func writeLayout(t *testing.T, ix v1.ImageIndex) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "image")
	if _, err := layout.Write(dir, ix); err != nil {
		t.Fatal(err)
	}
	return dir
}

// pack makes the archive of a directory.
func pack(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := tar.NewWriter(f)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

func single(t *testing.T, text string) v1.ImageIndex {
	return mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image(t, text)})
}

func several(t *testing.T, platforms ...string) v1.ImageIndex {
	t.Helper()
	ix := v1.ImageIndex(empty.Index)
	for _, p := range platforms {
		platform, err := v1.ParsePlatform(p)
		if err != nil {
			t.Fatal(err)
		}
		ix = mutate.AppendManifests(ix, mutate.IndexAddendum{Add: image(t, p), Descriptor: v1.Descriptor{Platform: platform}})
	}
	return ix
}

// imported imports an image and returns its paths and what "which" holds.
func imported(t *testing.T, path string, opt oci.Options) (paths []string, which string, err error) {
	t.Helper()
	st := layerstest.NewStore()
	tree, _, err := oci.Import(t.Context(), path, ingest.New(t.Context(), st, st.Domain()), opt)
	for _, e := range tree {
		paths = append(paths, e.Path)
		if e.Path == "which" {
			b, err := st.Get(t.Context(), e.Extents[0].ID)
			if err != nil {
				t.Fatal(err)
			}
			which = string(b)
		}
	}
	return paths, which, err
}

func TestImagesAreFlattened(t *testing.T) {
	saved := filepath.Join(t.TempDir(), "saved.tar")
	tag, err := name.NewTag("example/image:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := docker.WriteToFile(saved, tag, image(t, "x")); err != nil {
		t.Fatal(err)
	}
	dir := writeLayout(t, single(t, "x"))
	nested := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: single(t, "x")})
	for form, path := range map[string]string{
		"layout": dir, "archive of layout": pack(t, dir), "nested index": writeLayout(t, nested), "docker save": saved,
	} {
		t.Run(form, func(t *testing.T) {
			if is, err := oci.Is(path); err != nil || !is {
				t.Errorf("Is: %v, error %v; want true", is, err)
			}
			paths, which, err := imported(t, path, oci.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if want := []string{"etc/keep", "which"}; !slices.Equal(paths, want) || which != "x" {
				t.Errorf("paths %q and which %q, want %q and x", paths, which, want)
			}
		})
	}
}

func TestPlatformIsChosen(t *testing.T) {
	dir := writeLayout(t, several(t, "linux/arm64", "linux/amd64", "linux/arm/v7"))
	for platform, want := range map[string]string{"": "linux/amd64", "linux/arm64": "linux/arm64", "linux/arm/v7": "linux/arm/v7"} {
		if _, which, err := imported(t, dir, oci.Options{Platform: platform}); err != nil || which != want {
			t.Errorf("platform %q: %q, error %v; want %q", platform, which, err, want)
		}
	}
	_, _, err := imported(t, dir, oci.Options{Platform: "linux/riscv64"})
	if err == nil || !strings.Contains(err.Error(), "linux/arm64, linux/amd64, linux/arm/v7") {
		t.Errorf("error %v, want one that lists the platforms", err)
	}
	if _, _, err := imported(t, dir, oci.Options{Platform: "a/b/c/d"}); err == nil {
		t.Error("an impossible platform was taken")
	}
}

func TestDamagedLayerIsAnError(t *testing.T) {
	dir := writeLayout(t, single(t, "x"))
	err := filepath.WalkDir(filepath.Join(dir, "blobs"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if err == nil && bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
			err = os.WriteFile(p, otherLayer(t), 0o600)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := imported(t, dir, oci.Options{}); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("error %v, want ErrCorrupt", err)
	}
}

// otherLayer returns a whole layer, compressed, that no image here has.
func otherLayer(t *testing.T) []byte {
	t.Helper()
	list, err := image(t, "other").Layers()
	if err != nil {
		t.Fatal(err)
	}
	r, err := list[1].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWhatIsNoImage(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/etc/manifest.json", []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	text := dir + "/text"
	if err := os.WriteFile(text, []byte("no archive"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, text, pack(t, dir)} {
		if is, err := oci.Is(path); err != nil || is {
			t.Errorf("%s: Is: %v, error %v; want false", path, is, err)
		}
		if _, _, err := imported(t, path, oci.Options{}); err == nil {
			t.Errorf("%s was imported", path)
		}
	}
	if _, err := oci.Is(dir + "/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want ErrNotExist", err)
	}
}
