package registry

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"satchel/store"
	"satchel/syncer"
)

func manyIDs(n int) []store.ID {
	ids := make([]store.ID, n)
	for i := range ids {
		binary.LittleEndian.PutUint64(ids[i][:], uint64(i)*0x9e3779b97f4a7c15+1)
	}
	return ids
}

func TestUploads(t *testing.T) {
	r := fleet(t)
	enrol(t, r, "ana", "pc", 1)
	enrol(t, r, "ana", "pad", 2)
	ctx := t.Context()
	ids := manyIDs(2*uploadBatch + 10)
	must(t, r.Uploaded(ctx, "pc", ids[:len(ids)-1]))
	has := must1(r.HasUploaded(ctx, "pc", ids))(t)
	if has[len(ids)-1] || slices.Contains(has[:len(ids)-1], false) {
		t.Error("notes differ from what was uploaded")
	}
	if slices.Contains(must1(r.HasUploaded(ctx, "pad", ids))(t), true) {
		t.Error("a device has what another uploaded")
	}
	must(t, r.ForgetUploads(ctx, "pc", ids[:uploadBatch+5]))
	has = must1(r.HasUploaded(ctx, "pc", ids))(t)
	if slices.Contains(has[:uploadBatch+5], true) || slices.Contains(has[uploadBatch+5:len(ids)-1], false) {
		t.Error("not just what was asked for is forgotten")
	}
	wantErr(t, r.Uploaded(ctx, "gone", ids), syncer.ErrCertificate)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	wantErr(t, r.Uploaded(ended, "pc", ids), context.Canceled)
}

func TestUploadsGetOld(t *testing.T) {
	r := fleet(t)
	enrol(t, r, "ana", "pc", 1)
	start := time.Unix(0, 0).Add(2000 * uploadSpan) // where a bucket begins
	now := start
	r.now = func() time.Time { return now }
	id := []store.ID{{1}}
	must(t, r.Uploaded(t.Context(), "pc", id))
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{time.Hour, true}, {30 * 24 * time.Hour, true}, {41 * 24 * time.Hour, false}} {
		now = start.Add(c.after)
		must(t, r.ForgetUploads(t.Context(), "pc", nil))
		if has := must1(r.HasUploaded(t.Context(), "pc", id))(t); has[0] != c.want {
			t.Errorf("after %v it is %t that the note is there", c.after, has[0])
		}
	}
}

// After a crash of the process the notes are there; after one of the machine,
// or damage, they are begun anew.
func TestUploadsAfterCrash(t *testing.T) {
	r := fleet(t)
	enrol(t, r, "ana", "pc", 1)
	id := []store.ID{{1}}
	must(t, r.Uploaded(t.Context(), "pc", id))
	dir := filepath.Dir(r.db.Path())
	// What the files hold while they are open is what a crash leaves.
	crashed := func(t *testing.T, harm func(uploads string)) *Registry {
		to := memoryDir(t)
		for _, name := range []string{"registry.db", "uploads.db", "uploads.db" + openMark} {
			b := must1(os.ReadFile(filepath.Join(dir, name)))(t)
			must(t, os.WriteFile(filepath.Join(to, name), b, 0o600))
		}
		harm(filepath.Join(to, "uploads.db"))
		r, err := Open(filepath.Join(to, "registry.db"))
		must(t, err)
		t.Cleanup(func() { r.Close() })
		return r
	}
	boot := func(path string) { must(t, os.WriteFile(path+openMark, []byte("earlier"), 0o600)) }
	for name, c := range map[string]struct {
		harm func(path string)
		want bool
	}{
		"of the process": {func(string) {}, true},
		"of the machine": {boot, false},
		"mark":           {func(p string) { must(t, os.Truncate(p+openMark, 0)) }, false},
		"empty":          {func(p string) { must(t, os.Truncate(p, 0)) }, false},
		"cut off":        {func(p string) { must(t, os.Truncate(p, 2*4096)) }, false},
		"no database":    {func(p string) { must(t, os.WriteFile(p, make([]byte, 1<<16), 0o600)) }, false},
		"missing":        {func(p string) { must(t, os.Remove(p)) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := crashed(t, c.harm)
			if has := must1(r.HasUploaded(t.Context(), "pc", id))(t); has[0] != c.want {
				t.Errorf("it is %t that the note is there", has[0])
			}
			must(t, r.Uploaded(t.Context(), "pc", id))
			if has := must1(r.HasUploaded(t.Context(), "pc", id))(t); !has[0] {
				t.Error("a new note is not there")
			}
		})
	}
}

func BenchmarkUploaded(b *testing.B) {
	r := fleet(b)
	enrol(b, r, "ana", "pc", 1)
	ids := manyIDs(1 << 20)
	must(b, r.Uploaded(b.Context(), "pc", ids))
	b.Run("note 4096 among a million", func(b *testing.B) {
		for b.Loop() {
			must(b, r.Uploaded(b.Context(), "pc", ids[:4096]))
		}
	})
	b.Run("ask for 4096 among a million", func(b *testing.B) {
		for b.Loop() {
			must1(r.HasUploaded(b.Context(), "pc", ids[:4096]))(b)
		}
	})
}
