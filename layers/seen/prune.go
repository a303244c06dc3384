package seen

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"satchel/store/durable"
)

// prune removes all but the newest maxFiles files.
func prune(at string) error {
	files, err := filepath.Glob(filepath.Join(at, "*"+suffix))
	if err != nil || len(files) <= maxFiles {
		return err
	}
	var infos []fs.FileInfo
	for _, f := range files {
		info, err := os.Stat(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process prunes, too
		}
		if err != nil {
			return err
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for len(infos) > maxFiles {
		last := infos[len(infos)-1]
		infos = infos[:len(infos)-1]
		if err := (durable.FS{}).Remove(filepath.Join(at, last.Name())); err != nil {
			return err
		}
	}
	return nil
}
