package workspace

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// A Process names a process so that no later one is taken for it: numbers are
// used again, but not with the same start time since the same boot.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot
	Boot  string `json:"boot"`  // identity of the boot
}

// Self names the calling process.
func Self() (Process, error) { return ProcessOf(os.Getpid()) }

// ProcessOf names the process with a number, or fails if there is none.
func ProcessOf(pid int) (Process, error) {
	boot, err := bootID()
	if err != nil {
		return Process{}, err
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	start, running, err := parseStat(stat)
	if err != nil {
		return Process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	if !running {
		return Process{}, fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	return Process{PID: pid, Start: start, Boot: boot}, nil
}

// Alive reports whether the process still runs. When it can not be told, the
// answer is no: then the lock of the workspace decides.
func (p Process) Alive() bool {
	now, err := ProcessOf(p.PID)
	return err == nil && now == p
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("identity of this boot: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// parseStat finds the start time in the contents of /proc/PID/stat, and
// whether the process is more than a remainder that its parent has not
// collected. The second field, the program's name, may hold anything, so the
// rest is counted from the last bracket. See proc(5).
func parseStat(b []byte) (start uint64, running bool, err error) {
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	const state, startTime = 0, 22 - 3 // the manual counts from 1, and two come before
	if len(fields) <= startTime {
		return 0, false, fmt.Errorf("stat has only %d fields", len(fields))
	}
	start, err = strconv.ParseUint(fields[startTime], 10, 64)
	if err != nil {
		return 0, false, fmt.Errorf("start time: %w", err)
	}
	return start, !strings.Contains("ZXx", fields[state]), nil
}
