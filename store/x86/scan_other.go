//go:build !amd64

package x86

const vectors = false

func scan(*[area / 64]uint64, *[area + 1]byte, *[3][16]byte) { panic("no vectors") }
