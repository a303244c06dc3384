package session

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/workspace"
	"satchel/store"
)

// install is a script that installs the packages in a tar on standard input.
const install = `mkdir /tmp/debs && tar -x -C /tmp/debs && apt-get -qq install -y --no-install-recommends /tmp/debs/*.deb`

// installs installs the packages in a directory of the guests in a guest.
func (b *bench) installs(s *Session, dir string) error {
	debs, err := exec.Command("tar", "-C", filepath.Join(b.guests, "debs", dir), "-cf", "-", ".").Output()
	if err != nil {
		return err
	}
	_, err = b.try(s, install, bytes.NewReader(debs))
	return err
}

// TestOSReplaced is the main job: layers of a group's and a user's applications,
// settings and files are made in guests, and all of them work on another
// operating system that is put below them.
func TestOSReplaced(t *testing.T) {
	b := newBench(t)
	b.record()
	s := b.boot()
	b.work(s)
	client, err := Dial(t.Context(), b.Home, "ana")
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan End, 1)
	go func() {
		end, err := client.Stop(context.Background(), false)
		if err != nil {
			t.Errorf("stop through the socket: %v", err)
		}
		told <- end
	}()
	end := b.stop(s, false)
	if other := <-told; other.How != end.How || len(other.Captured.Layers) != len(end.Captured.Layers) {
		t.Errorf("two stops were told different ends: %+v, %+v", other, end)
	}
	t.Logf("stopped by %s: %v", end.How, end.Captured.Summary())
	if end.How != "agent" {
		t.Errorf("the guest was stopped by %s", end.How)
	}
	b.holds("p", "usr/bin/jq", "usr/local/bin/tool")
	b.holds("s", "etc/motd", "etc/passwd")
	b.holds("d", "home/ana/live.txt", "home/ana/kept.txt")
	if b.has("d", "home/ana/undone.txt") {
		t.Error("a file that a capture kept and the guest then removed is still in its layer")
	}
	b.clean()

	old := b.version("debian")
	b.importTar("debian", "os-v2.tar")
	b.differsBelowOnly(old)
	s = b.boot()
	b.compare(s)
	b.collect(s, old)
	b.stop(s, true)
	b.clean()
}

// differsBelowOnly checks that ana composes, on the os layer as it was and as it
// is, to trees that differ just where those two systems do.
func (b *bench) differsBelowOnly(old store.ID) {
	b.t.Helper()
	ctx := b.t.Context()
	def, err := b.Workspaces.Load("ana")
	if err != nil {
		b.t.Fatal(err)
	}
	pins, err := b.current(ctx, def)
	if err != nil {
		b.t.Fatal(err)
	}
	now, err := b.load(ctx, def, pins)
	if err != nil {
		b.t.Fatal(err)
	}
	pins[0].Version = old
	before, err := b.load(ctx, def, pins)
	if err != nil {
		b.t.Fatal(err)
	}
	whole := differences(before.whole.Tree, now.whole.Tree)
	below := differences(before.layers[0].Tree, now.layers[0].Tree)
	for path := range whole {
		if !below[path] {
			b.t.Errorf("the systems agree on %s, what they compose to does not", path)
		}
	}
	if len(whole) < 1000 {
		b.t.Errorf("two different systems compose to trees that differ at %d paths, of %d below", len(whole), len(below))
	}
}

// differences are the paths at which two trees differ.
func differences(a, b layers.Tree) map[string]bool {
	out := map[string]bool{}
	for i := range a {
		if e := b.Find(a[i].Path); e == nil || !a.Resolve(&a[i]).Same(b.Resolve(e)) {
			out[a[i].Path] = true
		}
	}
	for i := range b {
		if a.Find(b[i].Path) == nil {
			out[b[i].Path] = true
		}
	}
	return out
}

