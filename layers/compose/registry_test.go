package compose_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"satchel/layers"
	"satchel/layers/compose"
	"satchel/store"
)

// A passwd line for each user, in the order of their numbers.
func passwd(users ...string) string {
	var b strings.Builder
	for _, u := range users {
		name, id, _ := strings.Cut(u, ":")
		fmt.Fprintf(&b, "%s:x:%s:%s::/home/%s:/bin/sh\n", name, id, id, name)
	}
	return b.String()
}

// registry makes a tree with one registry.
func (c chunks) registry(path, data string, change ...func(*layers.Entry)) layers.Tree {
	e := layers.Entry{Path: path, Type: layers.Regular, Mode: 0o644, Extents: c.put(data), Size: int64(len(data))}
	for _, f := range change {
		f(&e)
	}
	return layers.Tree{e}
}

func composed(tb testing.TB, c chunks, stack ...compose.Layer) *compose.Result {
	tb.Helper()
	r, err := compose.Compose(context.Background(), c, stack)
	if err != nil {
		tb.Fatal(err)
	}
	if err := r.Tree.Check(); err != nil {
		tb.Errorf("the result: %v", err)
	}
	return r
}

func TestRegistriesMergeFromTheBottomUp(t *testing.T) {
	c := chunks{}
	const path = "etc/passwd"
	base := c.registry(path, passwd("root:0", "daemon:1"))
	stack := []compose.Layer{
		{Name: "os", Tree: c.registry(path, passwd("root:0", "daemon:1", "sshd:101"))}, // moved on since
		{Name: "group", Tree: c.registry(path, passwd("root:0", "daemon:1", "postgres:110")), Base: base},
		{Name: "personal", Tree: c.registry(path, passwd("root:0", "daemon:1", "postgres:110", "ana:1000"), func(e *layers.Entry) { e.Mode, e.UID = 0o600, 7 }),
			Base: c.registry(path, passwd("root:0", "daemon:1", "postgres:110"))},
	}
	r := composed(t, c, stack...)
	e := r.Tree.Find(path)
	for _, user := range []string{"root", "daemon", "sshd", "postgres", "ana"} {
		if !strings.Contains(contentOf(t, e, r), user+":x:") {
			t.Errorf("%s is missing from\n%s", user, contentOf(t, e, r))
		}
	}
	if e.Mode != 0o600 || e.UID != 7 {
		t.Errorf("attributes are %o and %d, want those of the topmost", e.Mode, e.UID)
	}
	if r.Owner(path) != 2 || len(r.Conflicts) > 0 || len(r.Shadowed) > 0 {
		t.Errorf("owner %d, conflicts %v, shadows %v", r.Owner(path), r.Conflicts, r.Shadowed)
	}
	if !r.Made(e) {
		t.Error("the merged content should count as made")
	}
	if _, err := c.Get(context.Background(), e.Extents[0].ID); err == nil {
		t.Error("the merged content is in the store")
	}
}

func TestRegistryThatNeedsNoMergeIsThatOfALayer(t *testing.T) {
	const path = "etc/shells"
	tests := []struct {
		name               string
		base, lower, upper string
		want               string
	}{
		{"lower is the base", "/bin/sh\n", "/bin/sh\n", "/bin/sh\n/bin/zsh\n", "/bin/sh\n/bin/zsh\n"},
		{"both alike", "/bin/sh\n", "/bin/zsh\n", "/bin/zsh\n", "/bin/zsh\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := chunks{}
			r := composed(t, c,
				compose.Layer{Name: "os", Tree: c.registry(path, test.lower)},
				compose.Layer{Name: "personal", Tree: c.registry(path, test.upper), Base: c.registry(path, test.base)})
			e := r.Tree.Find(path)
			if got := contentOf(t, e, c); got != test.want || r.Made(e) {
				t.Errorf("got %q, made: %v", got, r.Made(e))
			}
		})
	}
}

func TestRegistryHiddenByWhiteoutIsNotMerged(t *testing.T) {
	c := chunks{}
	const path = "etc/shells"
	r := composed(t, c,
		compose.Layer{Name: "os", Tree: c.registry(path, "/bin/sh\n")},
		compose.Layer{Name: "group", Tree: layers.Tree{{Path: path, Type: layers.Whiteout}}},
		compose.Layer{Name: "personal", Tree: c.registry(path, "/bin/zsh\n")})
	if got := contentOf(t, r.Tree.Find(path), c); got != "/bin/zsh\n" {
		t.Errorf("got %q", got)
	}
}

