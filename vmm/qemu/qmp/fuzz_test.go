package qmp

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzDecoder checks that no stream makes the decoder panic, go on for ever, or
// return a message that is of no kind.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte(`{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": []}}` + "\r\n"))
	f.Add([]byte(`{"return": {}, "id": 1}` + "\n\n" + `{"error": {"class": "x", "desc": "y"}}` + "\n"))
	f.Add([]byte(`{"event": "STOP", "data": null, "timestamp": {"seconds": -1, "microseconds": -1}}` + "\n"))
	f.Add([]byte(`{"return": null, "id": 18446744073709551616}` + "\n"))
	f.Add([]byte(strings.Repeat("[", 20000) + "\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		d := newDecoder(bytes.NewReader(stream))
		for range bytes.Count(stream, []byte("\n")) + 2 {
			m, err := d.next()
			if err != nil {
				return
			}
			if m.Greeting == nil && m.Return == nil && m.Error == nil && m.Event == "" {
				t.Fatalf("message of no kind: %+v", m)
			}
			_ = m.Timestamp.time()
		}
		t.Fatal("more messages than lines")
	})
}
