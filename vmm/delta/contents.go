package delta

import (
	"io"

	"satchel/vmm/delta/ext4"
)

// contents reads a file of a delta disk from its beginning to its end.
type contents struct {
	*io.SectionReader
	file *ext4.File
}

func openContents(fs *ext4.FS, inode *ext4.Inode) (io.ReadCloser, error) {
	f, err := fs.File(inode)
	if err != nil {
		return nil, err
	}
	return &contents{io.NewSectionReader(f, 0, f.Size()), f}, nil
}

// Data tells where the file's bytes are, so that its holes need not be read.
func (c *contents) Data(off int64) (start, end int64) { return c.file.Data(off) }

// Close implements [io.Closer]. The disk stays open.
func (c *contents) Close() error { return nil }
