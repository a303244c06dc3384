package decompose

import (
	"strings"
	"testing"

	"satchel/layers"
)

func TestRulesMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"usr", "usr", true},
		{"usr", "usr/bin/x", true},
		{"usr", "usrlocal", false},
		{"tmp/", "tmp", false},
		{"tmp/", "tmp/x/y", true},
		{"home/*/.cache", "home/ana/.cache/x", true},
		{"home/*/.cache", "home/ana/x/.cache", false},
		{"**/__pycache__", "usr/lib/x/__pycache__/y.pyc", true},
		{"**/__pycache__", "__pycache__", true},
		{"**/*.dpkg-new", "etc/x.dpkg-new", true},
		{"etc/rc?.d", "etc/rcS.d/S01x", true},
		{`"with blank"`, "with blank/x", true},
		{`"\xff"`, "\xff", true},
	} {
		r, err := ParseRules("test", []string{"", "# a comment", "local " + c.pattern + "   # why not"})
		if err != nil {
			t.Fatal(err)
		}
		v, got := r.own(c.path)
		if got != c.want || got && (v.kind != layers.Local || v.reason != "why not" || !strings.Contains(v.rule, "test, line 3")) {
			t.Errorf("%s for %q: got %v, %+v", c.pattern, c.path, got, v)
		}
	}
}

func TestBadRulesAreTold(t *testing.T) {
	for _, line := range []string{"os usr", "nonsense usr", "local", "local /../x", "local a//b", "local [", `local "x`, "local x y", "local /"} {
		if _, err := ParseRules("mine", []string{"", line}); err == nil || !strings.Contains(err.Error(), "mine, line 2") {
			t.Errorf("%q: got %v, want an error that names the line", line, err)
		}
	}
	if _, err := ParseRules("mine", make([]string, MaxRules+1)); err == nil {
		t.Error("want an error for too many rules")
	}
}

func TestOwnRulesComeFirst(t *testing.T) {
	g := debian(t)
	in := g.input(tree(g.file("usr/bin/nano", "mine")))
	in.Rules, _ = ParseRules("mine", []string{"data usr/bin  # I build my own"})
	out, err := Decompose(t.Context(), in)
	if err != nil || out.Decisions[0].Kind != layers.Data || !strings.HasPrefix(out.Decisions[0].Reason, "I build my own") {
		t.Errorf("got %+v, %v", out.Decisions, err)
	}
}

func TestEveryBuiltInRuleSaysWhyAndIsReachable(t *testing.T) {
	seen := map[string]string{}
	for _, r := range builtin.rules {
		if r.why == "" {
			t.Errorf("%s: no reason", r.where)
		}
		if other, twice := seen[r.pattern]; twice {
			t.Errorf("%s: %s is already at %s", r.where, r.pattern, other)
		}
		seen[r.pattern] = r.where
		p := sample(&r)
		if v := builtin.verdict(p); !strings.Contains(v.rule, r.where+")") {
			t.Errorf("%s: not reached by %s, since %s comes first", r.where, p, v.rule)
		}
	}
}

// sample returns a path that the rule is for.
func sample(r *rule) string {
	p := strings.NewReplacer("*", "x", "?", "0").Replace(strings.Join(r.names, "/"))
	if r.inside {
		p += "/x"
	}
	return p
}

func FuzzParseRules(f *testing.F) {
	for line := range strings.Lines(table) {
		f.Add(strings.TrimSpace(line), "home/ana/x")
	}
	f.Fuzz(func(t *testing.T, line, path string) {
		r, err := ParseRules("fuzz", []string{line})
		if err == nil {
			r.own(path)
		}
	})
}

func FuzzPackages(f *testing.F) {
	f.Add("/.\n/etc/nanorc\n", "Package: nano\nConffiles:\n /etc/nanorc 00\n\n")
	f.Add("\n\n", "Conffiles:\n \n\n")
	f.Fuzz(func(t *testing.T, list, status string) {
		g := newGuest(t, nil)
		in := Input{Upper: tree(g.file(dpkgInfo+"/x.list", "l"), g.file(dpkgStatus, "s"), g.file("etc/nanorc", ""))}
		in.Read = func(e *layers.Entry) ([]byte, error) {
			return []byte(map[string]string{dpkgStatus: status, dpkgInfo + "/x.list": list}[e.Path]), nil
		}
		if _, err := Decompose(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	})
}
