package benchmarks

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"satchel/layers"
	"satchel/layers/compose"
	"satchel/layers/erofs"
	"satchel/layers/layerstest"
	"satchel/layers/manifest"
	"satchel/store"
)

// stackEntries is how many entries sampleStack has in all, bases not counted.
const stackEntries = 50_000

// sampleTree returns a tree of n entries like those of a Debian system: eight
// files to a directory, one in ten of them a symlink, paths of some 45 bytes.
// Its chunks are in no store.
func sampleTree(layer string, n int) layers.Tree {
	t := layers.Tree{{Type: layers.Dir, Mode: 0o755}, {Path: "usr", Type: layers.Dir, Mode: 0o755}}
	dir := func(path string) {
		t = append(t, layers.Entry{Path: path, Type: layers.Dir, Mode: 0o755, ModTime: layers.Time{Sec: 1700000000, Nsec: uint32(len(t))}})
	}
	for i := 0; len(t) < n; i++ {
		top := fmt.Sprintf("usr/share-%02d", i/400)
		if i%400 == 0 {
			dir(top)
		}
		at := fmt.Sprintf("%s/%s-package-%05d", top, layer, i)
		dir(at)
		for j := 0; j < 8 && len(t) < n; j++ {
			e := layers.Entry{Path: fmt.Sprintf("%s/file-number-%d", at, j), Type: layers.Regular, Mode: 0o644,
				ModTime: layers.Time{Sec: 1700000000, Nsec: uint32(len(t))}}
			if len(t)%10 == 0 {
				e.Type, e.Mode, e.Target = layers.Symlink, 0o777, "../elsewhere/"+layer
			} else {
				e.Size = int64(500 + len(t)*7919%50_000)
				e.Extents = []layers.Extent{{ID: sampleID(layer, len(t)), Len: e.Size}}
			}
			t = append(t, e)
		}
	}
	t.Sort()
	return t
}

func sampleID(layer string, n int) store.ID {
	return sha256.Sum256(binary.LittleEndian.AppendUint64([]byte(layer), uint64(n)))
}

// sampleStatus is a package database with the packages first to last.
func sampleStatus(first, last int) []byte {
	var b strings.Builder
	for i := first; i < last; i++ {
		fmt.Fprintf(&b, "Package: package-%05d\nStatus: install ok installed\nPriority: optional\nArchitecture: amd64\nVersion: 1.%d\n"+
			"Depends: package-%05d\nDescription: a package of the sample\n%s\n", i, i, i/2, strings.Repeat(" A line that describes it at some length.\n", 12))
	}
	return []byte(b.String())
}

// sampleStack is a stack of four layers: a system, two with applications on top
// of it, and settings, which change, hide and remove some of what is below.
func sampleStack(b *testing.B, p store.Putter) []compose.Layer {
	b.Helper()
	status := func(packages int) layers.Entry {
		e := layers.Entry{Path: "var/lib/dpkg/status", Type: layers.Regular, Mode: 0o644}
		for data := sampleStatus(0, packages); len(data) > 0; {
			piece := data[:min(len(data), 256<<10)]
			ids, err := p.Put(b.Context(), piece)
			if err != nil {
				b.Fatal(err)
			}
			e.Extents = append(e.Extents, layers.Extent{ID: ids[0], Len: int64(len(piece))})
			e.Size += int64(len(piece))
			data = data[len(piece):]
		}
		return e
	}
	sizes := []int{35_000, 8_000, 5_000, stackEntries - 48_000}
	var stack []compose.Layer
	for i, name := range []string{"os", "group", "personal", "system"} {
		l := compose.Layer{Name: name, Kind: layers.Kinds[i], Tree: sampleTree(name, sizes[i]-1-i*100)}
		l.Tree = append(l.Tree, status(400+50*i))
		if i > 0 {
			for j := range i * 100 { // what lies in the way of the system
				at := stack[0].Tree[1000+100*j]
				l.Base = append(l.Base, at)
				at.Opaque, at.ModTime.Nsec = false, 7
				if at.Type != layers.Dir && j%10 == 0 {
					at = layers.Entry{Path: at.Path, Type: layers.Whiteout}
				}
				l.Tree = append(l.Tree, at)
			}
			l.Base = append(l.Base, status(350))
		}
		l.Tree.Sort()
		stack = append(stack, l)
	}
	return stack
}

