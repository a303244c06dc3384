package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"satchel/layers/workspace"
	"satchel/syncer/device"
	"satchel/syncer/exchange"
	"satchel/syncer/ondemand"
	"satchel/vmm/session"
)

// ran is what run prints: at the guest's readiness when detached, else at its end.
type ran struct {
	session.Status
	Arrival *ondemand.Stats `json:"arrival,omitempty"` // what was fetched until the guest was ready
	End     *session.End    `json:"end,omitempty"`
}

func newRun(a *app) *cobra.Command {
	var opt session.Options
	var memory string
	var detach, noFallback bool
	var line transfer
	c := &cobra.Command{
		Use:   "run WORKSPACE",
		Short: "Boot a workspace's guest",
		Long: `Composes the workspace's layers and boots them. What an earlier session left is
captured first. When the guest ends, what it changed is sorted into the layers
that own it. A suspended guest goes on where it was, with the memory, processors
and network that it had.

A workspace that the server knows need not be here: its guest starts at once, and
what it reads is fetched as it is read; the rest follows once the guest is up. If
the network goes away, the guest waits for it.

Versions of os and group layers with which the guest was not well before are on
trial until it reaches its health mark. If it does not, the guest is ended, and
started again with the versions before, once; --no-fallback leaves that to the
next run. Versions that failed are passed over until their layers have others, or
until --retry-failed.

A guest that is the image of a disk is booted by the firmware that the disk is
made for, and counts as up as soon as its machine runs. All that it writes goes to
the system layer.

Without --detach the command lasts as long as the guest; ctrl-C stops the guest
in an orderly way. With --detach it returns once the guest is up.`,
		Example: `  satchel run ana
  satchel run ana --detach --memory 2G --cpus 2
  satchel run ana --display window
  satchel run ana --retry-failed`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(c *cobra.Command, argv []string) error {
			if err := checkMachineFlags(&opt, memory); err != nil {
				return err
			}
			limits, err := line.options()
			if err != nil {
				return err
			}
			if detach {
				if err := a.with(func(h *home) error { return a.bring(c.Context(), h, argv[0], limits) }); err != nil {
					return err
				}
				return a.runDetached(c, argv[0])
			}
			return a.with(func(h *home) error {
				if err := a.bring(c.Context(), h, argv[0], limits); err != nil {
					return err
				}
				if err := h.preferences(c, argv[0], &opt); err != nil {
					return err
				}
				return a.runAttached(c.Context(), h, argv[0], opt, limits, !noFallback)
			})
		},
	}
	c.Flags().BoolVar(&detach, "detach", false, "return once the guest is up")
	c.Flags().BoolVar(&noFallback, "no-fallback", false, "when new versions fail, leave the start of the old ones to the next run")
	c.Flags().BoolVar(&opt.RetryFailed, "retry-failed", false, "try versions again that failed here")
	addMachineFlags(c, &opt, &memory)
	c.Flags().StringVar(&line.down, "limit-down", "", "most bytes a second to fetch of what is not here yet (default no limit)")
	line.deltas = string(exchange.Auto)
	return c
}

func addMachineFlags(c *cobra.Command, opt *session.Options, memory *string) {
	c.Flags().StringVar(memory, "memory", "1G", "the guest's memory, such as 768M or 2G")
	c.Flags().IntVar(&opt.CPUs, "cpus", 0, "the guest's processors (default: two, if there are)")
	c.Flags().StringVar(&opt.Display, "display", "none", "the guest's screen: window, vnc or none")
	c.Flags().StringVar(&opt.Network, "network", "user", "the guest's network: user or none")
	c.Flags().StringVar(&opt.Firmware, "firmware", "", "what boots a disk: bios or uefi (default: what the disk is made for)")
	c.Flags().StringVar(&opt.DiskBus, "disk-bus", "", "what a disk hangs on: virtio, or sata for systems without drivers for that (default virtio)")
	completeWords(c, "firmware", firmwares...)
	completeWords(c, "disk-bus", buses...)
	completeWords(c, "display", displays...)
	completeWords(c, "network", networks...)
}

// What a guest's screen and network can be.
var (
	displays = []string{"window", "vnc", "none"}
	networks = []string{"user", "none"}

	firmwares = []string{"bios", "uefi"}
	buses     = []string{"virtio", "sata"}
)

// preferences takes what the command line does not say from the workspace's
// definition.
func (h *home) preferences(c *cobra.Command, name string, opt *session.Options) error {
	def, err := h.workspaces.Load(name)
	if err != nil {
		return err
	}
	if !c.Flags().Changed("memory") && def.Options.Memory > 0 {
		opt.Memory = def.Options.Memory
	}
	if !c.Flags().Changed("cpus") && def.Options.CPUs > 0 {
		opt.CPUs = def.Options.CPUs
	}
	if rec, err := h.workspaces.LoadSession(name); err == nil && rec.Suspension != nil {
		asBefore(c, rec.Suspension.Options, opt)
	}
	return nil
}

