package delta

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"satchel/layers"
	"satchel/store"
)

// crash returns a disk as a power cut leaves it: the journal holds what f
// wrote and synced. What f returns names the files that must survive.
func crash(t *testing.T) (path string, want layers.Tree) {
	t.Helper()
	live := newDisk(t, 256<<20) // large enough for copies of the superblock
	dir, _ := mount(t, live)
	upper := filepath.Join(dir, UpperDir)
	must(t, os.MkdirAll(filepath.Join(upper, "d"), 0o755))
	for _, name := range []string{"a", "d/b", "d/c"} {
		f, err := os.Create(filepath.Join(upper, name))
		must(t, err)
		_, err = f.WriteString("contents of " + name)
		must(t, err)
		must(t, f.Sync())
		must(t, f.Close())
	}
	path = filepath.Join(t.TempDir(), "crashed.img")
	must(t, Copy(t.Context(), live, path))
	if c := condition(t, path); c != Dirty {
		t.Fatalf("condition %v", c)
	}
	return path, kernelTree(t, upper)
}

func TestReplay(t *testing.T) {
	path, want := crash(t)
	before := digest(t, path)
	if _, _, err := Read(t.Context(), path, &sums{}); !errors.Is(err, ErrDirty) {
		t.Errorf("reading a dirty disk: %v, want %v", err, ErrDirty)
	}
	for range 2 { // a second replay replaces the first
		clean, notes, err := Replay(t.Context(), path)
		must(t, err)
		if len(notes) != 0 {
			t.Errorf("notes %v", notes)
		}
		if c := condition(t, clean); c != Clean {
			t.Errorf("replayed: %v", c)
		}
		readBack(t, clean, want)
	}
	if digest(t, path) != before {
		t.Error("the original was changed")
	}
	onlyFiles(t, filepath.Dir(path), "crashed.img", "crashed.img.replayed")
}

func TestReplayOfDamage(t *testing.T) {
	crashed, want := crash(t)
	path, _, err := Replay(t.Context(), crashed)
	must(t, err)
	spoil(t, path)
	before := digest(t, path)
	clean, notes, err := Replay(t.Context(), path)
	must(t, err)
	if len(notes) != 1 {
		t.Errorf("notes %v, want one that tells of the repair", notes)
	}
	readBack(t, clean, want)
	if digest(t, path) != before {
		t.Error("the original was changed")
	}
}

// A disk may be clean and yet damaged. Its superblock may even be gone: there
// are copies of it.
func TestRepairOfCleanDisk(t *testing.T) {
	crashed, want := crash(t)
	path, _, err := Replay(t.Context(), crashed)
	must(t, err)
	tests := []struct {
		name  string
		at    int64 // of the damage
		bytes string
		notes int
	}{
		{"checksum of the root directory", inodeAt(t, path, 2) + 0x7C, "\xAA\x55", 0},
		{"superblock", 1024, string(make([]byte, 1024)), 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spoilt := filepath.Join(t.TempDir(), "spoilt.img")
			must(t, Copy(t.Context(), path, spoilt))
			overwrite(t, spoilt, tt.at, tt.bytes)
			if _, _, err := Read(t.Context(), spoilt, &sums{}); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("read: %v, want %v", err, store.ErrCorrupt)
			}
			clean, notes, err := Repair(t.Context(), spoilt)
			must(t, err)
			if len(notes) != tt.notes {
				t.Errorf("notes %v, want %d", notes, tt.notes)
			}
			readBack(t, clean, want)
		})
	}
}

// spoil writes nonsense over the inode of lost+found, which e2fsck does not
// mend unasked, and notes an error as the kernel does when it meets one.
func spoil(t *testing.T, path string) {
	t.Helper()
	command(t, "/usr/sbin/debugfs", "-w", "-R", "set_super_value state 2", path)
	overwrite(t, path, inodeAt(t, path, 11), "nonsense")
}

// inodeAt finds the record of an inode in the first group.
func inodeAt(t *testing.T, path string, n int64) int64 {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	desc := make([]byte, 64) // of group 0, in the block after the superblock's
	_, err = f.ReadAt(desc, 4096)
	must(t, err)
	return int64(binary.LittleEndian.Uint32(desc[8:]))*4096 + (n-1)*256
}

func overwrite(t *testing.T, path string, at int64, data string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte(data), at)
	must(t, err)
	must(t, f.Close())
}

func TestReplayOfWhatNeedsNone(t *testing.T) {
	path := newDisk(t, MinSize)
	got, notes, err := Replay(t.Context(), path)
	must(t, err)
	if got != path || len(notes) != 0 {
		t.Errorf("%q, %v: want the disk as it is", got, notes)
	}
	if _, _, err := Replay(t.Context(), path+"-absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
}

func TestReplayCancelled(t *testing.T) {
	path, _ := crash(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Replay(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	onlyFiles(t, filepath.Dir(path), "crashed.img")
}

func onlyFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	names, err := os.ReadDir(dir)
	must(t, err)
	var got []string
	for _, n := range names {
		got = append(got, n.Name())
	}
	if len(got) != len(want) {
		t.Errorf("files %q, want %q", got, want)
	}
}

// While it is frozen, a mounted disk is clean, and can be copied and read.
func TestCopyOfFrozenDisk(t *testing.T) {
	live := newDisk(t, 64<<20)
	dir, _ := mount(t, live)
	upper := filepath.Join(dir, UpperDir)
	must(t, os.MkdirAll(upper, 0o755))
	open, err := os.Create(filepath.Join(upper, "deleted"))
	must(t, err)
	defer open.Close()
	_, err = open.WriteString("still in use")
	must(t, err)
	must(t, os.Remove(open.Name()))
	write(t, filepath.Join(upper, "kept"), "not synced by anyone")
	want := kernelTree(t, upper)

	copied := filepath.Join(t.TempDir(), "copy.img")
	command(t, "/usr/sbin/fsfreeze", "-f", dir)
	err = Copy(t.Context(), live, copied)
	command(t, "/usr/sbin/fsfreeze", "-u", dir)
	must(t, err)
	if c := condition(t, copied); c != Clean {
		t.Errorf("condition %v", c)
	}
	readBack(t, copied, want)
}

func TestCopyKeepsHoles(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	f, err := os.Create(from)
	must(t, err)
	for _, at := range []int64{0, 10 << 20, 1<<27 - 5} {
		_, err := f.WriteAt([]byte("data"), at)
		must(t, err)
	}
	must(t, f.Truncate(1<<27+7))
	must(t, f.Close())
	must(t, os.WriteFile(to, []byte("replaced"), 0o600))
	must(t, Copy(t.Context(), from, to))
	info, err := os.Stat(to)
	must(t, err)
	if info.Size() != 1<<27+7 || allocated(info) > 1<<20 {
		t.Errorf("copy has %d bytes and takes %d", info.Size(), allocated(info))
	}
	if digest(t, from) != digest(t, to) {
		t.Error("the copy differs")
	}
	onlyFiles(t, dir, "from", "to")
	if err := Copy(t.Context(), filepath.Join(dir, "absent"), to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	if digest(t, to) == (store.ID{}) {
		t.Error("a failed copy removed what was there")
	}
}
