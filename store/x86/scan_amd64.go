package x86

import "golang.org/x/sys/cpu"

// vectors says whether scan can be used.
var vectors = cpu.X86.HasAVX2

// scan sets the bits of those of the first 4096 bytes at which the opcode of a
// reference begins, wherever others do.
//
//go:noescape
func scan(found *[area / 64]uint64, b *[area + 1]byte, sets *[3][16]byte)
