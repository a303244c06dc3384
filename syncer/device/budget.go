package device

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"satchel/store"
	"satchel/store/durable"
	"satchel/syncer"
)

// What of a disk stays free when nobody says otherwise: a part of it, and no
// more than so many bytes.
const (
	keepPart = 20
	keepMost = 1 << 30
)

// A budgetFile is how much room a home may take.
type budgetFile struct {
	durable.Header
	Bytes int64 `json:"bytes"` // on disk; 0: no limit
}

const budgetFormat = "satchel budget"

var budgetHeader = durable.Header{Format: budgetFormat, Version: formatVersion}

// Budget returns how many bytes on disk the home in dir may take; 0: no limit.
func Budget(dir string) (int64, error) {
	var b budgetFile
	err := durable.ReadJSON(filepath.Join(dir, budgetName), budgetHeader, &b)
	if errors.Is(err, store.ErrNotExist) {
		return 0, nil
	}
	return max(b.Bytes, 0), err
}

// SetBudget sets how many bytes on disk the home in dir may take; 0: no limit.
// Syncs and agents heed it from their next pass on.
func SetBudget(dir string, bytes int64) error {
	return durable.WriteJSON(filepath.Join(dir, budgetName), budgetFile{budgetHeader, bytes})
}

// DiskOf measures the home in dir, and the disk that it is on.
func DiskOf(dir string) (d syncer.Disk, err error) {
	if d.Budget, err = Budget(dir); err != nil {
		return d, err
	}
	var at syscall.Statfs_t
	if err := syscall.Statfs(dir, &at); err != nil {
		return d, fmt.Errorf("measure the disk of %s: %w", dir, err)
	}
	block := int64(at.Bsize)
	d.Free = int64(at.Bavail) * block                              //nolint:gosec // no disk is as large
	d.Keep = min(int64(at.Blocks)*block/keepPart, int64(keepMost)) //nolint:gosec // the same
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				d.Used += onDisk(info)
			}
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil // it went while it was looked at, or is none of ours, as lost+found
		}
		return err
	})
	if err != nil {
		return d, fmt.Errorf("measure %s: %w", dir, err)
	}
	return d, nil
}

// onDisk is how many bytes a file takes, which for one with holes is less than
// its size.
func onDisk(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}

// A fetchedFile names the versions that were fetched by hand, and when: those
// are evicted as if they had been made then. It may be lost at any time.
type fetchedFile struct {
	durable.Header
	Versions map[store.ID]time.Time `json:"versions"`
}

const fetchedFormat = "satchel fetched"

var fetchedHeader = durable.Header{Format: fetchedFormat, Version: formatVersion}

// rest is how long what was fetched by hand is not evicted.
const rest = 24 * time.Hour

// maxFetched is how many versions are remembered.
const maxFetched = 256

func (d *Device) fetched() map[store.ID]time.Time {
	var f fetchedFile
	if err := durable.ReadJSON(d.path(fetchedName), fetchedHeader, &f); err != nil || f.Versions == nil {
		return map[store.ID]time.Time{}
	}
	return f.Versions
}

// noteFetched remembers that a version was fetched by hand.
func (d *Device) noteFetched(version store.ID) error {
	all := d.fetched()
	all[version] = time.Now().UTC()
	for len(all) > maxFetched {
		oldest := version
		for id, at := range all {
			if at.Before(all[oldest]) {
				oldest = id
			}
		}
		delete(all, oldest)
	}
	return durable.WriteJSON(d.path(fetchedName), fetchedFile{fetchedHeader, all})
}
