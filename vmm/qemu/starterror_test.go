package qemu

import (
	"errors"
	"strings"
	"testing"
)

func TestStartErrorPicksTheMessage(t *testing.T) {
	const name = "qemu-system-x86_64: "
	for _, tc := range []struct{ stderr, message, hint string }{
		{name + "cannot set up guest memory 'pc.ram': Cannot allocate memory\n", "cannot set up guest memory 'pc.ram': Cannot allocate memory", "less memory"},
		{name + "warning: host is old\n" + name + "no\n", "no", ""},
		{name + "warning: host is old\n", "warning: host is old", ""},
		{"Could not access KVM kernel module: Permission denied\n" + name + "failed to initialize kvm: Permission denied\n", "Could not access KVM kernel module: Permission denied; failed to initialize kvm: Permission denied", "group kvm"},
		{name + "-chardev socket,id=agent: Failed to bind socket to /a: Address already in use\n", "-chardev socket,id=agent: Failed to bind socket to /a: Address already in use", "another machine"},
		{name + "-device virtio-gpu-pci: 'virtio-gpu-pci' is not a valid device model name\n", "-device virtio-gpu-pci: 'virtio-gpu-pci' is not a valid device model name", "qemu-system-gui"},
		{"\n  \n", "", ""},
	} {
		cause := errors.New("EOF")
		e := newStartError("qemu", cause, tc.stderr)
		if e.Message != tc.message || !strings.Contains(e.Hint, tc.hint) || (tc.hint == "") != (e.Hint == "") {
			t.Errorf("%q: message %q, hint %q, want %q and %q", tc.stderr, e.Message, e.Hint, tc.message, tc.hint)
		}
		if !errors.Is(e, cause) {
			t.Errorf("%v hides its cause", e)
		}
	}
}

func TestTranscriptKeepsTheEnd(t *testing.T) {
	s, err := newTranscript("")
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		s.Write(make([]byte, 1000))
	}
	s.Write([]byte("end"))
	if got := s.String(); len(got) != maxTranscript || !strings.HasSuffix(got, "end") {
		t.Errorf("kept %d bytes", len(got))
	}
}
