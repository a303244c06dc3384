package initramfs

import (
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// The cpio "newc" format, as the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst describes it:
// a header of 13 hexadecimal numbers, the name, the content, each padded to
// 4 bytes.

const (
	cpioMagic   = "070701"
	cpioHeader  = 110
	cpioTrailer = "TRAILER!!!"
)

// File types in a cpio mode.
const (
	modeDir  = 0o040000
	modeFile = 0o100000
	modeChar = 0o020000
)

// A cpioWriter writes an archive whose times and owners are all zero. After one
// failure it writes nothing more.
type cpioWriter struct {
	w     io.Writer
	inode uint32
	err   error
}

// dir adds a directory.
func (c *cpioWriter) dir(name string, perm fs.FileMode) {
	c.entry(name, modeDir|uint32(perm.Perm()), 2, [2]uint32{}, nil)
}

// file adds a regular file.
func (c *cpioWriter) file(name string, perm fs.FileMode, data []byte) {
	c.entry(name, modeFile|uint32(perm.Perm()), 1, [2]uint32{}, data)
}

// char adds a character device.
func (c *cpioWriter) char(name string, perm fs.FileMode, major, minor uint32) {
	c.entry(name, modeChar|uint32(perm.Perm()), 1, [2]uint32{major, minor}, nil)
}

// close ends the archive and returns the first error.
func (c *cpioWriter) close() error {
	c.inode = 0
	c.entry(cpioTrailer, 0, 1, [2]uint32{}, nil)
	return c.err
}

func (c *cpioWriter) entry(name string, mode, nlink uint32, dev [2]uint32, data []byte) {
	if c.err == nil && int64(len(data)) > 1<<32-1 {
		c.err = fmt.Errorf("%s: too large for cpio: %d bytes", name, len(data))
	}
	if c.err != nil {
		return
	}
	var h strings.Builder
	h.WriteString(cpioMagic)
	for _, v := range [13]uint32{
		c.inode, mode, 0, 0, nlink, 0, uint32(len(data)),
		0, 0, dev[0], dev[1], uint32(len(name) + 1), 0,
	} {
		fmt.Fprintf(&h, "%08X", v)
	}
	h.WriteString(name)
	h.WriteString(strings.Repeat("\x00", 1+pad4(cpioHeader+len(name)+1)))
	c.inode++
	c.write([]byte(h.String()))
	c.write(data)
	c.write(make([]byte, pad4(len(data))))
}

func (c *cpioWriter) write(b []byte) {
	if c.err == nil && len(b) > 0 {
		_, c.err = c.w.Write(b)
	}
}

// pad4 is how many bytes n lacks to a multiple of 4.
func pad4(n int) int { return -n & 3 }
