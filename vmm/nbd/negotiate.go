package nbd

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// A negotiation is the first part of a connection, up to transmission.
type negotiation struct {
	server     *Server
	conn       net.Conn
	noZeroes   bool
	structured bool // structured replies are agreed on
	context    bool // base:allocation is agreed on
}

// run greets the client and answers its options. It reports whether the client
// has asked for transmission, rather than left.
func (n *negotiation) run() (bool, error) {
	greeting := binary.BigEndian.AppendUint64(nil, magicServer)
	greeting = binary.BigEndian.AppendUint64(greeting, magicOption)
	greeting = binary.BigEndian.AppendUint16(greeting, flagFixedNewstyle|flagNoZeroes)
	if _, err := n.conn.Write(greeting); err != nil {
		return false, fmt.Errorf("greet client: %w", err)
	}
	var flags [4]byte
	if _, err := io.ReadFull(n.conn, flags[:]); err != nil {
		return false, fmt.Errorf("read client flags: %w", err)
	}
	f := binary.BigEndian.Uint32(flags[:])
	if f&^(flagFixedNewstyle|flagNoZeroes) != 0 {
		return false, fmt.Errorf("%w: unknown client flags %#x", ErrProtocol, f)
	}
	n.noZeroes = f&flagNoZeroes != 0
	for {
		o, err := n.readOption()
		if err != nil {
			return false, err
		}
		if done, ready, err := n.answer(o); done || err != nil {
			return ready, err
		}
	}
}

// An option is what a client asks for.
type option struct {
	code uint32
	data []byte
	big  bool // data was too long and is not kept
}

func (n *negotiation) readOption() (option, error) {
	var head [16]byte
	if _, err := io.ReadFull(n.conn, head[:]); err != nil {
		return option{}, fmt.Errorf("read option: %w", err)
	}
	if m := binary.BigEndian.Uint64(head[:]); m != magicOption {
		return option{}, fmt.Errorf("%w: option begins with %#x", ErrProtocol, m)
	}
	o := option{code: binary.BigEndian.Uint32(head[8:])}
	length := binary.BigEndian.Uint32(head[12:])
	if length > maxOptionData {
		o.big = true
		_, err := io.CopyN(io.Discard, n.conn, int64(length))
		return o, err
	}
	o.data = make([]byte, length)
	if _, err := io.ReadFull(n.conn, o.data); err != nil {
		return option{}, fmt.Errorf("read option %d: %w", o.code, err)
	}
	return o, nil
}

// answer replies to one option. When done is true the negotiation is over, and
// ready says whether transmission follows.
func (n *negotiation) answer(o option) (done, ready bool, err error) {
	if o.big && o.code != optExportName {
		return false, false, n.refuse(o, repErrTooBig, "too long")
	}
	switch o.code {
	case optExportName:
		return n.exportName(o)
	case optAbort:
		// The client may be gone already, and that is no fault.
		_ = n.reply(o, repAck, nil)
		return true, false, nil
	case optList:
		return false, false, n.list(o)
	case optInfo, optGo:
		ok, err := n.info(o)
		ready := ok && o.code == optGo
		return ready, ready, err
	case optStructuredReply:
		if len(o.data) != 0 || n.structured {
			return false, false, n.refuse(o, repErrInvalid, "has data, or was asked for before")
		}
		n.structured = true
		return false, false, n.reply(o, repAck, nil)
	case optListMetaContext, optSetMetaContext:
		return false, false, n.metaContext(o)
	}
	return false, false, n.refuse(o, repErrUnsup, "unknown option")
}

// known reports whether a name is that of the export.
func (n *negotiation) known(name string) bool { return name == "" || name == n.server.name }

// exportName answers the oldest option, which knows no errors.
func (n *negotiation) exportName(o option) (done, ready bool, err error) {
	if o.big || !n.known(string(o.data)) {
		return true, false, fmt.Errorf("%w: no export %.80q", ErrProtocol, o.data)
	}
	d := n.server.device
	b := binary.BigEndian.AppendUint64(nil, uint64(d.size))
	b = binary.BigEndian.AppendUint16(b, d.flags(n.structured))
	if !n.noZeroes {
		b = append(b, make([]byte, 124)...)
	}
	if _, err := n.conn.Write(b); err != nil {
		return true, false, fmt.Errorf("answer export name: %w", err)
	}
	return true, true, nil
}

func (n *negotiation) list(o option) error {
	if len(o.data) != 0 {
		return n.refuse(o, repErrInvalid, "list has data")
	}
	name := n.server.name
	b := binary.BigEndian.AppendUint32(nil, uint32(len(name)))
	b = append(b, name...)
	if err := n.reply(o, repServer, append(b, n.server.description...)); err != nil {
		return err
	}
	return n.reply(o, repAck, nil)
}

// reply sends one reply to an option.
func (n *negotiation) reply(o option, kind uint32, data []byte) error {
	b := binary.BigEndian.AppendUint64(nil, magicReply)
	b = binary.BigEndian.AppendUint32(b, o.code)
	b = binary.BigEndian.AppendUint32(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	if _, err := n.conn.Write(append(b, data...)); err != nil {
		return fmt.Errorf("answer option %d: %w", o.code, err)
	}
	return nil
}

// refuse sends an error with a text for people. The client may go on.
func (n *negotiation) refuse(o option, kind uint32, why string) error {
	return n.reply(o, kind, []byte(why))
}
