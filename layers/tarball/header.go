package tarball

import (
	"archive/tar"
	"encoding/base64"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"

	"satchel/layers"
)

// Keys of pax records that hold extended attributes.
const (
	schilyXattr     = "SCHILY.xattr."
	libarchiveXattr = "LIBARCHIVE.xattr."
	schilyACL       = "SCHILY.acl."
)

var typeOf = map[byte]layers.Type{
	tar.TypeReg:       layers.Regular,
	'\x00':            layers.Regular,
	tar.TypeCont:      layers.Regular,
	tar.TypeGNUSparse: layers.Regular,
	tar.TypeDir:       layers.Dir,
	tar.TypeSymlink:   layers.Symlink,
	tar.TypeChar:      layers.CharDev,
	tar.TypeBlock:     layers.BlockDev,
	tar.TypeFifo:      layers.Fifo,
}

// header returns the entry that a header speaks of, or nil if there is none.
func (im *Importer) header(h *tar.Header, name string) (*layers.Entry, error) {
	e := &layers.Entry{Path: name, Type: typeOf[h.Typeflag], ModTime: layers.TimeOf(h.ModTime), Mode: uint16(h.Mode & 0o7777)}
	switch e.Type {
	case 0:
		if h.Typeflag != tar.TypeXGlobalHeader {
			im.notes = append(im.notes, layers.Note{Path: name, Reason: fmt.Sprintf("entries of type %q have no meaning here", h.Typeflag)})
		}
		return nil, nil
	case layers.Symlink:
		e.Target = h.Linkname
		if len(e.Target) > layers.MaxPath || strings.IndexByte(e.Target, 0) >= 0 {
			return nil, fmt.Errorf("target is longer than %d bytes or holds a NUL byte", layers.MaxPath)
		}
	case layers.CharDev, layers.BlockDev:
		if !is32(h.Devmajor) || !is32(h.Devminor) {
			return nil, fmt.Errorf("device %d:%d is out of range", h.Devmajor, h.Devminor)
		}
		e.Major, e.Minor = uint32(h.Devmajor), uint32(h.Devminor)
	}
	if !is32(int64(h.Uid)) || !is32(int64(h.Gid)) {
		return nil, fmt.Errorf("owner %d:%d is out of range", h.Uid, h.Gid)
	}
	e.UID, e.GID = uint32(h.Uid), uint32(h.Gid)
	var err error
	e.Xattrs, err = im.xattrs(h, name)
	for _, x := range e.Xattrs {
		if x.Name != aclXattr["access"] {
			continue
		}
		if mask, ok := aclMaskOf(x.Value); ok { // as the kernel does; bsdtar has the group's own
			e.Mode = e.Mode&^0o070 | mask<<3
		}
	}
	return e, err
}

func is32(n int64) bool { return n >= 0 && n <= math.MaxUint32 }

// xattrs returns the extended attributes that pax records hold, ordered. Those
// that overlayfs keeps for itself are left out.
func (im *Importer) xattrs(h *tar.Header, name string) ([]layers.Xattr, error) {
	values := map[string]string{}
	for key, value := range h.PAXRecords {
		switch {
		case strings.HasPrefix(key, schilyXattr):
			values[unescape(key[len(schilyXattr):])] = value
		case strings.HasPrefix(key, libarchiveXattr):
			attr, err := url.PathUnescape(key[len(libarchiveXattr):])
			if err != nil {
				return nil, fmt.Errorf("extended attribute: %w", err)
			}
			b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
			if err != nil {
				return nil, fmt.Errorf("extended attribute %.300s: %w", attr, err)
			}
			values[attr] = string(b)
		}
	}
	for kind, attr := range aclXattr {
		text, ok := h.PAXRecords[schilyACL+kind]
		if _, has := values[attr]; !ok || has {
			continue
		}
		b, err := parseACL(text)
		if err != nil {
			im.notes = append(im.notes, layers.Note{Path: name, Reason: fmt.Sprintf("ACL %.300q: %v", text, err)})
			continue
		}
		if len(b) > minACL || kind == "default" && len(b) == minACL {
			values[attr] = string(b)
		}
	}
	var xs []layers.Xattr
	for attr, value := range values {
		if attr != "" && !strings.HasPrefix(attr, "trusted.overlay.") {
			xs = append(xs, layers.Xattr{Name: attr, Value: []byte(value)})
		}
	}
	slices.SortFunc(xs, func(a, b layers.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return xs, nil
}

// GNU tar writes the two bytes that the name of an attribute may not hold
// within a pax key as URLs do, and no others.
var (
	escaper   = strings.NewReplacer("%", "%25", "=", "%3D")
	unescaper = strings.NewReplacer("%25", "%", "%3D", "=")
)

func unescape(s string) string { return unescaper.Replace(s) }
