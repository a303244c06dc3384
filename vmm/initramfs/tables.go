package initramfs

import (
	"bufio"
	"bytes"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// tables is what depmod wrote of a kernel's modules. Modules go by their names
// as the kernel spells them, with underscores.
type tables struct {
	dir     string // the modules' directory in the tree
	file    map[string]string
	needs   map[string][]string // hard dependencies, in the order to load
	before  map[string][]string // names or aliases of soft dependencies
	builtin map[string]bool
	aliases []alias
}

// An alias is a pattern that stands for a module.
type alias struct{ pattern, module string }

// readTables reads the tables in dir. A table that is not there is empty: only
// modules.dep is needed, and its absence shows in file being empty.
func readTables(root fs.FS, dir string) *tables {
	t := &tables{
		dir:     dir,
		file:    make(map[string]string),
		needs:   make(map[string][]string),
		before:  make(map[string][]string),
		builtin: make(map[string]bool),
	}
	t.each(root, "modules.dep", t.dep)
	t.each(root, "modules.softdep", t.softdep)
	t.each(root, "modules.alias", t.alias)
	t.each(root, "modules.builtin", func(line string) { t.builtin[moduleName(line)] = true })
	return t
}

// each calls f for each line of a table.
func (t *tables) each(root fs.FS, table string, f func(line string)) {
	data, err := read(root, path.Join(t.dir, table))
	if err != nil {
		return
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && line[0] != '#' {
			f(line)
		}
	}
}

// dep reads "kernel/fs/erofs/erofs.ko: kernel/lib/libcrc32c.ko ...", whose
// right side is in the reverse of the order to load.
func (t *tables) dep(line string) {
	file, rest, ok := strings.Cut(line, ":")
	if !ok {
		return
	}
	name := moduleName(file)
	t.file[name] = file
	for _, f := range strings.Fields(rest) {
		t.needs[name] = append(t.needs[name], moduleName(f))
	}
	slices.Reverse(t.needs[name])
}

// softdep reads "softdep NAME pre: a b post: c d"; names before any keyword
// count as pre. What should come after is not needed for the start.
func (t *tables) softdep(line string) {
	f := strings.Fields(line)
	if len(f) < 3 || f[0] != "softdep" {
		return
	}
	name, pre := kernelName(f[1]), true
	for _, word := range f[2:] {
		switch word {
		case "pre:":
			pre = true
		case "post:":
			pre = false
		default:
			if pre {
				t.before[name] = append(t.before[name], word)
			}
		}
	}
}

// alias reads "alias PATTERN MODULE".
func (t *tables) alias(line string) {
	if f := strings.Fields(line); len(f) == 3 && f[0] == "alias" {
		t.aliases = append(t.aliases, alias{kernelName(f[1]), kernelName(f[2])})
	}
}

// resolve returns the modules that a name or an alias stands for.
func (t *tables) resolve(name string) []string {
	name = kernelName(name)
	if t.file[name] != "" || t.builtin[name] {
		return []string{name}
	}
	var found []string
	for _, a := range t.aliases {
		if ok, err := path.Match(a.pattern, name); ok && err == nil && !slices.Contains(found, a.module) {
			found = append(found, a.module)
		}
	}
	return found
}

// order appends module and all that it needs to list, each once, each after
// what it needs. Built-in modules need no loading.
func (t *tables) order(list []string, module string) []string {
	return t.visit(list, module, make(map[string]bool))
}

func (t *tables) visit(list []string, module string, open map[string]bool) []string {
	if open[module] || t.file[module] == "" || t.builtin[module] || slices.Contains(list, module) {
		return list
	}
	open[module] = true // a circle of soft dependencies ends here
	for _, soft := range t.before[module] {
		for _, m := range t.resolve(soft) {
			list = t.visit(list, m, open)
		}
	}
	for _, m := range t.needs[module] {
		list = t.visit(list, m, open)
	}
	return append(list, module)
}

// moduleName is the name of the module in a file, whatever its compression.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return kernelName(name)
}

// kernelName is a module's name as the kernel spells it.
func kernelName(s string) string { return strings.ReplaceAll(s, "-", "_") }
