package ext4

import (
	"encoding/binary"
	"fmt"
)

const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"

	aclDiskVersion  = 1
	aclXattrVersion = 2
	aclNobody       = ^uint32(0) // the identity of entries that have none
)

// Tags of ACL entries: those of named users and groups carry an identity.
const (
	aclUser  = 0x02
	aclGroup = 0x08
)

// decodeACL converts an access control list from the form that ext4 keeps,
// where most entries are 4 bytes long, to the value of the attribute, where
// all are 8.
//
// Source: linux/posix_acl_xattr.h for the value, fs/ext4/acl.h for the disk.
func decodeACL(disk []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(disk) < 4 || le.Uint32(disk) != aclDiskVersion {
		return nil, fmt.Errorf("header % x", disk[:min(4, len(disk))])
	}
	value := le.AppendUint32(nil, aclXattrVersion)
	for b := disk[4:]; len(b) > 0; {
		n, id := 4, aclNobody
		if len(b) < n {
			return nil, fmt.Errorf("%d bytes left over", len(b))
		}
		if tag := le.Uint16(b); tag == aclUser || tag == aclGroup {
			if n = 8; len(b) < n {
				return nil, fmt.Errorf("%d bytes left over", len(b))
			}
			id = le.Uint32(b[4:])
		}
		value = append(value, b[:4]...)
		value = le.AppendUint32(value, id)
		b = b[n:]
	}
	return value, nil
}
