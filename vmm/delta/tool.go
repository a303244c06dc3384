package delta

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// sbin lists where system tools are; an ordinary user's PATH lacks them.
var sbin = []string{"/usr/sbin", "/sbin", "/usr/local/sbin"}

// findTool finds one of e2fsprogs's programs.
func findTool(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range sbin {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: install the package e2fsprogs: %w", name, exec.ErrNotFound)
}

// run runs a tool, in plain English and without the user's configuration, and
// returns what it printed.
func run(ctx context.Context, path string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "MKE2FS_CONFIG=/dev/null", "E2FSCK_CONFIG=/dev/null")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return strings.TrimSpace(out.String()), err
}

// detail shortens what a tool printed to what fits in an error.
func detail(out string) string {
	const limit = 400
	if out == "" {
		return ""
	}
	if len(out) > limit {
		out = "…" + out[len(out)-limit:]
	}
	return ": " + strings.ReplaceAll(out, "\n", "; ")
}
