package compose_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"satchel/layers"
	"satchel/layers/compose"
)

const (
	adminPath = "var/lib/dpkg/alternatives/editor"
	linkPath  = "etc/alternatives/editor"
)

// editor is the administrative file of a group with a slave, for choices of
// the form "NAME PRIORITY".
func editor(status string, choices ...string) string {
	var b strings.Builder
	b.WriteString(status + "\n/usr/bin/editor\neditor.1.gz\n/usr/share/man/man1/editor.1.gz\n\n")
	for _, c := range choices {
		name, priority, _ := strings.Cut(c, " ")
		b.WriteString("/bin/" + name + "\n" + priority + "\n/usr/share/man/man1/" + name + ".1.gz\n")
	}
	return b.String() + "\n"
}

// alternatives makes a tree with a group, its link, and more lines.
func (c chunks) alternatives(admin, target, more string) layers.Tree {
	t := c.tree("l " + linkPath + " /bin/" + target + "\n" + more)
	t = append(t, c.registry(adminPath, admin)...)
	t.Sort()
	return t
}

func TestAlternativesFollowTheRegistries(t *testing.T) {
	c := chunks{}
	base := c.registry(adminPath, editor("auto", "nano 40"))
	tests := []struct {
		name  string
		os    layers.Tree
		upper layers.Tree
		want  []string // below etc/alternatives
	}{
		{"best of both wins",
			c.alternatives(editor("auto", "emacs 90", "nano 40"), "emacs", "f usr/share/man/man1/emacs.1.gz m\nl etc/alternatives/editor.1.gz /usr/share/man/man1/emacs.1.gz"),
			c.alternatives(editor("auto", "nano 40", "vim 50"), "vim", "l etc/alternatives/editor.1.gz /usr/share/man/man1/vim.1.gz"),
			[]string{"l etc/alternatives/editor /bin/emacs", "l etc/alternatives/editor.1.gz /usr/share/man/man1/emacs.1.gz"}},
		{"slave appears, through a symlink",
			c.alternatives(editor("auto", "emacs 90", "nano 40"), "emacs", "l usr/share/man ../../opt/./man\nf opt/man/man1/emacs.1.gz m"),
			c.alternatives(editor("auto", "nano 40", "vim 50"), "vim", ""),
			[]string{"l etc/alternatives/editor /bin/emacs", "l etc/alternatives/editor.1.gz /usr/share/man/man1/emacs.1.gz mode=0777"}},
		{"slave without target goes",
			c.alternatives(editor("auto", "emacs 90", "nano 40"), "emacs", ""),
			c.alternatives(editor("auto", "nano 40", "vim 50"), "vim", "l etc/alternatives/editor.1.gz /usr/share/man/man1/vim.1.gz"),
			[]string{"l etc/alternatives/editor /bin/emacs"}},
		{"slave through a loop goes",
			c.alternatives(editor("auto", "emacs 90", "nano 40"), "emacs", "l usr /usr"),
			c.alternatives(editor("auto", "nano 40", "vim 50"), "vim", "l etc/alternatives/editor.1.gz /usr/share/man/man1/vim.1.gz"),
			[]string{"l etc/alternatives/editor /bin/emacs"}},
		{"chosen by hand stays",
			c.alternatives(editor("auto", "emacs 90", "nano 40"), "emacs", ""),
			c.alternatives(editor("manual", "nano 40"), "nano", ""),
			[]string{"l etc/alternatives/editor /bin/nano"}},
		{"what is no link stays",
			c.alternatives(editor("auto", "emacs 90", "nano 40"), "emacs", ""),
			append(c.tree("f "+linkPath+" mine"), c.registry(adminPath, editor("auto", "nano 40", "vim 50"))...),
			[]string{"f etc/alternatives/editor mine"}},
		{"what carries links stays",
			c.alternatives(editor("auto", "emacs 90", "nano 40"), "emacs", ""),
			c.alternatives(editor("auto", "nano 40", "vim 50"), "vim", "h etc/alternatives/other "+linkPath),
			[]string{"l etc/alternatives/editor /bin/vim", "h etc/alternatives/other etc/alternatives/editor"}},
		{"group is gone",
			c.alternatives(editor("auto", "nano 40"), "nano", ""),
			c.tree("w " + adminPath),
			nil},
		{"no group at all", c.tree("l " + linkPath + " a"), c.tree("l " + linkPath + " b"), []string{"l etc/alternatives/editor b"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := composed(t, c,
				compose.Layer{Name: "os", Tree: test.os}, compose.Layer{Name: "personal", Tree: test.upper, Base: base})
			got := script(t, r.Tree.Under("etc/alternatives"), r)
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("(-want +got):\n%s\n%v", d, r.Conflicts)
			}
			for _, e := range r.Tree {
				if r.Owner(e.Path) < 0 {
					t.Errorf("%q has no owner", e.Path)
				}
			}
		})
	}
}

func TestAlternativeChosenByHandThatIsGoneIsAConflict(t *testing.T) {
	c := chunks{}
	r := composed(t, c,
		compose.Layer{Name: "os", Tree: c.alternatives(editor("auto", "emacs 90"), "emacs", "")},
		compose.Layer{Name: "personal", Tree: c.alternatives(editor("manual", "emacs 90", "nano 40"), "nano", ""),
			Base: c.registry(adminPath, editor("auto", "emacs 90", "nano 40"))})
	if len(r.Conflicts) != 1 || r.Conflicts[0].Path != linkPath || r.Conflicts[0].Layer != "personal" {
		t.Fatalf("conflicts %+v", r.Conflicts)
	}
	if got := r.Tree.Find(linkPath).Target; got != "/bin/emacs" {
		t.Errorf("link to %s", got)
	}
}
