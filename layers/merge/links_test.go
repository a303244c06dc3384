package merge

import (
	"slices"
	"strings"
	"testing"
)

func TestAlternativesKeepTheirForm(t *testing.T) {
	for _, name := range []string{"awk", "pager", "vi"} {
		s := sample(t, AlternativesDir+"/"+name)
		a, err := parseAlternative(s)
		if err != nil || a.String() != s {
			t.Errorf("%s: got %q, %v, want %q", name, a, err, s)
		}
	}
}

func TestAlternatives(t *testing.T) {
	const path = AlternativesDir + "/pager"
	b := sample(t, path)
	most := "/usr/bin/most\n80\n/usr/share/man/man1/most.1.gz\n"
	withMost := edit(t, b, "/usr/bin/less\n", most+"/usr/bin/less\n")
	withLynx := edit(t, b, "/usr/bin/less\n", "/usr/bin/lynx\n10\n\n/usr/bin/less\n")
	for _, s := range []scene{
		{name: "choices on both sides", lower: withLynx, upper: withMost, has: []string{"/usr/bin/less\n77\n", "/usr/bin/lynx\n10\n\n", most}},
		{name: "chosen by hand here, a choice added below", lower: withLynx, upper: edit(t, b, "auto", "manual"), has: []string{"manual\n", "lynx"}},
		{name: "different priorities", lower: edit(t, b, "\n77\n", "\n78\n"), upper: edit(t, b, "\n77\n", "\n79\n"), has: []string{"\n79\n"}, reasons: []string{"alternative pager"}},
		{name: "the group removed here, a choice added below", lower: withLynx, upper: "", has: []string{"auto\n/usr/bin/pager\n", "lynx"}, lacks: []string{"less"}},
	} {
		s.path, s.base = path, b
		t.Run(s.name, s.check)
	}
	out, err := For(path).Merge(Input{path, []byte(b), []byte(edit(t, b, "77", "78")), nil})
	if err != nil || out.Data == nil && len(out.Conflicts) == 0 {
		t.Errorf("changed below and removed here: got %+v, %v", out, err)
	}
}

func TestLinksFollowTheChoices(t *testing.T) {
	vi, pager := sample(t, AlternativesDir+"/vi"), sample(t, AlternativesDir+"/pager")
	manual := edit(t, pager, "auto", "manual")
	set := func(target string) func(string) (string, bool) {
		return func(string) (string, bool) { return target, target != "" }
	}
	for _, c := range []struct {
		name, group, file string
		current           func(string) (string, bool)
		want              Link
		conflict          string
	}{
		{"the best choice", "pager", pager, nil, Link{"etc/alternatives/pager", "/usr/bin/less", false}, ""},
		{"its slave", "pager", pager, nil, Link{"etc/alternatives/pager.1.gz", "/usr/share/man/man1/less.1.gz", true}, ""},
		{"the choice made by hand", "pager", manual, set("/bin/more"), Link{"etc/alternatives/pager", "/bin/more", false}, ""},
		{"a choice that is gone", "pager", manual, set("/bin/most"), Link{"etc/alternatives/pager", "/usr/bin/less", false}, "/bin/most"},
		{"a choice never linked", "pager", manual, set(""), Link{"etc/alternatives/pager", "/usr/bin/less", false}, ""},
		{"a slave that the choice lacks", "vi", edit(t, vi, "/usr/share/man/de/man1/vim.1.gz", ""), nil, Link{"etc/alternatives/vi.de.1.gz", "", true}, ""},
		{"a group that is gone", "vi", "", nil, Link{"etc/alternatives/vi", "", false}, ""},
	} {
		links, conflicts := Alternatives(map[string][]byte{c.group: []byte(c.file)}, c.current)
		if !slices.Contains(links, c.want) {
			t.Errorf("%s: got %+v, want %+v among them", c.name, links, c.want)
		}
		if (len(conflicts) == 1) != (c.conflict != "") || c.conflict != "" && !strings.Contains(conflicts[0].Reason, c.conflict) {
			t.Errorf("%s: got conflicts %+v", c.name, conflicts)
		}
	}
	if links, conflicts := Alternatives(map[string][]byte{"x": []byte("junk")}, nil); len(links) != 0 || len(conflicts) != 1 {
		t.Errorf("a damaged file: got links %v, conflicts %v", links, conflicts)
	}
}
