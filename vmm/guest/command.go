package guest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"satchel/vmm/agent"
)

// defaultPath is where commands are looked for if their environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Start starts a command in the guest's root as a session of its own.
func (h *Handler) Start(c agent.Command, stdin io.Reader, stdout, stderr io.Writer) (agent.Process, error) {
	if len(c.Argv) == 0 {
		return nil, errors.New("no command")
	}
	var p *process
	err := inside(h.guest.PID, func() (err error) {
		p, err = spawn(c)
		return err
	})
	if err != nil {
		return nil, err
	}
	p.connect(stdin, stdout, stderr)
	return p, nil
}

// spawn starts the command in the current root.
func spawn(c agent.Command) (*process, error) {
	who, err := lookUp(c.User)
	if err != nil {
		return nil, err
	}
	env := append(who.env(), c.Env...)
	if c.Dir, err = workDir(c.Dir, who.home); err != nil {
		return nil, err
	}
	name, err := lookPath(c.Argv[0], c.Dir, env)
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path: name,
		Args: c.Argv,
		Env:  env,
		Dir:  c.Dir,
		SysProcAttr: &syscall.SysProcAttr{
			Setsid:     true,
			Credential: who.credential,
		},
	}
	if c.TTY != nil {
		return spawnOnTerminal(cmd, *c.TTY)
	}
	return spawnOnPipes(cmd)
}

// An identity is whom a command runs as.
type identity struct {
	name, home, shell string
	credential        *syscall.Credential // nil: as the agent, root
}

// env is the environment that a login would give.
func (i identity) env() []string {
	return []string{
		"PATH=" + defaultPath, "HOME=" + i.home, "USER=" + i.name, "LOGNAME=" + i.name,
		"SHELL=" + i.shell, "LANG=C.UTF-8", "TERM=dumb",
	}
}

// lookUp finds a user of the current root.
func lookUp(name string) (identity, error) {
	if name == "" || name == "root" {
		home := "/root"
		if _, err := os.Stat(home); err != nil {
			home = "/"
		}
		return identity{name: "root", home: home, shell: "/bin/sh"}, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return identity{}, err
	}
	groups, err := u.GroupIds()
	if err != nil {
		return identity{}, fmt.Errorf("groups of user %s: %w", name, err)
	}
	var ids []uint32
	for _, id := range append([]string{u.Uid, u.Gid}, groups...) {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return identity{}, fmt.Errorf("user %s: %w", name, err)
		}
		ids = append(ids, uint32(n))
	}
	return identity{
		name: name, home: u.HomeDir, shell: "/bin/sh",
		credential: &syscall.Credential{Uid: ids[0], Gid: ids[1], Groups: ids[2:]},
	}, nil
}

// workDir is the directory to start in: the one asked for, which must be there,
// else the user's home, else the root, as login(1) has it.
func workDir(asked, home string) (string, error) {
	if asked == "" {
		if info, err := os.Stat(home); err != nil || !info.IsDir() {
			return "/", nil //nolint:nilerr // many users of services have no home
		}
		return home, nil
	}
	info, err := os.Stat(asked)
	switch {
	case err != nil: // not wrapped: it is not the command that does not exist
		return "", errors.New("working directory: " + err.Error())
	case !info.IsDir():
		return "", fmt.Errorf("working directory %s: not a directory", asked)
	}
	return asked, nil
}

// lookPath finds a command's file: from dir if the name has a slash, else in the
// PATH of env.
func lookPath(name, dir string, env []string) (string, error) {
	if filepath.IsAbs(name) {
		return name, executable(name)
	}
	if strings.Contains(name, "/") {
		return name, executable(filepath.Join(dir, name))
	}
	dirs := defaultPath
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			dirs = v
		}
	}
	found := error(&fs.PathError{Op: "find", Path: name, Err: fs.ErrNotExist})
	for _, dir := range filepath.SplitList(dirs) {
		at := filepath.Join(dir, name)
		err := executable(at)
		if err == nil {
			return at, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			found = err
		}
	}
	return "", found
}

func executable(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return &fs.PathError{Op: "execute", Path: name, Err: fs.ErrPermission}
	}
	return nil
}