// asBefore takes what the command line does not say from a suspended machine.
func asBefore(c *cobra.Command, was workspace.Machine, opt *session.Options) {
	changed := c.Flags().Changed
	if !changed("memory") {
		opt.Memory = was.Memory
	}
	if !changed("cpus") {
		opt.CPUs = was.CPUs
	}
	if !changed("display") {
		opt.Display = was.Display
	}
	if !changed("network") {
		opt.Network = was.Network
	}
}

// checkMachineFlags refuses what no machine can have before anything is started.
func checkMachineFlags(opt *session.Options, memory string) (err error) {
	if opt.Memory, err = parseSize(memory); err != nil {
		return usageError{fmt.Errorf("--memory: %w", err)}
	}
	switch {
	case opt.CPUs < 0:
		err = fmt.Errorf("--cpus %d: want a number of processors", opt.CPUs)
	case !slices.Contains(displays, opt.Display):
		err = fmt.Errorf("--display %q: want one of %s", opt.Display, strings.Join(displays, ", "))
	case !slices.Contains(networks, opt.Network):
		err = fmt.Errorf("--network %q: want one of %s", opt.Network, strings.Join(networks, ", "))
	case opt.Firmware != "" && !slices.Contains(firmwares, opt.Firmware):
		err = fmt.Errorf("--firmware %q: want one of %s", opt.Firmware, strings.Join(firmwares, ", "))
	case opt.DiskBus != "" && !slices.Contains(buses, opt.DiskBus):
		err = fmt.Errorf("--disk-bus %q: want one of %s", opt.DiskBus, strings.Join(buses, ", "))
	default:
		return nil
	}
	return usageError{err}
}

// runAttached runs a workspace until its guest ends. When new versions fail, it
// runs the ones before, once, if fallback is set and there are any.
func (a *app) runAttached(ctx context.Context, h *home, name string, opt session.Options, limits device.Options, fallback bool) error {
	err := a.runOnce(ctx, h, name, opt, limits)
	var failed *session.FailedTrial
	if !errors.As(err, &failed) || len(failed.Back) == 0 || ctx.Err() != nil {
		return err
	}
	if !fallback {
		return fmt.Errorf("%w\nthe next satchel run %s starts with the versions before", err, name)
	}
	a.note("%v\nstarting %s with the versions before", err, name)
	opt.RetryFailed = false
	return a.runOnce(ctx, h, name, opt, limits)
}

// runOnce fails with [*session.FailedTrial] when the guest was ended since it
// did not come up well.
func (a *app) runOnce(ctx context.Context, h *home, name string, opt session.Options, limits device.Options) (err error) {
	arrival, err := a.arrival(ctx, h, name, limits)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, arrival.close()) }()
	s, before, err := arrival.host(h.host(a)).Start(ctx, name, opt)
	if before != nil {
		a.summary(before)
	}
	if err != nil {
		return err
	}
	verb := "booting"
	if s.Status().Boot.Resumed {
		verb = "resuming"
	}
	a.note("%s %s (%s)", verb, name, accelerator(s.Status()))
	status, readyErr := s.Up(ctx)
	if readyErr == nil {
		arrival.ready()
	}
	switch {
	case status.Disk && a.watched():
		a.note("%s is running (%s); ctrl-C presses its power button", name, status.Boot.Kernel)
	case readyErr == nil && a.watched():
		a.note("%s is up after %.1f s; ctrl-C stops it", name, status.Boot.ReadySeconds)
	case isBack(readyErr): // it is told below
	case readyErr != nil && ctx.Err() == nil:
		a.note("%s is not up: %v\nsatchel console %s looks at it, satchel stop %s ends it", name, readyErr, name, name)
	}
	end, err := s.Wait(ctx)
	if errors.Is(err, context.Canceled) {
		a.note("stopping %s", name)
		readyErr = nil // it was interrupted, which is no fault
		end, err = s.Stop(context.WithoutCancel(ctx), false)
	}
	if isBack(readyErr) {
		a.summary(end.Captured)
	}
	if err = errors.Join(readyErr, err); err != nil {
		return err
	}
	return a.print(ran{Status: s.Status(), Arrival: arrival.stats(), End: &end}, func(io.Writer) { a.summary(end.Captured) })
}

// isBack reports whether an error is a trial's that has versions to go back to.
func isBack(err error) bool {
	var failed *session.FailedTrial
	return errors.As(err, &failed) && len(failed.Back) > 0
}

func accelerator(s session.Status) string {
	if s.Boot.AccelReason == "" {
		return s.Boot.Accelerator
	}
	return s.Boot.Accelerator + ": " + s.Boot.AccelReason
}

// summary tells which layer received what.
func (a *app) summary(c *session.Captured) {
	if c == nil {
		return
	}
	a.note("captured from %s:\n  %s", c.Workspace, strings.Join(c.Summary(), "\n  "))
}
