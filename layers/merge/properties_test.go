package merge

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// samples are real files of a Debian system, by where they are kept there.
var samples = map[string]string{
	"var/lib/dpkg/status":             "status",
	"var/lib/apt/extended_states":     "extended_states",
	"var/lib/dpkg/diversions":         "diversions",
	"var/lib/dpkg/statoverride":       "statoverride",
	"var/lib/dpkg/triggers/File":      "triggers",
	"var/lib/dpkg/alternatives/awk":   "awk",
	"var/lib/dpkg/alternatives/pager": "pager",
	"var/lib/dpkg/alternatives/vi":    "vi",
	"var/cache/debconf/config.dat":    "config.dat",
	"etc/passwd":                      "passwd",
	"etc/group":                       "group",
	"etc/shadow":                      "shadow",
	"etc/gshadow":                     "gshadow",
	"etc/subuid":                      "subuid",
	"etc/shells":                      "shells",
}

func sample(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", samples[path]))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func mustMerge(t interface{ Fatalf(string, ...any) }, path, base, lower, upper string) (string, []Conflict) {
	out, err := For(path).Merge(Input{path, []byte(base), []byte(lower), []byte(upper)})
	if err != nil {
		t.Fatalf("merge %s: %v", path, err)
	}
	return string(out.Data), out.Conflicts
}

func TestOneSidedChangesAreTakenByteForByte(t *testing.T) {
	for path := range samples {
		b, x := sample(t, path), sample(t, path)+"anything at all"
		for _, c := range []struct{ name, base, lower, upper, want string }{
			{"only the upper changed", b, b, x, x},
			{"only the lower changed", b, x, b, x},
			{"both made the same change", b, x, x, x},
		} {
			if got, conflicts := mustMerge(t, path, c.base, c.lower, c.upper); got != c.want || conflicts != nil {
				t.Errorf("%s: %s: got %q with conflicts %v", path, c.name, got, conflicts)
			}
		}
		out, err := For(path).Merge(Input{Path: path, Base: []byte(b), Lower: []byte(b)})
		if err != nil || out.Data != nil || out.Conflicts != nil {
			t.Errorf("%s: removed by the upper: got %+v, %v", path, out, err)
		}
	}
}

// Removing different records on each side of a real file leaves neither, and
// is no conflict.
func TestDisjointRemovalsNeverConflict(t *testing.T) {
	for _, path := range []string{"var/lib/dpkg/status", "var/lib/apt/extended_states", "etc/passwd", "etc/group", "etc/shadow", "etc/shells"} {
		sep := "\n"
		if strings.HasPrefix(path, "var") {
			sep = "\n\n"
		}
		all := strings.SplitAfter(strings.TrimRight(sample(t, path), "\n")+sep, sep)
		all = all[:len(all)-1]
		rapid.Check(t, func(t *rapid.T) {
			i := rapid.IntRange(0, len(all)-1).Draw(t, "removed below")
			j := rapid.IntRange(0, len(all)-1).Draw(t, "removed here")
			if i == j {
				return
			}
			without := func(drop ...int) string {
				var kept []string
				for n, r := range all {
					if !slices.Contains(drop, n) {
						kept = append(kept, r)
					}
				}
				return strings.Join(kept, "")
			}
			got, conflicts := mustMerge(t, path, without(), without(i), without(j))
			if got != without(i, j) || conflicts != nil {
				t.Fatalf("%s: got %q with conflicts %v", path, got, conflicts)
			}
		})
	}
}

// drawTable draws users with names out of few.
func drawUsers(t *rapid.T) map[string]string {
	return rapid.MapOfN(rapid.SampledFrom([]string{"ana", "bo", "cy", "di", "ed"}),
		rapid.SampledFrom([]string{"/bin/sh", "/bin/bash", "/bin/false"}), 0, 5).Draw(t, "users")
}

func formatUsers(users map[string]string) string {
	var b strings.Builder
	for i, name := range []string{"ana", "bo", "cy", "di", "ed"} {
		if shell, ok := users[name]; ok {
			b.WriteString(name + ":x:" + string(rune('1'+i)) + ":100::/:" + shell + "\n")
		}
	}
	return b.String()
}

func TestEveryRecordIsDecidedByItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, lower, upper := drawUsers(t), drawUsers(t), drawUsers(t)
		b, l, u := formatUsers(base), formatUsers(lower), formatUsers(upper)
		got, conflicts := mustMerge(t, "etc/passwd", b, l, u)
		again, reverse := mustMerge(t, "etc/passwd", b, u, l)
		if len(conflicts) != len(reverse) {
			t.Fatalf("conflicts %v, the other way round %v (%q and %q)", conflicts, reverse, got, again)
		}
		clashes := 0
		for i, name := range []string{"ana", "bo", "cy", "di", "ed"} {
			want := upper[name]
			switch {
			case lower[name] == upper[name] || base[name] == lower[name]:
			case base[name] == upper[name]:
				want = lower[name]
			default:
				clashes++
			}
			line := name + ":x:" + string(rune('1'+i)) + ":100::/:" + want + "\n"
			if has := strings.Contains(got, line); has != (want != "") {
				t.Fatalf("user %s: want shell %q, got %q", name, want, got)
			}
		}
		if clashes != len(conflicts) {
			t.Fatalf("%d users changed on both sides, but conflicts %v", clashes, conflicts)
		}
	})
}

// fuzz feeds a driver anything: it must not panic, must answer the same twice,
// and what it makes it must be able to read.
func fuzz(f *testing.F, path string) {
	s := sample(f, path)
	f.Add(s, s+s, s[:len(s)/2])
	f.Add("", s, "\n\n:\n,")
	f.Fuzz(func(t *testing.T, base, lower, upper string) {
		in := Input{path, []byte(base), []byte(lower), []byte(upper)}
		out, err := For(path).Merge(in)
		if err != nil {
			return
		}
		again, err := For(path).Merge(in)
		if err != nil || string(again.Data) != string(out.Data) || len(again.Conflicts) != len(out.Conflicts) {
			t.Fatalf("a second time: %q, %v, not %q", again.Data, err, out.Data)
		}
	})
}

func FuzzStatus(f *testing.F)       { fuzz(f, "var/lib/dpkg/status") }
func FuzzDiversions(f *testing.F)   { fuzz(f, "var/lib/dpkg/diversions") }
func FuzzStatoverride(f *testing.F) { fuzz(f, "var/lib/dpkg/statoverride") }
func FuzzAlternatives(f *testing.F) { fuzz(f, "var/lib/dpkg/alternatives/vi") }
func FuzzDebconf(f *testing.F)      { fuzz(f, "var/cache/debconf/config.dat") }
func FuzzPasswd(f *testing.F)       { fuzz(f, "etc/passwd") }
func FuzzGroup(f *testing.F)        { fuzz(f, "etc/group") }
func FuzzSubuid(f *testing.F)       { fuzz(f, "etc/subuid") }
func FuzzLines(f *testing.F)        { fuzz(f, "etc/shells") }
