package syncer_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A mutant is a bug put into one file of the product.
type mutant struct {
	name string
	file string // below the module's directory
	swap [][2]string
}

// mutants are bugs that the model must find: one for each promise that sync
// hangs on.
var mutants = []mutant{
	{"the server drops the compare-and-swap", "syncer/server/push.go", [][2]string{
		{"\tcase head.Version != req.From:\n\t\treturn store.ErrMoved\n", ""},
		{"\tif err := s.store.Heads().CompareAndSwap(", "\tif now, err := s.store.Heads().Head(ctx, info.ID); err == nil {\n\t\treq.From = now.Version\n\t}\n\tif err := s.store.Heads().CompareAndSwap("},
	}},
	{"an edit gives way to a removal", "layers/merge/trees/decide.go", [][2]string{
		{"if !edited(anc.entry, x.inode.entry) ||", "if anc != nil ||"},
	}},
	{"a device moves its head before the chunks are there", "syncer/device/layer.go", [][2]string{
		{"\t\treturn m.pullThin(ctx)\n\t}\n\tif err := m.fetch(ctx, m.remote); err != nil {\n\t\treturn err\n\t}\n", "\t\treturn m.pullThin(ctx)\n\t}\n"},
		{"\tm.report.Pulled = m.remote\n\tm.agree(m.remote)\n\treturn nil\n}\n\n// fetch", "\tif err := m.fetch(ctx, m.remote); err != nil {\n\t\treturn err\n\t}\n\tm.report.Pulled = m.remote\n\tm.agree(m.remote)\n\treturn nil\n}\n\n// fetch"},
	}},
	{"a merge forgets its second parent", "syncer/device/merge.go", [][2]string{
		{"= m.head, message, []store.ID{m.local, m.remote}\n", "= m.head, message, []store.ID{m.remote}\n"},
	}},
	{"what was not sent is evicted", "syncer/device/survey.go", [][2]string{
		{"if o.Reason == \"\" && sent[entry.ID] {", "if o.Reason == \"\" && (sent[entry.ID] || true) {"},
	}},
	{"partial versions are not marked", "syncer/device/layer.go", [][2]string{
		{"return id == m.remote }), // whose", "return true }), // whose"},
	}},
}

// TestMutants sees to it that the model finds bugs. It builds and runs the model
// for each, which takes minutes:
//
//	SATCHEL_MUTANTS=1 go test ./syncer -run TestMutants -timeout 1h -v
func TestMutants(t *testing.T) {
	if os.Getenv("SATCHEL_MUTANTS") == "" {
		t.Skip("SATCHEL_MUTANTS is not set")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
			overlay := m.write(t, root)
			run := exec.Command("go", "test", "-overlay", overlay, "-vet=off", "-count=1", "-run", "^TestModel$",
				"-rapid.checks=500", "-rapid.nofailfile", "-rapid.shrinktime=10s", "-timeout", "30m", ".")
			out, err := run.CombinedOutput()
			switch {
			case err == nil:
				t.Errorf("not found in %d scripts", 500*workers)
			case !strings.Contains(string(out), "[rapid] failed") && !strings.Contains(string(out), "[rapid] flaky"):
				t.Fatalf("no script fails, but the test does: %s", out)
			default:
				t.Logf("found:\n%s", out)
			}
		})
	}
}

// TestMutantsFit sees to it that the bugs still go into the files that they are
// for, so that the long test does not rot.
func TestMutantsFit(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		m.write(t, root)
	}
}

// write makes the changed file and returns an overlay that puts it in place.
func (m mutant) write(t *testing.T, root string) (overlay string) {
	t.Helper()
	path := filepath.Join(root, m.file)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, s := range m.swap {
		if strings.Count(text, s[0]) != 1 {
			t.Fatalf("%s does not have just once: %s", m.file, s[0])
		}
		text = strings.Replace(text, s[0], s[1], 1)
	}
	dir := t.TempDir()
	changed := filepath.Join(dir, "changed.go")
	if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err = json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	overlay = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}
