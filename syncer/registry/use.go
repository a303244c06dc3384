package registry

import (
	"fmt"
	"strings"

	"satchel/store"
	"satchel/syncer"
)

// A UseError reports something that cannot go yet because of what needs it. It
// is [store.ErrBusy].
type UseError struct {
	What string   // such as "user ana"
	By   []string // such as "device laptop", some of them
}

// maxUses is how many of its users an error names.
const maxUses = 10

func (e *UseError) Error() string {
	by := e.By
	more := ""
	if len(by) > maxUses {
		by, more = by[:maxUses], fmt.Sprintf(" and %d more", len(e.By)-maxUses)
	}
	return fmt.Sprintf("%s is needed by %s%s; remove that first", e.What, strings.Join(by, ", "), more)
}

// Is reports that a UseError is [store.ErrBusy].
func (e *UseError) Is(target error) bool { return target == store.ErrBusy }

func notExist(what, name string) error {
	return fmt.Errorf("%s %.80q: %w", what, name, store.ErrNotExist)
}

func exist(what, name string) error {
	return fmt.Errorf("%s %.80q: %w", what, name, store.ErrExist)
}

func malformed(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, syncer.ErrMalformed)...)
}