// record makes the group layer and adds it to ana.
func (b *bench) record() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), guestTimeout)
	defer cancel()
	opt := Options{Memory: 512 << 20}
	got, err := b.Record(ctx, "ana", "cron", opt, func(_ context.Context, s *Session) error {
		if _, err := s.Capture(ctx); err == nil {
			b.t.Error("a recording was captured while it went on")
		}
		return b.installs(s, "cron")
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Logf("recorded: %v", got.Summary())
	b.holds("cron", "usr/sbin/cron", "etc/crontab", "var/lib/dpkg/status")
	err = b.Workspaces.Update("ana", func(d *workspace.Definition) error {
		d.Groups = append(d.Groups, b.layer("cron"))
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// work is what a user does, with a capture in between.
func (b *bench) work(s *Session) {
	b.t.Helper()
	b.guest(s, `adduser --quiet --disabled-password --gecos Ana ana
		echo carried > /home/ana/live.txt; echo undone > /home/ana/undone.txt
		echo greeting > /etc/motd
		mkdir -p /usr/local/bin && printf '#!/bin/sh\necho tool\n' > /usr/local/bin/tool && chmod 755 /usr/local/bin/tool`)
	live, err := s.Capture(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Logf("captured while it ran: %v", live.Summary())
	b.holds("d", "home/ana/live.txt", "home/ana/undone.txt")
	b.holds("s", "etc/motd", "etc/passwd")
	b.holds("p", "usr/local/bin/tool")
	if again, err := s.Capture(b.t.Context()); err != nil || b.has("p", "usr/bin/jq") {
		b.t.Errorf("captured again: %v, %v", again.Summary(), err)
	}
	if err := b.installs(s, "jq"); err != nil {
		b.t.Fatal(err)
	}
	b.guest(s, "rm /home/ana/undone.txt; echo kept > /home/ana/kept.txt")
}

// compare looks at the guest on the new operating system.
func (b *bench) compare(s *Session) {
	b.t.Helper()
	for script, want := range map[string]string{
		`dpkg --audit; dpkg --verify jq libjq1 libonig5 cron`:            "",
		`dpkg-query -Wf '${Status}\n' jq cron | sort -u`:                 "install ok installed",
		`dpkg-query -Wf '${Version}' libssl3`:                            b.packaged("os-v2.tar", "libssl3"),
		`dpkg-query -Wf '${Version}' perl-base`:                          b.packaged("os-v2.tar", "perl-base"),
		`echo '[1,2]' | jq add; systemctl is-active cron; tool`:          "3\nactive\ntool",
		`cat /home/ana/live.txt /home/ana/kept.txt /etc/motd`:            "carried\nkept\ngreeting",
		`id -un ana; stat -c %U /home/ana; ls /home/ana/undone* || true`: "ana\nana",
		`systemctl --failed --no-legend --plain`:                         "",
	} {
		if got := b.guest(s, script); got != want {
			b.t.Errorf("%s: got\n%s\nwant\n%s", script, got, want)
		}
	}
}

// collect runs gc again and again while the guest reads what it has not read
// yet, although its operating system is no longer any layer's newest version.
func (b *bench) collect(s *Session, old store.ID) {
	b.t.Helper()
	if _, err := b.Repo.Rollback(b.t.Context(), "debian", old.String()); err != nil {
		b.t.Fatal(err)
	}
	head, err := b.Store.Heads().Lookup(b.t.Context(), "debian")
	if err != nil {
		b.t.Fatal(err)
	}
	// Even when the whole layer goes, the guest holds what it runs on.
	if err := b.Store.Heads().Remove(b.t.Context(), head.Layer, head.Version); err != nil {
		b.t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := b.try(s, "tar cf - /usr | wc -c", nil)
		read <- err
	}()
	for runs := 1; ; runs++ {
		got, err := b.Store.GC(b.t.Context(), b.Repo.Walker())
		if err != nil {
			b.t.Fatal(err)
		}
		if runs == 1 {
			b.t.Logf("the first gc swept %d chunks", got.SweptChunks)
		}
		select {
		case err := <-read:
			if err != nil {
				b.t.Error(err)
			}
			b.t.Logf("gc ran %d times", runs)
			return
		case <-time.After(100 * time.Millisecond): // the guest shall have some of the processor
		}
	}
}

// version is the head of a layer.
func (b *bench) version(layer string) store.ID {
	b.t.Helper()
	head, err := b.Store.Heads().Lookup(b.t.Context(), layer)
	if err != nil {
		b.t.Fatal(err)
	}
	return head.Version
}

// packaged is the version of a package in a guest's tar.
func (b *bench) packaged(tar, name string) string {
	b.t.Helper()
	status, err := exec.Command("tar", "-xOf", filepath.Join(b.guests, tar), "./var/lib/dpkg/status").Output()
	if err = errors.Join(err, b.t.Context().Err()); err != nil {
		b.t.Fatal(err)
	}
	_, stanza, _ := strings.Cut(string(status), "\nPackage: "+name+"\n")
	_, version, _ := strings.Cut(stanza, "\nVersion: ")
	version, _, _ = strings.Cut(version, "\n")
	return version
}
