package nbd_test

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"satchel/vmm/nbd"
)

func TestOptions(t *testing.T) {
	c := dial(t, nbd.NewServer("root", newMemory(block), nbd.Options{Description: "d"}))
	for _, tc := range []struct {
		name string
		code uint32
		data []byte
		want []uint32
	}{
		{"unknown", 99, []byte("x"), []uint32{unsup}},
		{"TLS", 5, nil, []uint32{unsup}},
		{"extended headers", 11, nil, []uint32{unsup}},
		{"too long", 99, make([]byte, 1<<17), []uint32{tooBig}},
		{"list", optList, nil, []uint32{server, ack}},
		{"list with data", optList, []byte("x"), []uint32{invalid}},
		{"info", optInfo, be(str("root"), uint16(0)), []uint32{info, info, ack}},
		{"info of all", optInfo, be(str(""), uint16(3), uint16(1), uint16(2), uint16(3)), []uint32{info, info, info, info, ack}},
		{"info, cut short", optInfo, be(str("root"), uint16(7), uint16(1)), []uint32{invalid}},
		{"info, too long", optInfo, be(str("root"), uint16(0), "x"), []uint32{invalid}},
		{"info without data", optInfo, nil, []uint32{invalid}},
		{"name longer than data", optInfo, be(uint32(1<<31), "root"), []uint32{invalid}},
		{"name longer than allowed", optInfo, be(str(strings.Repeat("x", 5000)), uint16(0)), []uint32{invalid}},
		{"go elsewhere", optGo, be(str("other"), uint16(0)), []uint32{unknown}},
		{"set context too early", optSetMeta, be(str("root"), uint32(1), str("base:allocation")), []uint32{invalid}},
		{"list contexts", optListMeta, be(str("root"), uint32(0)), []uint32{meta, ack}},
		{"list namespace", optListMeta, be(str("root"), uint32(1), str("base:")), []uint32{meta, ack}},
		{"list other namespace", optListMeta, be(str("root"), uint32(1), str("qemu:")), []uint32{ack}},
		{"structured replies with data", optStructured, []byte("x"), []uint32{invalid}},
		{"structured replies", optStructured, nil, []uint32{ack}},
		{"structured replies again", optStructured, nil, []uint32{invalid}},
		{"set namespace", optSetMeta, be(str("root"), uint32(1), str("base:")), []uint32{ack}},
		{"set context", optSetMeta, be(str("root"), uint32(2), str("x:y"), str("base:allocation")), []uint32{meta, ack}},
		{"set context elsewhere", optSetMeta, be(str("other"), uint32(1), str("base:allocation")), []uint32{unknown}},
		{"more queries than data", optSetMeta, be(str("root"), uint32(1<<31), str("x")), []uint32{invalid}},
		{"abort", optAbort, nil, []uint32{ack}},
	} {
		if got := c.answers(tc.code, tc.data); !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %x, want %x", tc.name, got, tc.want)
		}
	}
	c.closed()
}

func TestExportName(t *testing.T) {
	for name, tc := range map[string]struct {
		flags uint32
		tail  int
	}{"with zeroes": {1, 124}, "without": {3, 0}} {
		t.Run(name, func(t *testing.T) {
			c := dialFlags(t, nbd.NewServer("root", newMemory(3*block), nbd.Options{}), tc.flags)
			c.write(be("IHAVEOPT", uint32(optExport), uint32(4), "root"))
			b := c.read(10 + tc.tail)
			if size := binary.BigEndian.Uint64(b); size != 3*block {
				t.Errorf("size %d", size)
			}
			c.ask(7, 0, read, 0, 10)
			if got := c.reply(10); got[0].kind != simple || got[0].errno != 0 {
				t.Errorf("read: %+v", got)
			}
		})
	}
}

func TestNegotiationEnds(t *testing.T) {
	for name, said := range map[string][]byte{
		"bad magic":      be("IHAVEOPX", uint32(optList), uint32(0)),
		"no such export": be("IHAVEOPT", uint32(optExport), uint32(5), "other"),
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, nbd.NewServer("root", newMemory(block), nbd.Options{}))
			c.write(said)
			c.closed()
		})
	}
}

func TestUnknownClientFlags(t *testing.T) {
	dialFlags(t, nbd.NewServer("root", newMemory(block), nbd.Options{}), 1<<7).closed()
}
