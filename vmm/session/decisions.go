package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"satchel/layers/decompose"
)

// decisionsFile keeps the last capture's decisions, for explain. It can be
// lost: then explain has less to tell.
func (h *Host) decisionsFile(name string) string {
	return filepath.Join(h.Workspaces.Dir(name), "decisions.json")
}

func (h *Host) saveDecisions(name string, decisions []decompose.Decision) error {
	b, err := json.Marshal(decisions)
	if err != nil {
		return err
	}
	file := h.decisionsFile(name)
	if err := os.WriteFile(file+".part", b, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".part", file)
}

func (h *Host) loadDecisions(name string) (decisions []decompose.Decision, err error) {
	b, err := os.ReadFile(h.decisionsFile(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &decisions); err != nil {
		return nil, fmt.Errorf("read %s: %w", h.decisionsFile(name), err)
	}
	return decisions, nil
}
