package merge

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// AlternativesDir is where update-alternatives keeps its administrative files,
// one a group, and AlternativesLinks where the links are that they govern.
const (
	AlternativesDir   = "var/lib/dpkg/alternatives"
	AlternativesLinks = "etc/alternatives"
)

// A Link is a symbolic link that a group of alternatives demands.
type Link struct {
	Path   string // relative: "etc/alternatives/editor"
	Target string // absolute: "/bin/nano"; empty: there must be no link at Path
	// Slave tells that the link is of something that goes with the choice,
	// such as its manual page. update-alternatives makes such a link only
	// when its target exists; so should the caller.
	Slave bool
}

// Manual reports whether an administrative file says that its choice was made
// by somebody and does not follow priorities.
func Manual(admin []byte) bool { return strings.HasPrefix(string(admin), manual+"\n") }

// Alternatives returns what the links in etc/alternatives must be, given the
// administrative files after merging. It is the second stage of merging them:
// the files do not say which choice is current, only the links do.
//
// Call it after all files of a stack are merged, for the groups that more than
// one layer touches: by their administrative file, or by the link. The key of
// files is the group's name, which is the file's name in [AlternativesDir];
// content nil says that the group is gone, and its link is then to be absent
// unless something else put it there, which is the caller's to know.
//
// current is asked only for groups in manual mode, with the link's path. It
// returns where that points in the topmost layer of those whose own
// administrative file is [Manual] and which hold the link; failing that, in
// the topmost layer that holds the link.
//
// In automatic mode the link points to the choice of highest priority. In
// manual mode it stays, unless the group no longer has that choice: then it
// points to the best one, and a conflict says so. The links are ordered by
// path.
func Alternatives(files map[string][]byte, current func(link string) (target string, ok bool)) ([]Link, []Conflict) {
	var links []Link
	var conflicts []Conflict
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file, link := AlternativesDir+"/"+name, AlternativesLinks+"/"+name
		a, err := parseAlternative(string(files[name]))
		if err != nil {
			conflicts = append(conflicts, Conflict{Path: file, Reason: fmt.Sprintf("links left as they are: %v", err)})
			continue
		}
		if a == nil {
			links = append(links, Link{Path: link})
			continue
		}
		chosen := a.best()
		if a.status == manual {
			target, ok := current(link)
			if _, exists := a.choices[target]; exists {
				chosen = target
			} else if ok {
				conflicts = append(conflicts, Conflict{Path: link, Reason: fmt.Sprintf(
					"alternative %s was set by hand to %s, which is no choice any more; it is now %s", name, target, chosen)})
			}
		}
		links = append(links, Link{Path: link, Target: chosen})
		for slave := range a.slaves {
			links = append(links, Link{AlternativesLinks + "/" + slave, a.choices[chosen].slaves[slave], true})
		}
	}
	slices.SortFunc(links, func(a, b Link) int { return strings.Compare(a.Path, b.Path) })
	return links, conflicts
}
