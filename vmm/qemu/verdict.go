package qemu

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	verdictFile    = "accel.json"
	verdictVersion = 1
	maxVerdict     = 64 << 10 // bytes
)

// A verdict is the content of the file that keeps a probe's outcome.
type verdict struct {
	Version int    `json:"version"`
	Key     string `json:"key"`
	Accel   Accel  `json:"accel"`
}

// hostKey names what a verdict depends on: this start of the host, its kernel,
// its CPU, and the QEMU at path.
func hostKey(path string) string {
	parts := []string{
		firstLine("/proc/sys/kernel/random/boot_id"),
		firstLine("/proc/sys/kernel/osrelease"),
		cpuModel(),
		path,
	}
	if path, err := filepath.EvalSymlinks(path); err == nil {
		if fi, err := os.Stat(path); err == nil {
			parts = append(parts, fmt.Sprintf("%d bytes of %d", fi.Size(), fi.ModTime().Unix()))
		}
	}
	return strings.Join(parts, "; ")
}

func firstLine(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "?"
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

// cpuModel returns the first CPU's name in /proc/cpuinfo.
func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "?"
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "?"
}

// readVerdict returns the verdict for a key. A file that is missing, damaged or
// of another version is the same as none: it only costs a probe.
func readVerdict(file, key string) (Accel, bool) {
	fi, err := os.Stat(file)
	if err != nil || !fi.Mode().IsRegular() || fi.Size() > maxVerdict {
		return Accel{}, false
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return Accel{}, false
	}
	var v verdict
	if json.Unmarshal(b, &v) != nil || v.Version != verdictVersion || v.Key != key || v.Accel.check() != nil {
		return Accel{}, false
	}
	return v.Accel, true
}

// writeVerdict replaces the file in one step, so that a reader sees a whole one.
func writeVerdict(file, key string, a Accel) error {
	b, err := json.MarshalIndent(verdict{verdictVersion, key, a}, "", "\t")
	if err != nil {
		return fmt.Errorf("keep accelerator verdict: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("keep accelerator verdict: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(file), verdictFile+".*")
	if err != nil {
		return fmt.Errorf("keep accelerator verdict: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("keep accelerator verdict %s: %w", file, err)
	}
	return nil
}
