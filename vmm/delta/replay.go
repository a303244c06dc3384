package delta

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"satchel/layers"
)

// Replay returns the path of a clean disk with the contents of the one at
// path: of the disk itself if it is clean or fresh, and else of what [Repair]
// makes of it.
func Replay(ctx context.Context, path string) (string, []layers.Note, error) {
	st, err := State(path)
	switch {
	case err != nil:
		return "", nil, err
	case st.Condition == Absent:
		return "", nil, fmt.Errorf("replay delta disk %s: %w", path, os.ErrNotExist)
	case st.Condition != Dirty:
		return path, nil, nil
	}
	return Repair(ctx, path)
}

// Repair makes a clean copy of the disk at path, whatever its condition, and
// returns its path. In the copy it replays the journal and mends what is safe
// to mend (e2fsck -p). Only if that is refused, it starts over with a second
// copy and mends whatever it can (e2fsck -y), and says in a [layers.Note] what was
// done. It is also for a disk that claims to be clean, and turns out to be
// damaged when it is read.
//
// The copy is named path with ".replayed" appended; an older one is replaced,
// since it may not have survived a power cut. The original is never written to.
func Repair(ctx context.Context, path string) (string, []layers.Note, error) {
	e2fsck, err := findTool("e2fsck")
	if err != nil {
		return "", nil, err
	}
	clean, tmp := path+".replayed", path+".replaying"
	defer os.Remove(tmp)
	notes, err := repair(ctx, e2fsck, path, tmp)
	if err != nil {
		return "", nil, fmt.Errorf("repair delta disk %s: %w", path, err)
	}
	if err := os.Rename(tmp, clean); err != nil {
		return "", nil, fmt.Errorf("repair delta disk %s: %w", path, err)
	}
	return clean, notes, nil
}

// repair makes tmp a clean copy of the disk at path.
func repair(ctx context.Context, e2fsck, path, tmp string) ([]layers.Note, error) {
	if err := clone(ctx, path, tmp); err != nil {
		return nil, err
	}
	first, err := check(ctx, e2fsck, "-p", tmp)
	if err != nil {
		return nil, err
	}
	if first == "" {
		return nil, nil
	}
	if err := clone(ctx, path, tmp); err != nil {
		return nil, err
	}
	second, err := check(ctx, e2fsck, "-y", tmp)
	if err != nil {
		return nil, err
	}
	if second != "" {
		return nil, fmt.Errorf("e2fsck can not repair it%s", detail(second))
	}
	return []layers.Note{{Reason: "the file system was damaged and repaired as far as possible" + detail(first)}}, nil
}

// fsckCorrected are the bits of e2fsck's exit code that say it mended what it
// found; all others say that it did not.
const fsckCorrected = 1 | 2

// check runs e2fsck and returns "" when it left the disk clean, what it
// printed when it refused to go on, or an error when it could not run.
func check(ctx context.Context, e2fsck, mode, disk string) (string, error) {
	out, err := run(ctx, e2fsck, "-f", mode, disk)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() < 0) {
		return "", fmt.Errorf("e2fsck %s: %w%s", mode, err, detail(out))
	}
	if err != nil && exit.ExitCode()&^fsckCorrected != 0 {
		return fmt.Sprintf("exit code %d: %s", exit.ExitCode(), out), nil
	}
	st, err := State(disk)
	if err != nil {
		return "", err
	}
	if st.Condition == Dirty {
		return "still dirty after e2fsck " + mode, nil
	}
	return "", nil
}
