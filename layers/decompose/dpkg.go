package decompose

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"strings"

	"satchel/layers"
)

// Where dpkg keeps what it knows, in the form that dpkg-query(1) and
// deb-conffiles(5) describe.
const (
	dpkgInfo   = "var/lib/dpkg/info"
	dpkgStatus = "var/lib/dpkg/status"
)

// packages is what dpkg knows of the paths that changed.
type packages struct {
	owner map[string]string // path to package
	fresh map[string]bool   // packages that the session installed
	// sums has the checksum of each configuration file as its package brought
	// it, in hexadecimal.
	sums map[string]string
}

// packages reads the lists of files of all packages, those that the session
// removed included.
func (in *Input) packages(changes []change) (*packages, error) {
	p := &packages{map[string]string{}, map[string]bool{}, map[string]string{}}
	changed := make(map[string]bool, len(changes))
	for i := range changes {
		changed[changes[i].path] = true
	}
	for _, t := range []layers.Tree{in.Lower, in.Upper} {
		for _, e := range t.Under(dpkgInfo) {
			name, ok := strings.CutSuffix(e.Path[len(dpkgInfo)+1:], ".list")
			if !ok || strings.Contains(name, "/") {
				continue
			}
			if err := in.readList(p, t, &e, name, changed); err != nil {
				return nil, err
			}
		}
		if err := in.readSums(p, t); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// readList notes which of the changed paths are on a package's list.
func (in *Input) readList(p *packages, t layers.Tree, e *layers.Entry, name string, changed map[string]bool) error {
	file := t.Resolve(e)
	if file == nil || file.Type != layers.Regular {
		return nil
	}
	if in.Lower.Find(e.Path) == nil {
		p.fresh[name] = true
	}
	data, err := in.read(file)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		if path := in.real(strings.TrimSuffix(line, "\n")); changed[path] {
			p.owner[path] = name
		}
	}
	return nil
}

// real turns a path of dpkg's into one of the tree, where /bin and its kin may
// be links into /usr.
func (in *Input) real(path string) string {
	path = strings.TrimPrefix(path, "/")
	top, rest, ok := strings.Cut(path, "/")
	if !ok {
		return path
	}
	if e := in.Lower.Find(top); e != nil && e.Type == layers.Symlink {
		return strings.Trim(e.Target, "/") + "/" + rest
	}
	return path
}

// readSums notes the checksums of configuration files from dpkg's database:
// stanzas with lines " path checksum" under a field Conffiles.
func (in *Input) readSums(p *packages, t layers.Tree) error {
	e := t.Find(dpkgStatus)
	if e == nil {
		return nil
	}
	if e = t.Resolve(e); e == nil || e.Type != layers.Regular {
		return nil
	}
	data, err := in.read(e)
	if err != nil {
		return err
	}
	inside := false
	for line := range strings.Lines(string(data)) {
		if line[0] != ' ' {
			inside = strings.HasPrefix(line, "Conffiles:")
			continue
		}
		if f := strings.Fields(line); inside && len(f) >= 2 {
			p.sums[in.real(f[0])] = f[1]
		}
	}
	return nil
}

// judgePackage gives a change the kind that follows from the package it belongs
// to, if there is one.
func (in *Input) judgePackage(c *change, p *packages) (verdict, bool, error) {
	pkg, owned := p.owner[c.path]
	if !owned || c.entry != nil && c.entry.Type == layers.Dir && !c.newDir() {
		// Packages share directories, whose attributes follow the table.
		return verdict{}, false, nil
	}
	sum, conffile := p.sums[c.path]
	switch {
	case !conffile:
		return verdict{layers.Personal, "dpkg", "it belongs to package " + pkg}, true, nil
	case p.fresh[pkg]:
		return verdict{layers.Personal, "dpkg",
			fmt.Sprintf("it is a configuration file that came with package %s", pkg)}, true, nil
	}
	if c.entry != nil && c.entry.Type == layers.Regular {
		data, err := in.read(c.entry)
		if err != nil {
			return verdict{}, false, err
		}
		if got := md5.Sum(data); hex.EncodeToString(got[:]) == sum {
			return verdict{layers.Personal, "dpkg",
				fmt.Sprintf("it is a configuration file as package %s brought it", pkg)}, true, nil
		}
	}
	return verdict{layers.System, "dpkg conffile",
		fmt.Sprintf("it is a configuration file of package %s that was edited", pkg)}, true, nil
}
