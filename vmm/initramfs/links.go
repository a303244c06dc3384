package initramfs

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// maxLinks bounds the symbolic links followed in one name, as the kernel does.
const maxLinks = 40

var errLoop = errors.New("too many symbolic links")

// follow returns the name that a path has once all symbolic links in it are
// resolved inside root, so that "/lib" and absolute links mean the tree's own,
// whatever the file system below would make of them.
func follow(root fs.FS, name string) (string, error) {
	rest := strings.Split(name, "/")
	var done string
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = path.Dir("/" + done)[1:]
			continue
		}
		at := path.Join(done, part)
		info, err := fs.Lstat(root, at)
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			done = at
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "follow", Path: name, Err: errLoop}
		}
		target, err := fs.ReadLink(root, at)
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			done = ""
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	if done == "" {
		done = "."
	}
	return done, nil
}

// exists reports whether name, links followed, is there.
func exists(root fs.FS, name string) bool {
	_, err := follow(root, name)
	return err == nil
}

// read reads a file, links followed.
func read(root fs.FS, name string) ([]byte, error) {
	at, err := follow(root, name)
	if err != nil {
		return nil, err
	}
	return fs.ReadFile(root, at)
}

// list returns the names in a directory, links followed; none if there is no
// such directory.
func list(root fs.FS, name string) []string {
	at, err := follow(root, name)
	if err != nil {
		return nil
	}
	entries, err := fs.ReadDir(root, at)
	if err != nil {
		return nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}
