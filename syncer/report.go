package syncer

import (
	"fmt"
	"time"

	"satchel/layers/workspace"
	"satchel/store"
)

// Limits of a [Report].
const (
	maxReported = 256  // workspaces, and failures
	maxReason   = 4096 // bytes
)

// A Report is what a device says of the workspaces on it.
type Report struct {
	Device     string            `json:"device"` // the server fills it in, and the next two
	User       string            `json:"user"`
	Time       time.Time         `json:"time"`
	Workspaces []WorkspaceReport `json:"workspaces"`
	Failed     []Failure         `json:"failed,omitempty"`
	Disk       *Disk             `json:"disk,omitempty"` // nil: it did not say
}

// A Disk is how much room a device's home takes and may take, in bytes on disk.
type Disk struct {
	Used   int64 `json:"used"`             // by the home
	Budget int64 `json:"budget,omitempty"` // that it may use; 0: no limit but what is free
	Free   int64 `json:"free"`             // on the file system that it is on
	Keep   int64 `json:"keep_free"`        // of that, what is to stay free
	// Lacking is how much more is needed for what did not land, and Reason says
	// what that is; 0 and "": nothing.
	Lacking int64  `json:"lacking,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// Bytes is a number of bytes as people read it.
type Bytes int64

func (b Bytes) String() string {
	const k = 1000
	n, div, exp := int64(b), int64(k), 0
	if n < k {
		return fmt.Sprintf("%d B", n)
	}
	for m := n / k; m >= k; m /= k {
		div *= k
		exp++
	}
	return fmt.Sprintf("%.1f %cB", float64(n)/float64(div), "kMGTPE"[exp])
}

// Room is how much may be added. It is negative when there is too much.
func (d *Disk) Room() int64 {
	room := d.Free - d.Keep
	if d.Budget > 0 {
		room = min(room, d.Budget-d.Used)
	}
	return room
}

// A WorkspaceReport says what the next session of a workspace starts from.
type WorkspaceReport struct {
	ID     string     `json:"id"`
	Name   string     `json:"name"`
	Ready  bool       `json:"offline_ready"`
	Layers []LayerUse `json:"layers"` // os and group, lowest first
}

// A LayerUse is a version of an os or group layer on a device.
type LayerUse struct {
	Layer   store.LayerID `json:"layer"`
	Version store.ID      `json:"version"`
	Healthy bool          `json:"healthy,omitempty"` // a guest came up with it
}

// A Failure is a version with which a guest did not come up, so that the device
// went back to the one before.
type Failure struct {
	Layer   store.LayerID `json:"layer"`
	Version store.ID      `json:"version"`
	Reason  string        `json:"reason"`
	Time    time.Time     `json:"time"`
}

// Check reports one that is too large.
func (r *Report) Check() error {
	if len(r.Workspaces) > maxReported || len(r.Failed) > maxReported {
		return fmt.Errorf("a report of %d workspaces and %d failures, want at most %d: %w", len(r.Workspaces), len(r.Failed), maxReported, ErrTooLarge)
	}
	if d := r.Disk; d != nil && (len(d.Reason) > maxReason || min(d.Used, d.Budget, d.Free, d.Keep, d.Lacking) < 0) {
		return fmt.Errorf("a disk of %d bytes, %d of them used, and a reason of %d bytes: %w", d.Budget, d.Used, len(d.Reason), ErrTooLarge)
	}
	for _, w := range r.Workspaces {
		if len(w.Layers) > 1+workspace.MaxGroups || len(w.Name) > workspace.MaxName || len(w.ID) > workspace.MaxName {
			return fmt.Errorf("a report of workspace %.80q with %d layers: %w", w.Name, len(w.Layers), ErrTooLarge)
		}
	}
	for _, f := range r.Failed {
		if len(f.Reason) > maxReason {
			return fmt.Errorf("a reason of %d bytes, want at most %d: %w", len(f.Reason), maxReason, ErrTooLarge)
		}
	}
	return nil
}

// A RolloutInfo is a rollout as an administrator sees it.
type RolloutInfo struct {
	Rollout
	Layer   string         `json:"layer"`
	Channel string         `json:"channel"`
	Version store.ID       `json:"version"`
	Waves   []int          `json:"waves"`
	Devices int            `json:"devices"` // that follow the channel
	Healthy int            `json:"healthy"`
	Failed  []FailedDevice `json:"failed,omitempty"`
}

// A FailedDevice says why a device went back.
type FailedDevice struct {
	Device string    `json:"device"`
	Reason string    `json:"reason"`
	Time   time.Time `json:"time"`
}
