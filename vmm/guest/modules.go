package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// loadModules loads the modules that dir/order lists. One that fails may be one
// that this machine can do without, such as an accelerated checksum, so the
// failures are returned for whoever misses something later.
func loadModules(dir string) (failed []error) {
	list, err := os.ReadFile(filepath.Join(dir, "order"))
	if err != nil {
		return []error{err}
	}
	for _, name := range strings.Fields(string(list)) {
		if err := loadModule(filepath.Join(dir, name)); err != nil {
			failed = append(failed, fmt.Errorf("load module %s: %w", name, err))
		}
	}
	return failed
}

func loadModule(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}
