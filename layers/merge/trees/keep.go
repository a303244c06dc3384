package trees

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"satchel/layers"
)

// maxDevice bounds a device's name in that of a kept file, in bytes.
const maxDevice = 64

// A kept is a file to be kept beside its path.
type kept struct {
	path   string
	file   *file
	from   *version
	reason string
}

// keep has a file of a side kept beside path.
func (m *merger) keep(path string, f *file, from *version, reason string) {
	m.kept = append(m.kept, kept{path, f, from, reason})
}

// placeKept puts the kept files at the first free names. One that is there
// already, as an earlier merge may have left it, is not put there again.
func (m *merger) placeKept(places []place) []place {
	if len(m.kept) == 0 {
		return places
	}
	slices.SortStableFunc(m.kept, func(a, b kept) int { return layers.ComparePaths(a.path, b.path) })
	dirs := needed(places)
	at := make(map[string]*file, len(places))
	for i := range places {
		at[places[i].path] = places[i].file
	}
	for _, k := range m.kept {
		for n := 1; ; n++ {
			path := k.name(n)
			f, taken := at[path]
			if _, dir := dirs[path]; dir {
				continue
			}
			if taken && (f == nil || edited(f.entry, k.file.entry)) {
				continue
			}
			if !taken {
				at[path] = k.file
				places = append(places, place{path: path, file: k.file})
			}
			m.conflicts = append(m.conflicts, Conflict{Path: k.path, Kept: path, Reason: k.reason})
			break
		}
	}
	slices.SortFunc(places, func(a, b place) int { return layers.ComparePaths(a.path, b.path) })
	return places
}

// name returns the nth name for a kept file: "NAME (from DEVICE, DATE) N.EXT".
func (k *kept) name(n int) string {
	dir, name := layers.SplitPath(k.path)
	stem, ext := name, ""
	if i := strings.LastIndexByte(name, '.'); i > 0 && len(name)-i <= 16 {
		stem, ext = name[:i], name[i:]
	}
	mark := fmt.Sprintf(" (from %s, %s)", k.from.title(), k.from.Time.UTC().Format(time.DateOnly))
	if n > 1 {
		mark += fmt.Sprint(" ", n)
	}
	name = cut(stem, layers.MaxName-len(mark)-len(ext)) + mark + ext
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// title returns the device's name in a form that a path may hold.
func (v *version) title() string {
	name := strings.Map(func(r rune) rune {
		if r < ' ' || r == '/' || r == 0x7f {
			return '-'
		}
		return r
	}, strings.ToValidUTF8(v.Device, "-"))
	return cmp.Or(cut(name, maxDevice), "elsewhere")
}

// cut cuts s to at most n bytes and leaves no part of a rune.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := n; i > max(n-utf8.UTFMax, 0); i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i]
		}
	}
	return s[:n]
}
