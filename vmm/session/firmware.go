package session

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"satchel/layers/diskimage"
	"satchel/store/durable"
)

// A firmware is what a machine starts with.
type firmware struct {
	kind       diskimage.Firmware
	code, vars string // files of UEFI
}

// ovmf lists where systems keep UEFI firmware for virtual machines, and what
// its variables begin with: Debian and Ubuntu, Fedora, Arch.
var ovmf = [][2]string{
	{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
	{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
	{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
	{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
}

// varsFile keeps the variables of UEFI, which say for instance what to boot. It
// belongs to the workspace on this device, as it would to a machine.
const varsFile = "uefi-vars.fd"

// firmware finds what boots a disk: what was asked for, or else what the disk is
// made for.
func (h *Host) firmware(name, asked string, disk io.ReaderAt) (f firmware, err error) {
	f.kind = diskimage.Firmware(asked)
	if asked == "" {
		if f.kind, err = diskimage.FirmwareOf(disk); err != nil {
			return f, err
		}
	}
	switch f.kind {
	case diskimage.BIOS:
		return f, nil
	case diskimage.UEFI:
	default:
		return f, fmt.Errorf("firmware %q: want bios or uefi", asked)
	}
	for _, pair := range ovmf {
		if _, err := os.Stat(pair[0]); err != nil {
			continue
		}
		f.code, f.vars = pair[0], filepath.Join(h.Workspaces.Dir(name), varsFile)
		return f, keepVars(f.vars, pair[1])
	}
	return f, errors.New("there is no UEFI firmware on this host, which the disk needs: install ovmf (edk2-ovmf in other distributions)")
}

// keepVars makes the file of variables if there is none yet, or one of another
// firmware: then it has another size.
func keepVars(vars, template string) error {
	fresh, err := os.ReadFile(template)
	if err != nil {
		return fmt.Errorf("read the firmware's variables: %w", err)
	}
	st, err := os.Stat(vars)
	if err == nil && st.Size() == int64(len(fresh)) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.WriteFile(vars, fresh)
}
