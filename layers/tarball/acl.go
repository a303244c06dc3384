package tarball

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// aclXattr names the extended attribute that holds each kind of ACL.
var aclXattr = map[string]string{
	"access":  "system.posix_acl_access",
	"default": "system.posix_acl_default",
}

// An aclEntry is one line of an ACL, as linux/posix_acl_xattr.h has it.
type aclEntry struct {
	tag, perm uint16
	id        uint32
}

// Tags of ACL entries.
const (
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20

	aclNoID    = 0xffffffff
	aclVersion = 2
	maxACL     = 8000 // entries: what an attribute of 64 KiB holds
)

// parseACL returns the value of the extended attribute for an ACL in the text
// form of acl(5). Users and groups must be numbers: by themselves, or after the
// name as star writes them.
func parseACL(text string) ([]byte, error) {
	var list []aclEntry
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == '\n' }) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		e, err := parseACLEntry(strings.Split(line, ":"))
		if err != nil {
			return nil, err
		}
		if list = append(list, e); len(list) > maxACL {
			return nil, fmt.Errorf("more than %d entries", maxACL)
		}
	}
	slices.SortFunc(list, func(a, b aclEntry) int {
		return cmp.Or(cmp.Compare(a.tag, b.tag), cmp.Compare(a.id, b.id))
	})
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range list {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b, nil
}

// minACL is the length of an ACL that holds owner, group and others only. As
// access ACL it says no more than the mode does, and is not stored.
const minACL = 4 + 3*8

func parseACLEntry(f []string) (aclEntry, error) {
	e := aclEntry{id: aclNoID}
	if len(f) < 3 {
		return e, fmt.Errorf("entry %q has fewer than three fields", f)
	}
	switch named := f[1] != ""; f[0] {
	case "user", "u":
		e.tag = aclUserObj
		if named {
			e.tag = aclUser
		}
	case "group", "g":
		e.tag = aclGroupObj
		if named {
			e.tag = aclGroup
		}
	case "mask", "m":
		e.tag = aclMask
	case "other", "o":
		e.tag = aclOther
	default:
		return e, fmt.Errorf("entry %q has no known tag", f)
	}
	if e.tag == aclUser || e.tag == aclGroup {
		number := f[1]
		if len(f) > 3 {
			number = f[3]
		}
		id, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return e, fmt.Errorf("entry %q does not tell the number", f)
		}
		e.id = uint32(id)
	}
	for _, c := range f[2] {
		bit, ok := map[rune]uint16{'r': 4, 'w': 2, 'x': 1, '-': 0}[c]
		if !ok {
			return e, errors.New("permissions hold something other than r, w, x and -")
		}
		e.perm |= bit
	}
	return e, nil
}

// formatACL returns the text form of an extended attribute that holds an ACL.
func formatACL(value []byte) (string, bool) {
	if len(value) < 4 || len(value)%8 != 4 || binary.LittleEndian.Uint32(value) != aclVersion {
		return "", false
	}
	names := map[uint16]string{
		aclUserObj: "user", aclUser: "user", aclGroupObj: "group",
		aclGroup: "group", aclMask: "mask", aclOther: "other",
	}
	var lines []string
	for b := value[4:]; len(b) > 0; b = b[8:] {
		tag, perm := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])
		name, ok := names[tag]
		if !ok || perm > 7 {
			return "", false
		}
		id := ""
		if tag == aclUser || tag == aclGroup {
			id = strconv.FormatUint(uint64(binary.LittleEndian.Uint32(b[4:])), 10)
		}
		bits := []byte("---")
		for i, c := range []byte("rwx") {
			if perm&(4>>i) != 0 {
				bits[i] = c
			}
		}
		lines = append(lines, name+":"+id+":"+string(bits))
	}
	return strings.Join(lines, ","), true
}

// aclMaskOf returns the mask of an extended attribute that holds an ACL.
func aclMaskOf(value []byte) (perm uint16, ok bool) {
	if len(value) < 4 || len(value)%8 != 4 {
		return 0, false
	}
	for b := value[4:]; len(b) > 0; b = b[8:] {
		if binary.LittleEndian.Uint16(b) == aclMask {
			return binary.LittleEndian.Uint16(b[2:]) & 7, true
		}
	}
	return 0, false
}