func TestRegistryConflictsNameTheLayer(t *testing.T) {
	c := chunks{}
	const path = "etc/passwd"
	user := func(shell string) string { return "ana:x:1000:1000::/home/ana:" + shell + "\n" }
	r := composed(t, c,
		compose.Layer{Name: "os", Tree: c.registry(path, user("/bin/low"))},
		compose.Layer{Name: "personal", Tree: c.registry(path, user("/bin/up")), Base: c.registry(path, user("/bin/base"))})
	if len(r.Conflicts) == 0 {
		t.Fatal("no conflict")
	}
	for _, x := range r.Conflicts {
		if x.Path != path || x.Layer != "personal" || x.Reason == "" {
			t.Errorf("conflict %+v", x)
		}
	}
	if got := contentOf(t, r.Tree.Find(path), r); !strings.Contains(got, "/bin/up") {
		t.Errorf("got %q, want the upper's", got)
	}
}

func TestRegistryThatCannotBeMergedIsKept(t *testing.T) {
	const path = "var/lib/dpkg/alternatives/editor"
	huge := bytes.Repeat([]byte("/bin/sh\n"), 1<<16)
	c := chunks{}
	id := store.ID{1}
	c[id] = huge
	big := layers.Entry{Path: "etc/shells", Type: layers.Regular, Mode: 0o644}
	for big.Size <= 64<<20 {
		big.Extents = append(big.Extents, layers.Extent{ID: id, Len: int64(len(huge))})
		big.Size += int64(len(huge))
	}
	stack := []compose.Layer{
		{Name: "os", Tree: append(layers.Tree{big}, c.registry(path, "auto\n/usr/bin/editor\n\n/bin/nano\n40\n\n")...)},
		{Name: "personal", Tree: append(c.registry("etc/shells", "/bin/sh\n"), c.registry(path, "gibberish\n")...)},
	}
	r := composed(t, c, stack...)
	var got []string
	for _, x := range r.Conflicts {
		if x.Layer != "personal" || !strings.Contains(x.Reason, "kept as it is here") && !strings.Contains(x.Reason, "left as they are") {
			t.Errorf("conflict %+v", x)
		}
		got = append(got, x.Path)
	}
	if d := cmp.Diff([]string{"etc/shells", path, path}, got); d != "" {
		t.Errorf("conflicts (-want +got):\n%s", d)
	}
	if r.Tree.Find("etc/shells").Size != 8 || contentOf(t, r.Tree.Find(path), c) != "gibberish\n" {
		t.Error("the upper's files should be kept whole")
	}
}

func TestMergedRegistryLeavesItsLinks(t *testing.T) {
	c := chunks{}
	r := mustCompose(t, c,
		scripted{tree: "f etc/shells /bin/low"},
		scripted{tree: "f etc/shells /bin/up\nh etc/copy etc/shells\nh etc/twin etc/shells"})
	// etc/copy comes first in its layer, so it is its file's first name.
	want := lines("d /\nd etc\nf etc/copy /bin/up\nf etc/shells MERGED\nh etc/twin etc/copy")
	got := script(t, r.Tree, r)
	for i, line := range got {
		if strings.HasPrefix(line, "f etc/shells") && strings.Contains(line, "/bin/low") && strings.Contains(line, "/bin/up") {
			got[i] = "f etc/shells MERGED"
		} else if strings.Contains(line, "/bin/low") {
			got = append(got[:i:i], got[i:]...)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestUnreadableRegistryFails(t *testing.T) {
	const path = "etc/shells"
	for name, damage := range map[string]struct {
		change func(chunks, store.ID)
		want   error
	}{
		"missing": {func(c chunks, id store.ID) { delete(c, id) }, store.ErrNotExist},
		"short":   {func(c chunks, id store.ID) { c[id] = nil }, store.ErrCorrupt},
	} {
		for _, victim := range []string{"lower\n", "upper\n", "base\n"} {
			t.Run(name+" "+victim, func(t *testing.T) {
				c := chunks{}
				stack := []compose.Layer{
					{Name: "os", Tree: c.registry(path, "lower\n")},
					{Name: "personal", Tree: c.registry(path, "upper\n"), Base: c.registry(path, "base\n")},
				}
				damage.change(c, c.put(victim)[0].ID)
				_, err := compose.Compose(context.Background(), c, stack)
				if !errors.Is(err, damage.want) || !strings.Contains(err.Error(), path) {
					t.Errorf("got %v, want %v at %s", err, damage.want, path)
				}
			})
		}
	}
}
