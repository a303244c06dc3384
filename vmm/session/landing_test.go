package session

import (
	"strings"
	"testing"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/layers/treefs"
)

// A head that others move while a session runs, before and between its
// captures: what all did is in the end there, once.
func TestCaptureMergesWithWhatOthersDid(t *testing.T) {
	h := newHouse(t)
	start := map[string]string{"home/ana/text": "one\ntwo\nthree\n", "home/ana/photo": "\x00old", "home/ana/same": "same\n"}
	began := h.commit("d", layers.Data, start)
	files := map[string]string{"home/ana/text": "ONE\ntwo\nthree\n", "home/ana/photo": "\x00mine", "home/ana/draft": "draft\n"}
	image := h.disk(files)
	rec := h.leave(image)
	def, err := h.Workspaces.Load("ana")
	must(t, err)
	s, err := h.load(t.Context(), def, rec.Composed)
	must(t, err)
	capture := func(image string, want int) Captured {
		t.Helper()
		got, err := h.Host.commit(t.Context(), "ana", &rec, s, image)
		must(t, err)
		if len(got.Layers) != want {
			t.Errorf("captured %q, want %d layers", got.Summary(), want)
		}
		return got
	}
	others := h.commit("d", layers.Data, map[string]string{"home/ana/text": "one\ntwo\nTHREE\n", "home/ana/photo": "\x00theirs", "home/ana/same": "same\n", "home/ana/letter": "dear\n"})

	got := capture(image, 1)
	h.reads("d", "home/ana/text", "ONE\ntwo\nTHREE\n")
	h.reads("d", "home/ana/letter", "dear\n")
	h.reads("d", "home/ana/draft", "draft\n")
	h.reads("d", "home/ana/photo", "\x00mine")
	h.holds("\x00theirs")
	if notes := strings.Join(got.Notes, "\n"); !strings.Contains(notes, others.Short()) || !strings.Contains(notes, "home/ana/photo (from test") {
		t.Errorf("notes %q do not tell of version %s and the kept photo", notes, others.Short())
	}
	merged, err := manifest.ReadVersion(t.Context(), h.Store, h.head("d"))
	must(t, err)
	if len(merged.Parents) != 2 || merged.Parents[0] != others {
		t.Fatalf("merged version has parents %v, want %v and the session's", merged.Parents, others)
	}
	own, err := manifest.ReadVersion(t.Context(), h.Store, merged.Parents[1])
	must(t, err)
	if len(own.Parents) != 1 || own.Parents[0] != began {
		t.Errorf("the session's version has parents %v, want what it was composed from", own.Parents)
	}
	capture(image, 0)

	// The merged version goes elsewhere and comes back with more.
	merged1 := h.all()
	merged1["home/ana/letter"] = "dear all\n"
	h.commit("d", layers.Data, merged1)
	capture(image, 0)
	delete(files, "home/ana/draft")
	files["home/ana/text"] = "ONE\ntwo\nand a half\nthree\n"
	second := h.disk(files)
	capture(second, 1)
	capture(second, 0)
	h.reads("d", "home/ana/letter", "dear all\n")
	h.reads("d", "home/ana/draft", "")
	h.holds("\x00mine", "\x00theirs", "and a half")

	// The text was changed next to what others changed, so both are there.
	// Another process captures it once more.
	before := h.head("d")
	h.put(second)
	h.settled()
	if h.head("d") != before {
		t.Error("the last capture made another version")
	}
	if n := len(h.all()); n != 6 {
		t.Errorf("%d files in the end, want 6: %q", n, h.all())
	}
}

// all returns the files of the data layer.
func (h *house) all() map[string]string {
	h.t.Helper()
	tree, err := h.Repo.Tree(h.t.Context(), "d")
	must(h.t, err)
	files := map[string]string{}
	f := treefs.New(h.t.Context(), tree, h.Store)
	for _, e := range tree {
		if e.Type == layers.Regular {
			b, err := f.ReadFile(e.Path)
			must(h.t, err)
			files[e.Path] = string(b)
		}
	}
	return files
}

// holds checks that the data layer has files with those contents.
func (h *house) holds(want ...string) {
	h.t.Helper()
	all := h.all()
	for _, w := range want {
		found := false
		for _, text := range all {
			found = found || strings.Contains(text, w)
		}
		if !found {
			h.t.Errorf("nothing in %q holds %q", all, w)
		}
	}
}
