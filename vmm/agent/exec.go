package agent

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"syscall"
)

// An ExecRequest is a command to run in the guest and what it is connected to.
type ExecRequest struct {
	Argv []string // the first is looked for in the guest's PATH
	Env  []string // KEY=value, added to the guest's default
	Dir  string   // "": the user's home, or / if there is none
	User string   // "": root
	TTY  *Size    // not nil: run on a terminal of that size; all output is Stdout

	Stdin  io.Reader // nil: empty
	Stdout io.Writer // nil: discarded
	Stderr io.Writer // nil: discarded

	Signals <-chan syscall.Signal // passed on to the command's process group; may be nil
	Resizes <-chan Size           // passed on to the terminal; may be nil
}

// Exec runs a command and returns its exit code, 128+n if signal n ended it. A
// command that could not be started gives 125 to 127 as shells do, and a
// [*GuestError]. When ctx ends, the command is hung up.
//
// Exec does not wait for a Read of Stdin that is still blocked when the command
// has ended.
func (c *Client) Exec(ctx context.Context, req ExecRequest) (int, error) {
	s, err := c.request(ctx, Request{Op: OpExec, Exec: &Command{
		Argv: req.Argv, Env: req.Env, Dir: req.Dir, User: req.User, TTY: req.TTY,
	}})
	if err != nil {
		return CodeNotStarted, err
	}
	defer c.drop(s)
	stop := context.AfterFunc(ctx, func() { s.fail(ctx.Err()) })
	defer stop()

	ended := make(chan struct{})
	defer close(ended)
	go sendStdin(s, req.Stdin)
	if req.Signals != nil || req.Resizes != nil {
		go sendNotices(s, req, ended)
	}
	reply, err := receive(s, req)
	if err != nil {
		// Whatever went wrong, nobody will read the output any more.
		_ = s.send(Frame{Type: TypeClose, Stream: s.id})
		return CodeNotStarted, fmt.Errorf("guest agent: exec: %w", err)
	}
	r, err := replyOf(OpExec, reply)
	return r.Code, err
}

// receive copies output until the reply comes.
func receive(s *stream, req ExecRequest) (Frame, error) {
	for {
		f, err := s.recv()
		if err != nil {
			return Frame{}, err
		}
		w := req.Stdout
		switch f.Type {
		case TypeReply:
			return f, nil
		case TypeStderr:
			w = req.Stderr
		}
		if w != nil {
			if _, err := w.Write(f.Payload); err != nil {
				return Frame{}, fmt.Errorf("write output: %w", err)
			}
		}
		if err := s.done(f); err != nil {
			return Frame{}, err
		}
	}
}

// sendStdin copies r to the command and then ends its input. It ends early when
// the stream does; a failure to read is the end of input to the command.
func sendStdin(s *stream, r io.Reader) {
	if r != nil {
		buf := make([]byte, 32<<10)
		_, err := io.CopyBuffer(dataWriter{s, TypeStdin}, struct{ io.Reader }{r}, buf)
		if s.failed() != nil && err != nil {
			return
		}
	}
	_ = s.send(Frame{Type: TypeStdin, Stream: s.id}) // the reply will tell
}

// sendNotices passes signals and sizes on until the command has ended.
func sendNotices(s *stream, req ExecRequest, ended <-chan struct{}) {
	for {
		var f Frame
		select {
		case <-ended:
			return
		case sig := <-req.Signals:
			f = Frame{TypeSignal, s.id, binary.LittleEndian.AppendUint32(nil, uint32(sig))}
		case size := <-req.Resizes:
			f = resizeFrame(s.id, size)
		}
		if s.send(f) != nil {
			return
		}
	}
}

func resizeFrame(id uint32, size Size) Frame {
	b := binary.LittleEndian.AppendUint16(nil, size.Rows)
	return Frame{TypeResize, id, binary.LittleEndian.AppendUint16(b, size.Cols)}
}
