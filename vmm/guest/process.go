package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"satchel/vmm/agent"
)

// lingerTime is how long output may stay silent after its process has ended
// before it counts as ended: a daemon may have kept it open.
const lingerTime = 500 * time.Millisecond

// A process is a command that runs. It implements [agent.Process].
type process struct {
	cmd    *exec.Cmd
	stdin  *os.File
	stdout *os.File
	stderr *os.File // nil on a terminal

	terminal bool // stdin and stdout are the same terminal
	exited   atomic.Bool
	output   sync.WaitGroup
}

// spawnOnPipes starts cmd with a pipe for each stream.
func spawnOnPipes(cmd *exec.Cmd) (p *process, err error) {
	var files []*os.File
	defer func() {
		if err != nil {
			closeAll(files)
		}
	}()
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		files = append(files, r, w)
	}
	theirs := []*os.File{files[0], files[3], files[5]}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs[0], theirs[1], theirs[2]
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	closeAll(theirs)
	return &process{cmd: cmd, stdin: files[1], stdout: files[2], stderr: files[4]}, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// connect starts copying. The copying of input ends with stdin, not with the
// process, and is not waited for.
func (p *process) connect(stdin io.Reader, stdout, stderr io.Writer) {
	p.output.Go(func() { p.copyOutput(stdout, p.stdout) })
	if p.stderr != nil {
		p.output.Go(func() { p.copyOutput(stderr, p.stderr) })
	}
	go p.copyInput(stdin)
}

// copyInput feeds the process, then uses up what it does not want.
func (p *process) copyInput(stdin io.Reader) {
	_, err := io.Copy(struct{ io.Writer }{p.stdin}, stdin)
	if p.terminal {
		if err == nil {
			_, _ = p.stdin.Write([]byte{4}) // end of input, as typed
		}
	} else {
		p.stdin.Close()
	}
	if err != nil {
		_, _ = io.Copy(io.Discard, stdin)
	}
}

// copyOutput copies until the end of r; when w fails, what comes is discarded,
// so that the process is not stopped by it.
func (p *process) copyOutput(w io.Writer, r *os.File) {
	defer r.Close()
	buf := make([]byte, 32<<10)
	for {
		if p.exited.Load() {
			_ = r.SetReadDeadline(time.Now().Add(lingerTime))
		}
		n, err := r.Read(buf)
		if _, werr := w.Write(buf[:n]); werr != nil {
			w = io.Discard
		}
		if err != nil {
			return
		}
	}
}

// Signal sends a signal to the process group.
func (p *process) Signal(n int) error {
	if p.exited.Load() {
		return os.ErrProcessDone
	}
	return syscall.Kill(-p.cmd.Process.Pid, syscall.Signal(n))
}

// Wait waits for the end of the process and of its output.
func (p *process) Wait() (int, error) {
	state, err := p.cmd.Process.Wait()
	p.exited.Store(true)
	for _, f := range []*os.File{p.stdout, p.stderr} {
		if f != nil {
			_ = f.SetReadDeadline(time.Now().Add(lingerTime)) // fails if it has ended
		}
	}
	p.output.Wait()
	if err != nil {
		return agent.CodeNotStarted, fmt.Errorf("wait for %s: %w", p.cmd.Path, err)
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		return agent.CodeNotStarted, errors.New("no exit status")
	case status.Signaled():
		return 128 + int(status.Signal()), nil
	default:
		return status.ExitStatus(), nil
	}
}
