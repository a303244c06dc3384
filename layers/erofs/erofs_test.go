package erofs_test

import (
	"testing"

	"satchel/layers"
	"satchel/layers/erofs"
)

func newImage(tb testing.TB, t layers.Tree, c chunks) *erofs.Image {
	tb.Helper()
	im, err := erofs.New(t, c, erofs.Options{BuildTime: buildTime, UUID: [16]byte{1, 2, 3}, VolumeName: "satchel"})
	if err != nil {
		tb.Fatal(err)
	}
	return im
}

func TestKernelSeesTheTree(t *testing.T) {
	c := chunks{}
	tree := hostileTree(c)
	sameSeen(t, wanted(t, tree, c), mounted(t, writeImage(t, newImage(t, tree, c))))
}

func TestFsckAccepts(t *testing.T) {
	c := chunks{}
	image := writeImage(t, newImage(t, hostileTree(c), c))
	fsck(t, image)
	fsck(t, "--extract", image)
}

func TestSecondReaderSeesTheTree(t *testing.T) {
	c := chunks{}
	tree := hostileTree(c)
	want := forSecondReader(wanted(t, tree, c))
	sameSeen(t, want, forSecondReader(secondReader(t, newImage(t, tree, c))))
}
