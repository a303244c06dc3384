package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
)

// A switcher has guests go over to other versions of what lies below them while
// the agent goes on.
type switcher struct {
	app  *app
	done sync.WaitGroup

	mu    sync.Mutex
	under map[string]bool // workspaces that are being switched
}

// all begins to switch the guests of those workspaces that run older versions.
func (s *switcher) all(ctx context.Context, names []string) {
	for _, name := range names {
		s.mu.Lock()
		busy := s.under[name]
		s.under[name] = true
		s.mu.Unlock()
		if busy {
			continue
		}
		s.done.Go(func() {
			if err := s.one(ctx, name); err != nil && ctx.Err() == nil {
				s.app.note("workspace %s: %v", name, err)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.under, name)
		})
	}
}

func (s *switcher) one(ctx context.Context, name string) error {
	outdated := false
	err := s.app.with(func(h *home) (err error) {
		outdated, err = h.host(s.app).Outdated(ctx, name)
		return err
	})
	if err != nil || !outdated {
		return err
	}
	s.app.note("workspace %s goes over to what was assigned: its guest is stopped and started anew", name)
	if err := s.self(ctx, "stop", name); err != nil {
		return fmt.Errorf("stop the guest: %w", err)
	}
	if err := s.self(ctx, "run", name, "--detach"); err != nil {
		return fmt.Errorf("start the guest: %w", err)
	}
	return nil
}

// self runs another verb of this program on the same home.
func (s *switcher) self(ctx context.Context, verb ...string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := s.app.homeDir()
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, exe, append([]string{"--home", dir}, verb...)...).CombinedOutput()
	if err != nil {
		return errors.Join(err, errors.New(string(out)))
	}
	return nil
}
