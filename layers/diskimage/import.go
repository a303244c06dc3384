package diskimage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"satchel/layers"
	"satchel/layers/ingest"
)

// Import stores the disk that a file of that format holds, and returns its
// tree. Formats other than raw pass through a file in the directory tmp, which
// must be on a file system with holes and with room for what the disk holds.
func Import(ctx context.Context, file string, format Format, tmp string, pl *ingest.Pipeline) (layers.Tree, error) {
	source, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	raw := file
	if format != Raw {
		dir, err := os.MkdirTemp(tmp, "disk-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		raw = filepath.Join(dir, "raw")
		if err := convert(ctx, file, format, raw); err != nil {
			return nil, fmt.Errorf("import %s: %w", file, err)
		}
	}
	st, err := os.Stat(raw)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() == 0 {
		return nil, fmt.Errorf("import %s: it is not a file with a disk in it", file)
	}
	tree := layers.Tree{{Path: layers.DiskPath, Type: layers.Regular, Mode: 0o600, ModTime: layers.TimeOf(source.ModTime())}}
	pl.AddDisk(&tree[0], func() (io.ReadCloser, error) { return os.Open(raw) })
	if err := pl.Wait(); err != nil {
		return nil, err
	}
	pad(&tree[0])
	return tree, nil
}

// pad adds to a disk what its last sector lacks.
func pad(e *layers.Entry) {
	missing := -e.Size % layers.SectorSize
	if missing == 0 {
		return
	}
	missing += layers.SectorSize
	e.Size += missing
	e.Extents = append(e.Extents, layers.Extent{Len: missing})
}

// convert writes the disk that an image holds as a raw file.
func convert(ctx context.Context, file string, format Format, raw string) error {
	if err := alone(ctx, file, format); err != nil {
		return err
	}
	_, err := qemuImg(ctx, "convert", "-f", string(format), "-O", "raw", "-t", "writeback", "--", file, raw)
	return err
}

// alone refuses an image that refers to files elsewhere.
func alone(ctx context.Context, file string, format Format) error {
	if format == VMDK {
		if err := checkExtents(file); err != nil {
			return err
		}
	}
	out, err := qemuImg(ctx, "info", "-f", string(format), "--output=json", "--", file)
	if err != nil {
		return err
	}
	var info struct {
		Backing  string `json:"backing-filename"`
		Specific struct {
			Data struct {
				DataFile string `json:"data-file"`
			} `json:"data"`
		} `json:"format-specific"`
	}
	if err := json.Unmarshal(out, &info); err != nil {
		return fmt.Errorf("read what qemu-img says: %w", err)
	}
	if other := info.Backing + info.Specific.Data.DataFile; other != "" {
		return fmt.Errorf("it is not whole without %s: make one file of both first: qemu-img convert -O qcow2 %s WHOLE", other, file)
	}
	return nil
}

// maxDescriptor bounds the text of a VMDK, in bytes.
const maxDescriptor = 1 << 20

// checkExtents refuses a VMDK whose text, which is the file or lies in it, names
// files in other directories.
func checkExtents(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDescriptor))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		before, name, quoted := strings.Cut(line, `"`)
		if fields := strings.Fields(before); !quoted || len(fields) != 3 || !strings.HasPrefix(fields[0], "R") {
			continue // no line of an extent: RW 4192256 SPARSE "name" 0
		}
		if name, _, _ = strings.Cut(name, `"`); strings.ContainsAny(name, `/:\`) {
			return fmt.Errorf("it has an extent in %q, which is not beside it", name)
		}
	}
	return nil
}

// qemuImg runs qemu-img and returns what it printed.
func qemuImg(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "qemu-img", args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("%w: install qemu-utils", err)
	}
	if err != nil {
		return nil, fmt.Errorf("qemu-img %s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return out, nil
}
