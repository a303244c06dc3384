package durable

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"satchel/store"
)

type thing struct {
	Header
	Size int `json:"size"`
}

func TestReadJSON(t *testing.T) {
	want := Header{Format: "satchel thing", Version: 2}
	for _, tc := range []struct {
		name, content string
		err           error
	}{
		{"whole", `{"format": "satchel thing", "version": 2, "size": 3}`, nil},
		{"older", `{"format": "satchel thing", "version": 1, "size": 3}`, nil},
		{"newer", `{"format": "satchel thing", "version": 3, "colour": "red"}`, store.ErrNewer},
		{"other", `{"format": "satchel other", "version": 2, "size": 3}`, store.ErrCorrupt},
		{"misspelt", `{"format": "satchel thing", "version": 2, "sizes": 3}`, store.ErrCorrupt},
		{"no version", `{"format": "satchel thing", "size": 3}`, store.ErrCorrupt},
		{"cut off", `{"format": "satchel thing", "version": 2, "si`, store.ErrCorrupt},
		{"empty", ``, store.ErrCorrupt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "thing.json")
			if err := os.WriteFile(name, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			var got thing
			if err := ReadJSON(name, want, &got); !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			if tc.err == nil && got.Size != 3 {
				t.Errorf("read %+v", got)
			}
		})
	}
	if err := ReadJSON(filepath.Join(t.TempDir(), "none"), want, &thing{}); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("of a file that is not there: %v", err)
	}
}

func TestWriteJSON(t *testing.T) {
	name := filepath.Join(t.TempDir(), "thing.json")
	want := thing{Header{"satchel thing", 1}, 7}
	if err := WriteJSON(name, want); err != nil {
		t.Fatal(err)
	}
	var got thing
	if err := ReadJSON(name, want.Header, &got); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}
