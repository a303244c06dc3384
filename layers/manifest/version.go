package manifest

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"satchel/layers"
	"satchel/store"
)

// Limits of a version.
const (
	maxParents = 256
	maxDevice  = 255     // bytes
	maxMessage = 1 << 16 // bytes

	minTime = -62135596800 // the beginning of year 1, in seconds since 1970
	maxTime = 253402300799 // the end of year 9999, the last that JSON can tell
)

func encodeVersion(v layers.Version) ([]byte, error) {
	switch {
	case v.Kind.Rank() < 0:
		return nil, fmt.Errorf("layer kind %q is not known", v.Kind)
	case len(v.Parents) > maxParents:
		return nil, fmt.Errorf("%d parents are more than %d", len(v.Parents), maxParents)
	case len(v.Device) > maxDevice:
		return nil, fmt.Errorf("name of device is longer than %d bytes", maxDevice)
	case v.Time.Unix() < minTime || v.Time.Unix() > maxTime:
		return nil, fmt.Errorf("time %v is not within years 1 to 9999", v.Time)
	case len(v.Message) > maxMessage:
		return nil, fmt.Errorf("message is longer than %d bytes", maxMessage)
	}
	if err := v.CheckForm(); err != nil {
		return nil, err
	}
	b := appendHeader(nil, kindVersion)
	if v.Form == layers.Disk {
		b[headerLen-1] = diskVersion
	}
	b = append(b, v.Layer[:]...)
	b = appendBytes(b, string(v.Kind))
	b = binary.AppendUvarint(b, uint64(len(v.Parents)))
	for _, id := range v.Parents {
		b = append(b, id[:]...)
	}
	b = binary.AppendVarint(b, v.Time.Unix())
	b = binary.AppendUvarint(b, uint64(v.Time.Nanosecond()))
	b = appendBytes(b, v.Device)
	b = appendBytes(b, v.Message)
	b = appendRoot(b, v.Tree)
	b = appendRoot(b, v.Base)
	if v.Form == layers.Disk {
		b = append(b, v.On[:]...)
	}
	return b, nil
}

func appendRoot(b []byte, r layers.Root) []byte {
	b = append(b, r.ID[:]...)
	for _, n := range []int64{r.Entries, r.Files, r.Bytes} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

func decodeVersion(b []byte) (layers.Version, error) {
	var v layers.Version
	r := newReader(b, kindVersion)
	copy(v.Layer[:], r.take(len(v.Layer)))
	v.Kind = layers.Kind(r.bytes(maxDevice, "kind"))
	n := r.uvarint(maxParents, "parents")
	for range n {
		v.Parents = append(v.Parents, r.id())
	}
	sec := r.varint("time")
	v.Time = time.Unix(sec, int64(r.uvarint(999_999_999, "nanoseconds"))).UTC()
	v.Device = string(r.bytes(maxDevice, "device"))
	v.Message = string(r.bytes(maxMessage, "message"))
	v.Tree = r.root()
	v.Base = r.root()
	if r.disk {
		v.Form, v.On = layers.Disk, r.id()
	}
	if r.err == nil && v.Kind.Rank() < 0 {
		r.fail("layer kind %q is not known", v.Kind)
	}
	if sec < minTime || sec > maxTime {
		r.fail("time is out of range")
	}
	if err := v.CheckForm(); r.err == nil && err != nil {
		r.fail("%v", err)
	}
	if err := r.end(); err != nil {
		return layers.Version{}, err
	}
	return v, nil
}

func (r *reader) root() layers.Root {
	root := layers.Root{
		ID:      r.id(),
		Entries: int64(r.uvarint(math.MaxInt64, "entries")),
		Files:   int64(r.uvarint(math.MaxInt64, "files")),
		Bytes:   int64(r.uvarint(math.MaxInt64, "bytes")),
	}
	if r.err == nil && (root.ID == store.ID{}) != (root.Entries == 0) {
		r.fail("tree of %d entries with ID %s", root.Entries, root.ID.Short())
	}
	return root
}
