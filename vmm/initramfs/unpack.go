package initramfs

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxModule bounds a module's size once it is decompressed.
const maxModule = 256 << 20

// readModule reads a module's file, decompressed: a kernel may not be able to
// do that itself.
func readModule(root fs.FS, name string) ([]byte, error) {
	data, err := read(root, name)
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	r, err := decompressor(path.Ext(name), bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", name, err)
	}
	data, err = io.ReadAll(io.LimitReader(r, maxModule+1))
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", name, err)
	}
	if len(data) > maxModule {
		return nil, fmt.Errorf("read module %s: longer than %d bytes", name, maxModule)
	}
	return data, nil
}

func decompressor(ext string, r io.Reader) (io.Reader, error) {
	switch ext {
	case ".gz":
		return gzip.NewReader(r)
	case ".xz":
		return xz.NewReader(r)
	case ".zst":
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxModule))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	default:
		return r, nil
	}
}
