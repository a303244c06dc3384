// Package diskimage brings disk images into a store, as trees of disk form.
//
// # Vocabulary
//
// A format is the way in which a file holds a disk: raw, byte for byte, or one
// of those of virtual machines. Firmware is what a machine has to start with in
// order to boot a disk.
//
// # Invariants
//
//   - What a file is follows from what it holds, never from its name.
//   - Of an image that asks for other files none outside of its directory is
//     read: an image cannot name what its giver may not see.
//
// # The one idea
//
// All formats but raw are converted by qemu-img, the program whose formats most
// of them are, into a sparse raw file. From there on a disk is one file.
package diskimage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"satchel/layers/ingest"
)

// A Format is a format of disk images, by the name that qemu-img has for it.
type Format string

// The formats that are taken.
const (
	Raw   Format = "raw"
	QCOW2 Format = "qcow2"
	VMDK  Format = "vmdk"
	VDI   Format = "vdi"
	VHDX  Format = "vhdx"
)

// Formats lists them.
var Formats = []Format{Raw, QCOW2, VMDK, VDI, VHDX}

// ParseFormat returns the format of that name.
func ParseFormat(s string) (Format, error) {
	if slices.Contains(Formats, Format(s)) {
		return Format(s), nil
	}
	return "", fmt.Errorf("format %.20q: want raw, qcow2, vmdk, vdi or vhdx", s)
}

// ErrUnknown reports a file that is not seen to be a disk image.
var ErrUnknown = errors.New("is no disk image that is known")

// signatures tell the formats other than raw.
//
// Sources: QEMU, docs/interop/qcow2.txt; VMware, Virtual Disk Format 5.0;
// VirtualBox, VDICore.h; Microsoft, MS-VHDX.
var signatures = []struct {
	format Format
	at     int
	magic  string
}{
	{QCOW2, 0, "QFI\xfb"},
	{VMDK, 0, "KDMV"},
	{VMDK, 0, descriptor},
	{VDI, 0x40, "\x7f\x10\xda\xbe"},
	{VHDX, 0, "vhdxfile"},
}

// descriptor begins a VMDK that is a text which names the files of its extents.
const descriptor = "# Disk DescriptorFile"

// Detect tells the format of a file. It fails with [ErrUnknown] when there are
// no signs that it is a disk image: a raw image has them only if there is a
// partition table or a file system on it.
func Detect(file string) (Format, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, ingest.ImageHead)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return "", err
	}
	head = head[:n]
	for _, s := range signatures {
		if len(head) >= s.at && bytes.HasPrefix(head[s.at:], []byte(s.magic)) {
			return s.format, nil
		}
	}
	if ingest.IsImage(head) {
		return Raw, nil
	}
	return "", fmt.Errorf("%s %w", file, ErrUnknown)
}
