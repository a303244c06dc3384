package oci

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	docker "github.com/google/go-containerregistry/pkg/v1/tarball"

	"satchel/layers/tarball"
)

// The forms of archives that hold an image, by the file that tells them.
const (
	formLayout = "oci-layout"
	formDocker = "manifest.json"
)

// open finds the image at a path. Done lets go of what it took to read it.
func open(name string, platform v1.Platform) (img v1.Image, done func(), err error) {
	nothing := func() {}
	st, err := os.Stat(name)
	if err != nil {
		return nil, nothing, err
	}
	if st.IsDir() {
		img, err = openLayout(name, platform)
		return img, nothing, err
	}
	form, err := archiveForm(name)
	switch {
	case err != nil:
		return nil, nothing, err
	case form == formDocker:
		img, err = docker.Image(func() (io.ReadCloser, error) { return openArchive(name) }, nil)
		return img, nothing, err
	case form != formLayout:
		return nil, nothing, errors.New("neither an OCI image layout nor what docker save writes")
	}
	dir, err := os.MkdirTemp("", "satchel-image-*")
	if err != nil {
		return nil, nothing, err
	}
	done = func() { os.RemoveAll(dir) }
	if err = unpack(name, dir); err == nil {
		img, err = openLayout(dir, platform)
	}
	if err != nil {
		done()
		return nil, nothing, err
	}
	return img, done, nil
}

func openLayout(dir string, platform v1.Platform) (v1.Image, error) {
	ix, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	return choose(ix, platform, 0)
}

// openArchive opens an archive, compressed or not.
func openArchive(name string) (io.ReadCloser, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	r, err := tarball.Decompress(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return archiveFile{r, f}, nil
}

type archiveFile struct {
	io.ReadCloser
	f *os.File
}

func (a archiveFile) Close() error { return errors.Join(a.ReadCloser.Close(), a.f.Close()) }

// maxFiles bounds how far the file that tells an archive's form is looked for.
// Archives of images hold few files, whole systems many.
const maxFiles = 4096

// archiveForm tells the form of image that an archive holds, or returns "". An
// archive may be of both forms, as docker save writes today; the simpler one to
// read is told then.
func archiveForm(name string) (string, error) {
	r, err := openArchive(name)
	if err != nil {
		return "", nil //nolint:nilerr // whatever it is, it is no image
	}
	defer r.Close()
	form := ""
	for tr, n := tar.NewReader(r), 0; n < maxFiles; n++ {
		h, err := tr.Next()
		if err != nil {
			break // the end, or no archive
		}
		top, _, below := strings.Cut(path.Clean(h.Name), "/")
		switch {
		case top == formDocker && !below:
			return formDocker, nil
		case top == formLayout && !below:
			form = formLayout
		case below && top != "blobs" && form == "" && isRoot[top]:
			return "", nil // the tree of a system
		}
	}
	return form, nil
}

// isRoot has names that every system has at its root and no image has.
var isRoot = map[string]bool{"bin": true, "boot": true, "dev": true, "etc": true, "lib": true, "usr": true, "var": true}

// unpack writes the files of an image layout's archive into a directory. Only
// names that a layout has are taken.
func unpack(name, dir string) error {
	r, err := openArchive(name)
	if err != nil {
		return err
	}
	defer r.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		file := path.Clean(h.Name)
		blob, _ := path.Match("blobs/*/*", file)
		if h.Typeflag != tar.TypeReg || !blob && file != formLayout && file != "index.json" {
			continue
		}
		if err := write(root, file, tr); err != nil {
			return fmt.Errorf("unpack %s: %w", file, err)
		}
	}
}

func write(root *os.Root, file string, r io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := root.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
