package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// rank orders the top-level packages: an import may only go to a lower rank,
// or stay within its own.
var rank = map[string]int{"store": 1, "layers": 2, "syncer": 3, "vmm": 3, "cmd": 4, "benchmarks": 5}

func top(path string) string {
	name, ok := strings.CutPrefix(path, "satchel/")
	if !ok {
		return ""
	}
	name, _, _ = strings.Cut(name, "/")
	return name
}

func TestImportRanks(t *testing.T) {
	list := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "satchel/...")
	out, err := list.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := list.Start(); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for dec := json.NewDecoder(out); ; seen++ {
		var p struct {
			ImportPath                         string
			Imports, TestImports, XTestImports []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		from := top(p.ImportPath)
		if rank[from] == 0 {
			t.Errorf("%s: top-level package %q has no rank", p.ImportPath, from)
		}
		for _, imports := range [][]string{p.Imports, p.TestImports, p.XTestImports} {
			for _, i := range imports {
				if to := top(i); to != "" && to != from && rank[to] >= rank[from] {
					t.Errorf("%s imports %s: %s may not import %s", p.ImportPath, i, from, to)
				}
			}
		}
		for _, i := range p.Imports {
			if isContract(i) || !isContract(p.ImportPath) || top(i) != from {
				continue
			}
			t.Errorf("%s imports its child %s: the parent holds the contract", p.ImportPath, i)
		}
	}
	if err := list.Wait(); err != nil {
		t.Fatal(err)
	}
	if seen < 5 {
		t.Errorf("go list found %d packages", seen)
	}
}

// isContract reports whether path is a top-level package, such as satchel/store.
func isContract(path string) bool { return strings.Count(path, "/") == 1 && top(path) != "" }
