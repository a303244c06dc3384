package nbd

import (
	"encoding/binary"
	"slices"
	"strings"
)

// fields takes an option's data apart. After a fault it returns zeroes, and bad
// says so.
type fields struct {
	data []byte
	bad  bool
}

func (f *fields) take(n int) []byte {
	if f.bad || n > len(f.data) {
		f.bad = true
		return make([]byte, min(n, 4))
	}
	b := f.data[:n]
	f.data = f.data[n:]
	return b
}

func (f *fields) uint16() uint16 { return binary.BigEndian.Uint16(f.take(2)) }
func (f *fields) uint32() uint32 { return binary.BigEndian.Uint32(f.take(4)) }

// text reads a string that is preceded by its length.
func (f *fields) text() string {
	n := f.uint32()
	if n > maxName {
		f.bad = true
	}
	if f.bad {
		return ""
	}
	return string(f.take(int(n)))
}

// end reports whether the data was read without a fault and to its end.
func (f *fields) end() bool { return !f.bad && len(f.data) == 0 }

// info answers INFO and GO, and reports whether the export is as asked for.
func (n *negotiation) info(o option) (bool, error) {
	f := fields{data: o.data}
	name := f.text()
	var want []uint16
	for range f.uint16() {
		if f.bad {
			break
		}
		want = append(want, f.uint16())
	}
	if !f.end() {
		return false, n.refuse(o, repErrInvalid, "malformed")
	}
	if !n.known(name) {
		return false, n.refuse(o, repErrUnknown, "no such export")
	}
	for _, data := range n.infos(want) {
		if err := n.reply(o, repInfo, data); err != nil {
			return false, err
		}
	}
	return true, n.reply(o, repAck, nil)
}

// infos returns what is told about the export: always its size, flags and block
// sizes, the rest on demand.
func (n *negotiation) infos(want []uint16) [][]byte {
	d := n.server.device
	size := binary.BigEndian.AppendUint16(nil, infoExport)
	size = binary.BigEndian.AppendUint64(size, uint64(d.size))
	size = binary.BigEndian.AppendUint16(size, d.flags(n.structured))
	blocks := binary.BigEndian.AppendUint16(nil, infoBlockSize)
	blocks = binary.BigEndian.AppendUint32(blocks, minBlock)
	blocks = binary.BigEndian.AppendUint32(blocks, preferredBlock)
	blocks = binary.BigEndian.AppendUint32(blocks, MaxRequest)
	all := [][]byte{size, blocks}
	if slices.Contains(want, infoName) {
		all = append(all, append(binary.BigEndian.AppendUint16(nil, infoName), n.server.name...))
	}
	if slices.Contains(want, infoDescription) && n.server.description != "" {
		all = append(all, append(binary.BigEndian.AppendUint16(nil, infoDescription), n.server.description...))
	}
	return all
}

// metaContext answers LIST_META_CONTEXT and SET_META_CONTEXT.
func (n *negotiation) metaContext(o option) error {
	set := o.code == optSetMetaContext
	if set {
		n.context = false
	}
	f := fields{data: o.data}
	name := f.text()
	count := f.uint32()
	chosen := !set && count == 0 // a list without queries is a list of all
	for i := uint32(0); i < count && !f.bad; i++ {
		q := f.text()
		chosen = chosen || q == contextName || (!set && q == contextName[:strings.IndexByte(contextName, ':')+1])
	}
	switch {
	case !f.end():
		return n.refuse(o, repErrInvalid, "malformed")
	case set && !n.structured:
		return n.refuse(o, repErrInvalid, "needs structured replies")
	case !n.known(name):
		return n.refuse(o, repErrUnknown, "no such export")
	}
	if chosen {
		b := binary.BigEndian.AppendUint32(nil, contextID)
		if err := n.reply(o, repMetaContext, append(b, contextName...)); err != nil {
			return err
		}
		n.context = set
	}
	return n.reply(o, repAck, nil)
}
