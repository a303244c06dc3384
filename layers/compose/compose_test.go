package compose_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"satchel/layers"
	"satchel/layers/compose"
)

func TestStack(t *testing.T) {
	tests := []struct {
		name  string
		stack []string // lowest first
		want  string
	}{
		{"nothing", nil, "d /"},
		{"empty layers", []string{"", ""}, "d /"},
		{"only whiteouts", []string{"w a\nw b/c"}, "d /"},
		{"one layer", []string{"d / mode=0700 uid=3\nd a\nf a/b text\nl c a/b\np d"},
			"d / mode=0700 uid=3\nd a\nf a/b text\nl c a/b\np d"},
		{"upper hides", []string{"f a one", "f a two mode=0600"}, "d /\nf a two mode=0600"},
		{"whiteout removes", []string{"d a\nf a/b x\nf a/c y", "w a/b"}, "d /\nd a\nf a/c y"},
		{"whiteout removes a tree", []string{"d a\nf a/b x\nd a/c\nf a/c/d y\nf b z", "w a"}, "d /\nf b z"},
		{"whiteout then back", []string{"f a one", "w a", "f a three"}, "d /\nf a three"},
		{"whiteout then directory", []string{"d a mode=0700\nf a/b x", "w a", "f a/c y"}, "d /\nd a\nf a/c y"},
		{"directories join", []string{"d a mode=0700\nf a/b x", "d a mode=0711\nf a/c y"}, "d /\nd a mode=0711\nf a/b x\nf a/c y"},
		{"implied takes attributes from below", []string{"d a mode=0700\nf a/b x", "f a/c y"}, "d /\nd a mode=0700\nf a/b x\nf a/c y"},
		{"implied in the middle", []string{"f a/b x", "d a mode=0700"}, "d /\nd a mode=0700\nf a/b x"},
		{"implied has the time of its newest", []string{"f a/b/c x time=5\nf a/d y time=9", "f e z time=7"},
			"d / time=9\nd a time=9\nd a/b time=5\nf a/b/c x time=5\nf a/d y time=9\nf e z time=7"},
		{"opaque hides", []string{"d a\nf a/b x\nd a/c\nf a/c/d y", "d! a mode=0700\nf a/e z"}, "d /\nd a mode=0700\nf a/e z"},
		{"opaque joins above", []string{"f a/b x", "d! a\nf a/c y", "f a/d z"}, "d /\nd a\nf a/c y\nf a/d z"},
		{"opaque root", []string{"f a x\nf b/c y", "d! /\nf d z"}, "d /\nf d z"},
		{"file over directory", []string{"d a\nf a/b x\nf b y", "f a z"}, "d /\nf a z\nf b y"},
		{"directory over file", []string{"f a x", "d a\nf a/b y"}, "d /\nd a\nf a/b y"},
		{"directory over file over directory", []string{"d a mode=0700\nf a/b x", "f a y", "f a/c z"}, "d /\nd a\nf a/c z"},
		{"whiteouts imply nothing", []string{"f a x", "w a/b\nw c/d/e"}, "d /\nf a x"},
		{"whiteouts below an implied directory", []string{"f a/b x\nf a/c y", "w a/b", "w a/c"}, "d /\nd a time=0"},
		{"order of odd names", []string{"d a\nf a/b x\nf a-b y\nf a. z", "f a/c w\nf a0 v"},
			"d /\nd a\nf a/b x\nf a/c w\nf a-b y\nf a. z\nf a0 v"},
		{"links stay", []string{"f a x\nh b a\nh c a"}, "d /\nf a x\nh b a\nh c a"},
		{"first name hidden", []string{"f a x mode=0600\nh b a\nh c a", "f a y"}, "d /\nf a y\nf b x mode=0600\nh c b"},
		{"first name removed", []string{"f d/a x\nh d/b d/a\nh e d/a", "w d"}, "d /\nf e x"},
		{"all names hidden but the first", []string{"f a x\nh b a", "w b"}, "d /\nf a x"},
		{"links of two layers", []string{"f a x\nh b a\nh c a", "f b y\nh d b"}, "d /\nf a x\nf b y\nh c a\nh d b"},
		{"linked symlinks and pipes", []string{"l a t\nh b a\np c\nh d c", "w a"}, "d /\nl b t\np c\nh d c"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := chunks{}
			var scripts []scripted
			for _, s := range test.stack {
				scripts = append(scripts, scripted{tree: s})
			}
			r := mustCompose(t, c, scripts...)
			want := lines(strings.ReplaceAll(test.want, " time=0", ""))
			if d := cmp.Diff(want, script(t, r.Tree, r)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if len(r.Conflicts)+len(r.Shadowed) > 0 {
				t.Errorf("unexpected %v %v", r.Conflicts, r.Shadowed)
			}
		})
	}
}

