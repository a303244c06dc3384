package pack_test

import (
	"bytes"
	"testing"

	"satchel/store/pack"
)

// TestHead cuts a frame off after every so many bytes and checks that what is
// left holds whole chunks, more the later it was cut, and nothing else.
func TestHead(t *testing.T) {
	var data []byte
	var lens []int
	for i := range 40 {
		chunk := bytes.Repeat([]byte{byte(i), byte(7 * i), byte(i * i)}, 3000)
		for j := range len(chunk) / 2 { // not too regular
			chunk[2*j] = byte(j * (i + 3) >> (i % 5))
		}
		data = append(data, chunk...)
		lens = append(lens, len(chunk))
	}
	code := bytes.Clone(data)
	for i := 0; i+9 < len(code); i += 17 { // calls, as in a program
		copy(code[i:], []byte{0xe8, byte(i), byte(i >> 8), 0, 0})
	}
	for name, frame := range map[string][]byte{
		"compressed": pack.AppendFrame(nil, data, lens),
		"program":    pack.AppendFrame(nil, code, lens),
		"raw":        pack.AppendFrame(nil, data[:9000], lens[:1]),
	} {
		data := data
		if name == "program" {
			data = code
		}
		most := 0
		for n := 0; n < len(frame); n += 97 {
			head := pack.Head(frame[:n])
			if head == nil {
				continue
			}
			c, err := pack.DecodeFrame(head, nil)
			if err != nil || c.Damage != nil {
				t.Fatalf("%s, %d bytes: %v, %v", name, n, err, c.Damage)
			}
			if !bytes.HasPrefix(data, c.Data) || len(c.Lens) < most {
				t.Fatalf("%s, %d bytes: %d chunks of %d bytes, after %d", name, n, len(c.Lens), len(c.Data), most)
			}
			most = len(c.Lens)
		}
		if whole := pack.Head(frame); whole == nil {
			t.Errorf("%s: nothing of a whole frame", name)
		}
		if name != "raw" && most < 10 {
			t.Errorf("of a frame of 40 chunks that was cut off near its end %d are left", most)
		}
	}
	if pack.Head(nil) != nil || pack.Head([]byte("SFRM nonsense, and more of it")) != nil {
		t.Error("a head of nothing")
	}
}
