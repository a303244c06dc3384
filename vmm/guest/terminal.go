package guest

import (
	"fmt"
	"os"
	"os/exec"

	"satchel/vmm/agent"

	"golang.org/x/sys/unix"
)

// spawnOnTerminal starts cmd on a new pseudo-terminal of the current root.
func spawnOnTerminal(cmd *exec.Cmd, size agent.Size) (*process, error) {
	master, slave, err := openTerminal()
	if err != nil {
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	defer slave.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr.Setctty = true // descriptor 0
	p := &process{cmd: cmd, stdin: master, stdout: master, terminal: true}
	if err := p.Resize(size); err != nil {
		master.Close()
		return nil, err
	}
	if who := cmd.SysProcAttr.Credential; who != nil {
		if err := slave.Chown(int(who.Uid), -1); err != nil {
			master.Close()
			return nil, err
		}
	}
	if err := cmd.Start(); err != nil {
		master.Close()
		return nil, err
	}
	return p, nil
}

// openTerminal opens both ends of a new pseudo-terminal: pty(7).
func openTerminal() (master, slave *os.File, err error) {
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	master, err = os.OpenFile("/dev/ptmx", flags|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	slave, err = openSlave(master, flags)
	if err != nil {
		master.Close()
		return nil, nil, err
	}
	return master, slave, nil
}

func openSlave(master *os.File, flags int) (*os.File, error) {
	raw, err := master.SyscallConn()
	if err != nil {
		return nil, err
	}
	var number int
	var failed error
	err = raw.Control(func(fd uintptr) {
		if failed = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failed == nil {
			number, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	return os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), flags, 0)
}

// Resize changes the size of the terminal, if there is one.
func (p *process) Resize(size agent.Size) error {
	if !p.terminal {
		return nil
	}
	raw, err := p.stdin.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols})
	})
	if err != nil {
		return err
	}
	return failed
}