func TestOwner(t *testing.T) {
	r := mustCompose(t, chunks{},
		scripted{tree: "d a\nf a/low x\nf a/both x\nd below\nf below/x x"},
		scripted{tree: "d a\nf a/both y\nf implied/x y\nf below/y y"},
		scripted{tree: "f a/top z\nw a/gone\nf implied/y z"})
	for path, want := range map[string]int{
		"": 2, "a": 1, "a/low": 0, "a/both": 1, "a/top": 2, "below": 0, "implied": 2, "implied/x": 1, "a/gone": -1, "none": -1,
	} {
		if got := r.Owner(path); got != want {
			t.Errorf("owner of %q is %d, want %d", path, got, want)
		}
	}
}

func TestDirectoryAttributesMergeThreeWays(t *testing.T) {
	tests := []struct{ name, lower, base, upper, want string }{
		{"unchanged above", "mode=0700 uid=1 time=5 x=new", "time=1 x=old", "time=1 x=old", "mode=0700 uid=1 time=5 x=new"},
		{"unchanged below", "time=1", "time=1", "mode=0711 gid=4 time=2 x=a", "mode=0711 gid=4 time=2 x=a"},
		{"each for itself", "mode=0700 time=1", "time=1", "uid=7 time=9", "mode=0700 uid=7 time=9"},
		{"both changed", "mode=0700", "mode=0755", "mode=0711", "mode=0711"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := mustCompose(t, chunks{},
				scripted{tree: "d / time=0\nd a " + test.lower}, scripted{tree: "d / \nd a " + test.upper, base: "d a " + test.base})
			want := []string{"d /", "d a " + test.want}
			if d := cmp.Diff(want, script(t, r.Tree, r)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestShadows(t *testing.T) {
	const changed = "what it replaces has changed in the layers below"
	tests := []struct {
		name  string
		lower string
		upper scripted
		want  string
		note  string
	}{
		{"base is still there", "f a old", scripted{"f a mine", "f a old"}, "f a mine", ""},
		{"no base", "f a other", scripted{"f a mine", ""}, "f a mine", ""},
		{"changed below", "f a new", scripted{"f a mine", "f a old"}, "f a mine", changed},
		{"changed alike", "f a mine", scripted{"f a mine", "f a old"}, "f a mine", ""},
		{"attributes changed below", "f a old mode=0600", scripted{"f a mine", "f a old"}, "f a mine", ""},
		{"another type below", "l a t", scripted{"f a mine", "f a old"}, "f a mine", changed},
		{"symlink changed below", "l a new", scripted{"l a mine", "l a old"}, "l a mine", changed},
		{"gone below", "", scripted{"f a mine", "f a old"}, "f a mine", "what it replaced is gone from the layers below"},
		{"directory below", "d a", scripted{"f a mine", "f a old"}, "f a mine", "what it replaced is a directory in the layers below now"},
		{"hidden by an opaque parent", "f d/a old", scripted{"d! d\nf d/e/a mine", "f d/e/a old"}, "d d\nd d/e\nf d/e/a mine", ""},
		{"was a directory", "d a", scripted{"f a mine", "d a"}, "f a mine", ""},
		{"only attributes changed here", "f a new uid=3", scripted{"f a old mode=0600", "f a old"}, "f a new mode=0600 uid=3", ""},
		{"only attributes changed here, of a linked file", "f a new", scripted{"f a old mode=0600\nh b a", "f a old"}, "f a old mode=0600\nh b a", changed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := mustCompose(t, chunks{}, scripted{tree: test.lower}, test.upper)
			if d := cmp.Diff(lines("d /\n"+test.want), script(t, r.Tree, r)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			var want []compose.Shadow
			if test.note != "" {
				want = []compose.Shadow{{Path: "a", Layer: "group", Reason: test.note}}
			}
			if d := cmp.Diff(want, r.Shadowed); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestRefusesBrokenTrees(t *testing.T) {
	file := layers.Entry{Path: "a", Type: layers.Regular}
	child := layers.Entry{Path: "a/b", Type: layers.Regular}
	tests := []struct {
		name  string
		layer compose.Layer
		path  string
	}{
		{"out of order", compose.Layer{Tree: layers.Tree{child, file}}, "a"},
		{"base out of order", compose.Layer{Base: layers.Tree{child, file}}, "a"},
		{"under a file", compose.Layer{Tree: layers.Tree{file, child}}, "a/b"},
		{"under a whiteout", compose.Layer{Tree: layers.Tree{{Path: "a", Type: layers.Whiteout}, child}}, "a/b"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.layer.Name = "broken"
			_, err := compose.Compose(context.Background(), chunks{}, []compose.Layer{{Name: "os"}, test.layer})
			var at *layers.PathError
			if !errors.As(err, &at) || at.Path != test.path || !strings.Contains(err.Error(), "broken") {
				t.Errorf("got %v, want a PathError at %q of layer broken", err, test.path)
			}
		})
	}
}
