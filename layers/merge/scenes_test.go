package merge

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// edit replaces text that must be there.
func edit(t *testing.T, s string, oldnew ...string) string {
	t.Helper()
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(s, oldnew[i]) {
			t.Fatalf("no %q in %q", oldnew[i], s)
		}
		s = strings.Replace(s, oldnew[i], oldnew[i+1], 1)
	}
	return s
}

const newPackage = "Package: hello\nStatus: install ok installed\nArchitecture: amd64\nMaintainer: a\nVersion: 2.10-3\nDescription: greets\n\n"

// A scene is a file that layers disagree about, or not.
type scene struct {
	name, path          string
	base, lower, upper  string
	has, lacks, reasons []string
}

func (s scene) check(t *testing.T) {
	got, conflicts := mustMerge(t, s.path, s.base, s.lower, s.upper)
	for _, want := range s.has {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	for _, not := range s.lacks {
		if strings.Contains(got, not) {
			t.Errorf("%q in %q", not, got)
		}
	}
	if len(conflicts) != len(s.reasons) {
		t.Fatalf("got conflicts %+v, want %d", conflicts, len(s.reasons))
	}
	for i, want := range s.reasons {
		if !strings.Contains(conflicts[i].Reason, want) || conflicts[i].Path != s.path {
			t.Errorf("conflict %+v, want one about %q", conflicts[i], want)
		}
	}
}

func TestPackages(t *testing.T) {
	const path = "var/lib/dpkg/status"
	b := sample(t, path)
	version := "Version: 7.2-1"
	for _, s := range []scene{
		{name: "an upgrade below and a new package here", lower: edit(t, b, version, "Version: 7.2-9"), upper: b + newPackage,
			has: []string{"Version: 7.2-9", "Package: hello"}},
		{name: "an upgrade below of a package held here", lower: edit(t, b, version, "Version: 7.2-9"),
			upper: edit(t, b, "Package: nano\nStatus: install", "Package: nano\nStatus: hold"),
			has:   []string{"Package: nano\nStatus: hold ok installed", "Version: 7.2-9"}},
		{name: "different upgrades", lower: edit(t, b, version, "Version: 7.2-8"), upper: edit(t, b, version, "Version: 7.2-9"),
			has: []string{"Version: 7.2-9"}, lacks: []string{"Version: 7.2-8"}, reasons: []string{"package nano"}},
		{name: "an upgrade below of a package removed here", lower: edit(t, b, version, "Version: 7.2-8"),
			upper: b[:strings.Index(b, "Package: nano")] + b[strings.Index(b, "Package: adduser"):],
			lacks: []string{"Package: nano"}, reasons: []string{"here: absent"}},
		{name: "a change of architecture and a change here", lower: edit(t, b, "Architecture: all", "Architecture: amd64"),
			upper: edit(t, b, "Version: 3.134", "Version: 3.135"), has: []string{"3.135"}, reasons: []string{"package adduser"}},
		{name: "two architectures of a library", lower: b + strings.ReplaceAll(newPackage, "amd64", "i386"), upper: b + newPackage,
			has: []string{"Architecture: i386", newPackage}},
	} {
		s.path, s.base = path, b
		t.Run(s.name, s.check)
	}
}

func TestAccounts(t *testing.T) {
	pw, gr, sh := sample(t, "etc/passwd"), sample(t, "etc/group"), sample(t, "etc/shadow")
	ana, lab := "ana:x:1000:1000::/home/ana:/bin/bash\n", "lab:x:1000:1000::/home/lab:/bin/bash\n"
	for _, s := range []scene{
		{name: "users added on both sides", path: "etc/passwd", base: pw, lower: pw + edit(t, lab, "1000:1000", "998:998"), upper: pw + ana,
			has: []string{ana, "lab:x:998"}},
		{name: "one uid for two users", path: "etc/passwd", base: pw, lower: pw + lab, upper: pw + ana,
			has: []string{ana, lab}, reasons: []string{"uid 1000 is given to both"}},
		{name: "a uid shared on purpose", path: "etc/passwd", base: pw, lower: pw + edit(t, lab, "1000", "998"), upper: pw + "toor:x:0:0::/root:/bin/sh\n",
			has: []string{"toor", "lab"}},
		{name: "different fields of one user", path: "etc/passwd", base: pw + ana, lower: pw + edit(t, ana, "::/", ":Ana:/"), upper: pw + edit(t, ana, "bash", "zsh"),
			has: []string{"ana:x:1000:1000:Ana:/home/ana:/bin/zsh\n"}},
		{name: "one field of one user", path: "etc/passwd", base: pw + ana, lower: pw + edit(t, ana, "bash", "sh"), upper: pw + edit(t, ana, "bash", "zsh"),
			has: []string{"/bin/zsh"}, reasons: []string{`shell is "/bin/sh" below and "/bin/zsh" here`}},
		{name: "members of a group", path: "etc/group", base: edit(t, gr, "sudo:x:27:", "sudo:x:27:a,b"),
			lower: edit(t, gr, "sudo:x:27:", "sudo:x:27:b,c"), upper: edit(t, gr, "sudo:x:27:", "sudo:x:27:a,b,d"), has: []string{"sudo:x:27:b,c,d\n"}},
		{name: "a group added on both sides with other members", path: "etc/group", base: gr, lower: gr + "lab:x:500:a\n", upper: gr + "lab:x:500:b\n",
			has: []string{"lab:x:500:a,b\n"}},
		{name: "passwords are not told", path: "etc/shadow", base: sh, lower: edit(t, sh, "root:*", "root:$y$secret1"), upper: edit(t, sh, "root:*", "root:$y$secret2"),
			has: []string{"root:$y$secret2"}, reasons: []string{"user root: password differs between here and below; kept as it is here"}},
		{name: "ranges that overlap", path: "etc/subuid", base: "", lower: "lab:100000:65536\n", upper: "ana:110000:65536\n",
			has: []string{"lab:100000:65536\nana:110000:65536\n"}, reasons: []string{"110000 is given to both"}},
		{name: "ranges side by side", path: "etc/subuid", base: "", lower: "lab:100000:65536\n", upper: "ana:165536:65536\n",
			has: []string{"lab:100000:65536\nana:165536:65536\n"}},
		{name: "lines that are no records", path: "etc/passwd", base: pw, lower: pw + "# below\n", upper: pw + "# here\n+\n", has: []string{"# below\n# here\n+\n"}},
		{name: "shells", path: "etc/shells", base: sample(t, "etc/shells"), lower: sample(t, "etc/shells") + "/bin/zsh\n", upper: sample(t, "etc/shells") + "/bin/fish\n",
			has: []string{"/bin/zsh\n/bin/fish\n"}},
	} {
		t.Run(s.name, s.check)
	}
}

func TestDpkgsOtherRegistries(t *testing.T) {
	div, over, conf := sample(t, "var/lib/dpkg/diversions"), sample(t, "var/lib/dpkg/statoverride"), sample(t, "var/cache/debconf/config.dat")
	for _, s := range []scene{
		{name: "diversions of different files", path: "var/lib/dpkg/diversions", base: div, lower: div + "/a\n/a.d\np\n", upper: div + "/b\n/b.d\nq\n",
			has: []string{div + "/a\n/a.d\np\n/b\n/b.d\nq\n"}},
		{name: "diversions of one file", path: "var/lib/dpkg/diversions", base: div, lower: div + "/a\n/a.d\np\n", upper: div + "/a\n/a.e\nq\n",
			has: []string{"/a.e"}, reasons: []string{"diversion of /a:"}},
		{name: "overrides", path: "var/lib/dpkg/statoverride", base: over, lower: over + "root root 4755 /a b\n", upper: over + "root adm 4755 /a b\n",
			has: []string{"root adm 4755"}, lacks: []string{"root root 4755"}, reasons: []string{"override of /a b"}},
		{name: "triggers to come", path: "var/lib/dpkg/triggers/Unincorp", base: "", lower: "ldconfig libc-bin\n", upper: "ldconfig libx -\n", has: []string{"ldconfig libc-bin libx -\n"}},
		{name: "owners of a question", path: "var/cache/debconf/config.dat", base: conf, lower: edit(t, conf, "Owners: ", "Owners: x, "), upper: edit(t, conf, "Owners: ", "Owners: y, "),
			has: []string{"Owners: x, ", ", y\n"}},
		{name: "configuration files", path: "var/lib/ucf/registry", base: "", lower: "p \t /etc/a\n", upper: "q \t /etc/a\n", has: []string{"q \t /etc/a\n"}, reasons: []string{"/etc/a"}},
	} {
		t.Run(s.name, s.check)
	}
}

func TestMalformedFilesAreTold(t *testing.T) {
	for path, bad := range map[string]string{
		"var/lib/dpkg/status":           "no field\n",
		"var/lib/apt/extended_states":   " continuation\n",
		"var/lib/dpkg/diversions":       "/a\n/b\n",
		"var/lib/dpkg/alternatives/awk": "perhaps\n/usr/bin/awk\n\n",
	} {
		_, err := For(path).Merge(Input{path, nil, []byte(sample(t, path)), []byte(bad)})
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want ErrMalformed with the path", path, err)
		}
	}
}

