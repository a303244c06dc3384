package store_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"satchel/store"
)

func TestIDRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var id store.ID
		copy(id[:], rapid.SliceOfN(rapid.Byte(), len(id), len(id)).Draw(t, "id"))
		got, err := store.ParseID(id.String())
		if err != nil || got != id {
			t.Fatalf("ParseID(%s) = %s, %v", id, got, err)
		}
		if !strings.HasPrefix(id.String(), id.Short()) {
			t.Fatalf("%s does not begin with %s", id, id.Short())
		}
		b, err := json.Marshal(map[string]store.ID{"id": id})
		if err != nil {
			t.Fatal(err)
		}
		var back map[string]store.ID
		if err := json.Unmarshal(b, &back); err != nil || back["id"] != id {
			t.Fatalf("%s came back as %s, %v", b, back["id"], err)
		}
	})
}

func TestLayerIDRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var id store.LayerID
		copy(id[:], rapid.SliceOfN(rapid.Byte(), len(id), len(id)).Draw(t, "id"))
		if got, err := store.ParseLayerID(id.String()); err != nil || got != id {
			t.Fatalf("ParseLayerID(%s) = %s, %v", id, got, err)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{"", "0", "zz", strings.Repeat("0", 31), strings.Repeat("g", 32), strings.Repeat("0", 65), strings.Repeat("g", 64)} {
		if _, err := store.ParseID(s); err == nil {
			t.Errorf("ParseID(%q) did not fail", s)
		}
		if _, err := store.ParseLayerID(s); err == nil {
			t.Errorf("ParseLayerID(%q) did not fail", s)
		}
	}
}

func TestZero(t *testing.T) {
	if !(store.ID{}).IsZero() || (store.ID{31: 1}).IsZero() {
		t.Error("IsZero of an ID")
	}
	if !(store.LayerID{}).IsZero() || (store.LayerID{15: 1}).IsZero() {
		t.Error("IsZero of a LayerID")
	}
}
