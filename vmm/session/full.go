package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"satchel/vmm/overlay"
)

// A host's disk that is full is no error to its guest, which would take its file
// system down for it: what the guest writes waits until there is room again. A
// delta disk is written by QEMU, which has the whole guest stand still then; the
// disk of a guest that brings its own system is written by us.

// roomPoll is how often a full disk is looked at.
const roomPoll = time.Second

// A fullDisk tells a person that the host's disk is full, and that it has room
// again, once each however many wait for that.
type fullDisk struct {
	session *Session

	mu      sync.Mutex
	waiting int
	since   time.Time // the first of them began to
}

// waits reports whether anybody waits for room.
func (f *fullDisk) waits() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting > 0
}

// begin says that one more waits for room.
func (f *fullDisk) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting++; f.waiting > 1 {
		return
	}
	f.since = time.Now()
	h := f.session.host
	h.note("the guest of %s waits since %s: the disk of this computer is full; it goes on when %s has room again",
		f.session.name, f.since.Format(time.TimeOnly), h.Workspaces.Dir(f.session.name))
}

// end says that one of them waits no more, and whether that is because it goes on.
func (f *fullDisk) end(goesOn bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting--; f.waiting == 0 && goesOn {
		f.session.host.note("the guest of %s goes on after %.0f s", f.session.name, time.Since(f.since).Seconds())
	}
}

// noRoom reports an error that goes away when somebody removes files.
func noRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// A patientDisk is a disk whose writes wait for room.
type patientDisk struct {
	*overlay.Disk
	full  *fullDisk
	ended chan struct{} // closed when nobody waits any more
}

// WriteAt implements [io.WriterAt].
func (d *patientDisk) WriteAt(p []byte, off int64) (n int, err error) {
	err = d.persist(func() error { n, err = d.Disk.WriteAt(p, off); return err })
	return n, err
}

// Zero implements [satchel/vmm/nbd.Zeroer].
func (d *patientDisk) Zero(off, n int64, punch bool) error {
	return d.persist(func() error { return d.Disk.Zero(off, n, punch) })
}

func (d *patientDisk) persist(write func() error) error {
	err := write()
	if !noRoom(err) {
		return err
	}
	d.full.begin()
	defer func() { d.full.end(!noRoom(err)) }()
	for noRoom(err) {
		select {
		case <-time.After(roomPoll):
		case <-d.ended:
			return err
		}
		err = write()
	}
	return err
}

// close has those that wait give up.
func (d *patientDisk) close() error {
	close(d.ended)
	return nil
}

// watchRoom has the guest go on that QEMU stopped because there was no room for
// what it wrote.
func (s *Session) watchRoom(ctx context.Context) error {
	for {
		select {
		case e, ok := <-s.machine.Events():
			if !ok {
				return nil
			}
			var failure struct {
				Action  string `json:"action"`
				NoSpace bool   `json:"nospace"`
			}
			if e.Name != "BLOCK_IO_ERROR" || json.Unmarshal(e.Data, &failure) != nil || failure.Action != "stop" || !failure.NoSpace {
				continue
			}
			if s.stoppedFull(ctx) { // each request that failed is an event
				s.full.begin()
				s.full.end(s.awaitRoom(ctx))
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// stoppedFull reports whether the machine stands still because a disk is full.
func (s *Session) stoppedFull(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	status, err := s.machine.Status(ctx)
	return err == nil && status == "io-error"
}

// answerTime is how long QEMU may take to answer.
const answerTime = 10 * time.Second

// awaitRoom waits until the workspace's file system has room, and resumes the
// machine, unless somebody else has stopped or resumed it meanwhile. It reports
// false if the machine ended before.
func (s *Session) awaitRoom(ctx context.Context) bool {
	tick := time.NewTicker(roomPoll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.machine.Exited():
			return false
		case <-ctx.Done():
			return false
		}
		if free, err := s.host.free(s.name); err != nil || free < spare {
			continue
		}
		if s.power.TryLock() { // else somebody stops or suspends it, or tries to
			done := !s.stoppedFull(ctx) || s.machine.Resume(ctx) == nil
			s.power.Unlock()
			if done {
				return true
			}
		}
	}
}

// free is how much room a workspace's file system has, in bytes.
func (h *Host) free(name string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(h.Workspaces.Dir(name), &fs); err != nil {
		return 0, fmt.Errorf("look for room in %s: %w", h.Workspaces.Dir(name), err)
	}
	return int64(fs.Bavail) * fs.Bsize, nil
}