// heap returns the bytes of live memory.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

func mustImage(b *testing.B, stack []compose.Layer, g store.Getter) (*compose.Result, *erofs.Image) {
	b.Helper()
	r, err := compose.Compose(context.Background(), g, stack)
	if err != nil {
		b.Fatal(err)
	}
	im, err := erofs.New(r.Tree, r, erofs.Options{})
	if err != nil {
		b.Fatal(err)
	}
	return r, im
}

// BenchmarkComposeToImage is what starting a workspace adds to reading its
// trees: four layers of 50,000 entries to an image that can be served. It
// reports the memory that stays in use for the result and image.
func BenchmarkComposeToImage(b *testing.B) {
	st := layerstest.NewStore()
	stack := sampleStack(b, st)
	before := heap()
	r, im := mustImage(b, stack, st)
	held := heap() - before
	runtime.KeepAlive(r)
	for b.Loop() {
		mustImage(b, stack, st)
	}
	b.ReportMetric(held/stackEntries, "B/entry")
	b.ReportMetric(float64(im.Stats().Metadata)/float64(im.Stats().Entries), "meta-B/entry")
}

// BenchmarkCompose is the first half of that.
func BenchmarkCompose(b *testing.B) {
	st := layerstest.NewStore()
	stack := sampleStack(b, st)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := compose.Compose(context.Background(), st, stack); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLayout lays a tree of 50,000 entries out, without any data.
func BenchmarkLayout(b *testing.B) {
	tree := sampleTree("os", stackEntries)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := erofs.New(tree, layerstest.NewStore(), erofs.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadTrees reads the trees and bases of the stack from a store on
// disk that was just opened.
func BenchmarkReadTrees(b *testing.B) {
	ctx := b.Context()
	st := newStore(b)
	w, err := st.Begin(ctx, "benchmark")
	if err != nil {
		b.Fatal(err)
	}
	var roots []layers.Root
	for _, l := range sampleStack(b, w) {
		for _, t := range []layers.Tree{l.Tree, l.Base} {
			root, err := manifest.WriteTree(ctx, w, t)
			if err != nil {
				b.Fatal(err)
			}
			roots = append(roots, root)
		}
	}
	if err := w.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	read := func() (trees []layers.Tree) {
		for _, root := range roots {
			t, err := manifest.ReadTree(ctx, st, root)
			if err != nil {
				b.Fatal(err)
			}
			trees = append(trees, t)
		}
		return trees
	}
	before := heap()
	trees := read()
	held := heap() - before
	runtime.KeepAlive(trees)
	for b.Loop() {
		read()
	}
	b.ReportMetric(held/stackEntries, "B/entry")
}

// BenchmarkReadImage reads 64 MiB of file data in order, as a guest's kernel
// does when it reads ahead.
func BenchmarkReadImage(b *testing.B) {
	st := layerstest.NewStore()
	tree := layers.Tree{{Type: layers.Dir, Mode: 0o755}}
	for i := range 64 {
		e := layers.Entry{Path: fmt.Sprintf("file-%02d", i), Type: layers.Regular, Mode: 0o644}
		for j := range 16 {
			data := make([]byte, 64<<10)
			data[0], data[1] = byte(i), byte(j)
			ids, err := st.Put(b.Context(), data)
			if err != nil {
				b.Fatal(err)
			}
			e.Extents = append(e.Extents, layers.Extent{ID: ids[0], Len: 64 << 10})
			e.Size += 64 << 10
		}
		tree = append(tree, e)
	}
	im, err := erofs.New(tree, st, erofs.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{4 << 10, 128 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			p := make([]byte, size)
			b.SetBytes(im.Size())
			b.ReportAllocs()
			for b.Loop() {
				for off := int64(0); ; off += int64(size) {
					if _, err := im.ReadAt(p, off); errors.Is(err, io.EOF) {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
