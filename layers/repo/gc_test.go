package repo_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"satchel/layers"
	"satchel/layers/dir"
	"satchel/layers/ingest"
	"satchel/layers/layerstest"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/store/disk"
)

// The environment variables by which this test binary runs as a child that
// imports a directory, again and again.
const (
	childStore = "SATCHEL_TEST_STORE"
	childDir   = "SATCHEL_TEST_DIR"
)

func TestMain(m *testing.M) {
	if st := os.Getenv(childStore); st != "" {
		if err := child(context.Background(), st, os.Getenv(childDir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child imports a directory as one new layer after another, and removes the one
// before, so that what it imports has always just become garbage. It names each
// layer, until its standard input ends.
func child(ctx context.Context, storeDir, from string) error {
	st, err := disk.Open(storeDir)
	if err != nil {
		return err
	}
	defer st.Close()
	for i := 0; ; i++ {
		name := fmt.Sprintf("layer-%d", i)
		head, err := importAs(ctx, st, name, from)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Println(name)
		if _, err := os.Stdin.Read(make([]byte, 1)); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := st.Heads().Remove(ctx, head.Layer, head.Version); err != nil {
			return err
		}
	}
}

// importAs imports a directory as a new layer.
func importAs(ctx context.Context, st *disk.Store, name, from string) (store.Head, error) {
	r := repo.New(st, "child")
	head, err := r.Create(ctx, name)
	if err != nil {
		return head, err
	}
	w, err := st.Begin(ctx, "import")
	if err != nil {
		return head, err
	}
	defer w.Close()
	tree, _, err := dir.Import(ctx, from, ingest.New(ctx, w, st.Domain()), dir.Options{})
	if err != nil {
		return head, err
	}
	ids, err := r.Commit(ctx, w, repo.Commit{Head: head, Kind: layers.Data, Tree: tree})
	if err != nil {
		return head, err
	}
	head.Version = ids[0]
	return head, nil
}

// TestCollectWhileAnotherProcessImports collects without pause while a child
// puts again what has just become garbage.
func TestCollectWhileAnotherProcessImports(t *testing.T) {
	_, st := newRepo(t)
	from := t.TempDir()
	for i := range 60 {
		b := make([]byte, 1+rand.IntN(200_000))
		for j := range b {
			b[j] = byte(rand.Uint32())
		}
		if err := os.WriteFile(filepath.Join(from, fmt.Sprint(i)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childStore+"="+st.Dir(), childDir+"="+from)
	c.Stderr = os.Stderr
	next, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	names := bufio.NewScanner(said)
	var swept int64
	for round := range 12 {
		imported := make(chan bool)
		go func() { imported <- names.Scan() }()
		for ended := false; !ended; {
			res, err := st.GC(t.Context(), repo.New(st, "").Walker())
			if err != nil {
				t.Error(err)
			}
			swept += res.SweptChunks
			select {
			case ok := <-imported:
				ended = true
				if !ok {
					t.Fatalf("round %d: the child ended: %v", round, c.Wait())
				}
			default:
			}
		}
		if res, err := st.Verify(t.Context(), repo.New(st, "").Walker(), nil); err != nil || !res.OK() {
			t.Fatalf("round %d: %v, %v", round, err, res.Err())
		}
		if round < 11 {
			if _, err := next.Write([]byte{'\n'}); err != nil {
				t.Fatal(err)
			}
		}
	}
	next.Close()
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	if swept == 0 {
		t.Error("nothing was garbage at any time")
	}
	wantExport(t, st, names.Text(), from)
}

// wantExport checks that a layer is what it was imported from.
func wantExport(t *testing.T, st *disk.Store, name, from string) {
	t.Helper()
	tree, err := repo.New(st, "test").Tree(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "out")
	if _, err := dir.Export(t.Context(), tree, st, to, dir.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	layerstest.SameDirs(t, from, to)
}
