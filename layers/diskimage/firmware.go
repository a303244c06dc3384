package diskimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A Firmware is what a machine starts with.
type Firmware string

// The kinds of firmware.
const (
	BIOS Firmware = "bios"
	UEFI Firmware = "uefi"
)

// Bounds of a GPT that is looked at.
const (
	maxPartitions = 1024
	maxEntrySize  = 4096 // bytes
)

// espType is the type of an EFI system partition, as it lies on disk.
//
// Source: UEFI specification, chapter 5: GPT disk layout, and its table of
// partition types.
var espType = []byte{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}

// FirmwareOf tells which firmware boots a disk: UEFI if there is an EFI system
// partition in a GPT and no boot code in the first sector, else BIOS. A disk
// that has both is one that BIOS machines boot as well.
func FirmwareOf(disk io.ReaderAt) (Firmware, error) {
	boot := make([]byte, 440) // what an MBR has room for
	if err := readFull(disk, boot, 0); err != nil {
		return "", err
	}
	if len(bytes.Trim(boot, "\x00")) > 0 {
		return BIOS, nil
	}
	for _, sector := range []int64{512, 4096} {
		found, err := hasESP(disk, sector)
		if err != nil {
			return "", err
		}
		if found {
			return UEFI, nil
		}
	}
	return BIOS, nil
}

// hasESP reports whether there is a GPT of sectors of that size, with an EFI
// system partition. What makes no sense counts as none.
func hasESP(disk io.ReaderAt, sector int64) (bool, error) {
	head := make([]byte, 92)
	if err := readFull(disk, head, sector); err != nil || !bytes.HasPrefix(head, []byte("EFI PART")) {
		return false, err
	}
	at := binary.LittleEndian.Uint64(head[72:])
	count, size := binary.LittleEndian.Uint32(head[80:]), binary.LittleEndian.Uint32(head[84:])
	if count > maxPartitions || size < 128 || size > maxEntrySize || at > 1<<40 {
		return false, nil
	}
	entries := make([]byte, count*size)
	if err := readFull(disk, entries, int64(at)*sector); err != nil {
		return false, err
	}
	for ; len(entries) > 0; entries = entries[size:] {
		if bytes.HasPrefix(entries, espType) {
			return true, nil
		}
	}
	return false, nil
}

// readFull reads what the disk has of a range; what lies behind its end is
// zeros.
func readFull(disk io.ReaderAt, b []byte, off int64) error {
	if n, err := disk.ReadAt(b, off); n < len(b) && !errors.Is(err, io.EOF) {
		return fmt.Errorf("look at the disk: %w", err)
	}
	return nil
}
