package dir

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxOpen is how many directories a stack keeps open.
const maxOpen = 64

// A stack holds the directories from the root to where a walk stands.
type stack []level

type level struct {
	fd       int // -1: closed for now
	dev, ino uint64
}

// push opens the directory of that name in the top one, or at that path if the
// stack is empty. A link is not followed, but the first path may be one.
func (s *stack) push(name string) error {
	at, flags := unix.AT_FDCWD, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC
	if len(*s) > 0 {
		at, flags = s.fd(), flags|unix.O_NOFOLLOW
	}
	l, err := openLevel(at, name, flags)
	if err != nil {
		return err
	}
	*s = append(*s, l)
	if i := len(*s) - 1 - maxOpen; i > 0 {
		(*s)[i].close()
	}
	return nil
}

func openLevel(at int, name string, flags int) (l level, err error) {
	if err := retry(func() (err error) { l.fd, err = unix.Openat(at, name, flags, 0); return err }); err != nil {
		return l, fmt.Errorf("open directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(l.fd, &st); err != nil {
		l.close()
		return l, fmt.Errorf("stat directory: %w", err)
	}
	l.dev, l.ino = st.Dev, st.Ino
	return l, nil
}

func (l *level) close() {
	if l.fd >= 0 {
		unix.Close(l.fd)
		l.fd = -1
	}
}

// fd is the top directory's.
func (s *stack) fd() int { return (*s)[len(*s)-1].fd }

// pop closes the top directory, after it made sure that the next one is open
// and called leave, if not nil, with the top one.
func (s *stack) pop(leave func(fd int) error) error {
	top := &(*s)[len(*s)-1]
	defer func() {
		top.close()
		*s = (*s)[:len(*s)-1]
	}()
	if len(*s) > 1 {
		if err := (*s)[len(*s)-2].reopen(top.fd); err != nil {
			return err
		}
	}
	if leave == nil {
		return nil
	}
	return leave(top.fd)
}

// reopen opens a directory that was closed, from one in it.
func (l *level) reopen(below int) error {
	if l.fd >= 0 {
		return nil
	}
	again, err := openLevel(below, "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	if again.dev != l.dev || again.ino != l.ino {
		again.close()
		return errors.New("directory was moved away meanwhile")
	}
	l.fd = again.fd
	return nil
}

// open fills an empty stack with the directories from root to path in it.
func (s *stack) open(root, path string) error {
	if err := s.push(root); err != nil {
		return err
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			break // path is the root
		}
		if err := s.push(name); err != nil {
			return err
		}
	}
	return nil
}

// close closes all directories.
func (s *stack) close() {
	for i := range *s {
		(*s)[i].close()
	}
	*s = nil
}

// procPath names a file in an open directory for system calls that take only
// paths. The empty name is the directory itself.
func procPath(fd int, name string) string {
	if name == "" {
		name = "."
	}
	return "/proc/self/fd/" + strconv.Itoa(fd) + "/" + name
}
