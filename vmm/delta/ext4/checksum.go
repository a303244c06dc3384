package ext4

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum continues a CRC-32C as ext4 keeps it: without the inversion that
// the usual form has at its start and end.
func checksum(seed uint32, b []byte) uint32 {
	return ^crc32.Update(^seed, castagnoli, b)
}

// checksum32 continues a checksum with a little-endian number.
func checksum32(seed, v uint32) uint32 {
	return checksum(seed, binary.LittleEndian.AppendUint32(nil, v))
}
