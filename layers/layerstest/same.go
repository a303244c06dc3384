package layerstest

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// SameDirs reports as errors of the test what differs between two directories:
// all that rsync compares, contents included, and times to the nanosecond and
// all extended attributes.
func SameDirs(t testing.TB, want, got string) {
	t.Helper()
	if _, err := exec.LookPath("rsync"); err == nil {
		out, err := exec.Command("rsync", "-aHAXS", "--checksum", "--dry-run", "--itemize-changes", "--delete", want+"/", got+"/").CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("rsync finds differences, error %v:\n%.4000s", err, out)
		}
	}
	SameFacts(t, want, got)
}

// SameFacts is SameDirs but for contents and holes: it reads no files, however
// large.
func SameFacts(t testing.TB, want, got string) {
	t.Helper()
	a, b := describe(t, want), describe(t, got)
	for _, p := range slices.Sorted(maps.Keys(a)) {
		if a[p] != b[p] {
			t.Errorf("%q: %s\nwant %s", p, b[p], a[p])
		}
	}
	for _, p := range slices.Sorted(maps.Keys(b)) {
		if _, ok := a[p]; !ok {
			t.Errorf("%q: %s\nwant nothing there", p, b[p])
		}
	}
}

// describe tells of each path below dir what rsync may miss.
func describe(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	first := map[uint64]string{}
	err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		xs, err := attributes(p)
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(p, dir)
		same := ""
		if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if same = first[st.Ino]; same == "" {
				first[st.Ino], same = rel, rel
			}
		}
		size := st.Size
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			size = 0
		}
		all[rel] = fmt.Sprintf("mode %o owner %d:%d size %d device %x time %d.%09d file %q attributes %q",
			st.Mode, st.Uid, st.Gid, size, st.Rdev, st.Mtim.Sec, st.Mtim.Nsec, same, xs)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// attributes returns all extended attributes of a file.
func attributes(p string) (map[string]string, error) {
	buf := make([]byte, 1<<16)
	n, err := unix.Llistxattr(p, buf)
	if err != nil || n == 0 {
		return nil, err
	}
	xs := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		value := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(p, name, value)
		if err != nil {
			return nil, err
		}
		xs[name] = string(value[:n])
	}
	return xs, nil
}
