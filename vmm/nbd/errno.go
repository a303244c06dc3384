package nbd

import (
	"errors"
	"syscall"
)

// errnoOf maps an export's error to what the protocol has for it.
func errnoOf(err error) errno {
	switch {
	case err == nil:
		return errNone
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return errNoSpc
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EROFS):
		return errPerm
	case errors.Is(err, syscall.ENOMEM):
		return errNoMem
	case errors.Is(err, syscall.EINVAL):
		return errInval
	case errors.Is(err, errors.ErrUnsupported):
		return errNotSup
	}
	return errIO
}
