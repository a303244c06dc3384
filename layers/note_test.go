package layers_test

import (
	"testing"

	"satchel/layers"
)

func TestNoteInOneLine(t *testing.T) {
	for _, c := range []struct {
		note layers.Note
		want string
	}{
		{layers.Note{Path: "run/x\n", Reason: "a socket"}, `"run/x\n": a socket`},
		{layers.Note{Reason: "the file system was repaired"}, "the file system was repaired"},
	} {
		if got := c.note.String(); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}
