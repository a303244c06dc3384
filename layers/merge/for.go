package merge

import (
	"path"
	"slices"
	"strings"
)

// registries says which driver merges which path; the first match wins. The
// patterns are those of [path.Match].
var registries = []struct {
	pattern string
	driver  Driver
}{
	{"var/lib/dpkg/status", status},
	{"var/lib/dpkg/available", status},
	{"var/lib/apt/extended_states", extendedStates},
	{"var/lib/dpkg/arch", lineSet},
	{"var/lib/dpkg/diversions", diversions},
	{"var/lib/dpkg/statoverride", statoverride},
	{"var/lib/dpkg/triggers/Lock", nil},
	{"var/lib/dpkg/triggers/Unincorp", unincorp},
	{"var/lib/dpkg/triggers/*", lineSet},
	{"var/lib/dpkg/alternatives/*", alternatives},
	{"var/lib/ucf/registry", ucf},
	{"var/lib/ucf/hashfile", ucf},
	{"var/cache/debconf/*.dat", debconf},
	{"etc/passwd", passwd},
	{"etc/passwd-", passwd},
	{"etc/group", group},
	{"etc/group-", group},
	{"etc/shadow", shadow},
	{"etc/shadow-", shadow},
	{"etc/gshadow", gshadow},
	{"etc/gshadow-", gshadow},
	{"etc/subuid", subid},
	{"etc/subuid-", subid},
	{"etc/subgid", subid},
	{"etc/subgid-", subid},
	{"etc/shells", lineSet},
	{"var/lib/shells.state", lineSet},
	{"var/lib/systemd/deb-systemd-*/*.dsh-also", lineSet},
}

// For returns the driver of the registry at a relative path, or nil when the
// path is no registry and the upper's file simply hides the lower's.
func For(p string) Driver {
	if !slices.ContainsFunc([]string{"etc/", "var/"}, func(dir string) bool { return strings.HasPrefix(p, dir) }) {
		return nil
	}
	for _, r := range registries {
		if ok, _ := path.Match(r.pattern, p); ok {
			return r.driver
		}
	}
	return nil
}
