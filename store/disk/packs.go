package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"satchel/store"
	"satchel/store/index"
	"satchel/store/pack"
)

// packFile is a pack that is there, whether the index names it or not.
type packFile struct {
	name string
	size int64
}

// packFiles lists the packs in the directory, ordered by name.
func (s *Store) packFiles() ([]packFile, error) {
	dirs, err := os.ReadDir(filepath.Join(s.dir, packsName))
	if err != nil {
		return nil, fmt.Errorf("list packs: %w", err)
	}
	var packs []packFile
	for _, d := range dirs {
		files, err := os.ReadDir(filepath.Join(s.dir, packsName, d.Name()))
		if err != nil {
			return nil, fmt.Errorf("list packs: %w", err)
		}
		for _, f := range files {
			name, ok := strings.CutSuffix(f.Name(), packSuffix)
			info, err := f.Info()
			if errors.Is(err, fs.ErrNotExist) || !ok || len(name) < 4 || name[:2] != d.Name() {
				continue // gc has just removed it, or it is none of ours
			} else if err != nil {
				return nil, fmt.Errorf("list packs: %w", err)
			}
			packs = append(packs, packFile{name, info.Size()})
		}
	}
	return packs, nil
}

// openPack opens a pack for reading and tells its size in bytes.
func (s *Store) openPack(name string) (*os.File, int64, error) {
	f, err := os.Open(s.packPath(name))
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// readDirectory reads what a pack says it holds.
func (s *Store) readDirectory(name string) ([]pack.Frame, error) {
	f, size, err := s.openPack(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // read only
	return directoryOf(f, size)
}

func directoryOf(f *os.File, size int64) ([]pack.Frame, error) {
	frames, err := pack.ReadDirectory(f, size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return frames, nil
}

// placesOf returns the chunks of a frame and where they lie.
func placesOf(name string, f pack.Frame) []index.Placed {
	placed := make([]index.Placed, len(f.Chunks))
	start := 0
	for i, c := range f.Chunks {
		placed[i] = index.Placed{ID: c.ID, Location: index.Location{
			Pack: name, Offset: f.Offset, FrameLen: f.Len, Start: start, Len: c.Len,
		}}
		start += c.Len
	}
	return placed
}

// salvage finds what a pack holds without the help of its directory. Of frames
// that are damaged it finds nothing, since it cannot tell what they held.
func (s *Store) salvage(name string) ([]pack.Frame, error) {
	f, size, err := s.openPack(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // read only
	var frames []pack.Frame
	err = pack.Salvage(f, size, func(off int64, n int, c pack.Content) error {
		if c.Damage != nil {
			return nil //nolint:nilerr // scrub tells of it; here the whole ones count
		}
		frame := pack.Frame{Offset: off, Len: n}
		rest := c.Data
		for _, n := range c.Lens {
			frame.Chunks = append(frame.Chunks, pack.Chunk{ID: s.config.Domain.ID(rest[:n]), Len: n})
			rest = rest[n:]
		}
		frames = append(frames, frame)
		return nil
	})
	return frames, err
}

// removePacks removes the files of packs that the index no longer names.
func (s *Store) removePacks(names []string) error {
	for _, name := range names {
		if err := s.fs.Remove(s.packPath(name)); err != nil {
			return fmt.Errorf("remove pack: %w", err)
		}
	}
	return nil
}

// helpRebuild is what to do about an index that does not match the packs.
const helpRebuild = "run `satchel store verify --rebuild-index`"

// isCorrupt reports whether an error tells of damage.
func isCorrupt(err error) bool { return errors.Is(err, store.ErrCorrupt) }