func TestRegistriesAndOthers(t *testing.T) {
	for _, path := range []string{"etc/passwd-", "var/lib/dpkg/triggers/ldconfig", "var/lib/systemd/deb-systemd-helper-enabled/a.service.dsh-also"} {
		if For(path) == nil || For(path).Name() == "" {
			t.Errorf("%s: want a driver", path)
		}
	}
	for _, path := range []string{"", "etc/ld.so.cache", "var/lib/dpkg/info/nano.list", "var/lib/dpkg/triggers/Lock", "usr/etc/passwd", "var/lib/dpkg/alternatives/a/b"} {
		if d := For(path); d != nil {
			t.Errorf("%s: got driver %s, want none", path, d.Name())
		}
	}
}

// dpkg itself judges a merged database.
func TestDpkgAcceptsTheMergedDatabase(t *testing.T) {
	dpkg, err := exec.LookPath("dpkg")
	if err != nil {
		t.Skip("dpkg is not installed")
	}
	const path = "var/lib/dpkg/status"
	b := sample(t, path)
	got, _ := mustMerge(t, path, b, edit(t, b, "Version: 7.2-1", "Version: 7.2-9"), b+newPackage)
	dir := t.TempDir()
	for _, sub := range []string{"info", "updates", "triggers"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]string{"status": got, "info/format": "1\n"}
	for _, name := range []string{"nano", "adduser", "hello", "libkeyutils1:amd64"} {
		files["info/"+name+".list"], files["info/"+name+".md5sums"] = "/.\n", ""
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(dpkg, "--admindir="+dir, "--audit").CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("dpkg --audit: %v\n%s", err, out)
	}
	out, err := exec.Command("dpkg-query", "--admindir="+dir, "-W", "-f", "${Package} ${Version}\n").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "hello 2.10-3\n") || !strings.Contains(string(out), "nano 7.2-9+deb12u1\n") {
		t.Fatalf("dpkg-query: %v\n%s", err, out)
	}
}
