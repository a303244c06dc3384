package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
	"time"
)

// killAfter is how long a command may take to end after a hangup.
const killAfter = 3 * time.Second

// answer does what the request asks for.
func (sv *server) answer(ctx context.Context, st *stream, req Request) (Reply, error) {
	switch req.Op {
	case OpPing:
		return Reply{}, nil
	case OpInfo:
		info := sv.handler.Info()
		return Reply{Info: &info}, nil
	case OpExec:
		if req.Exec == nil || len(req.Exec.Argv) == 0 {
			return Reply{Code: CodeNotStarted}, errors.New("no command")
		}
		return sv.exec(ctx, st, *req.Exec)
	case OpReady, OpFreeze, OpThaw, OpSync, OpClock, OpPoweroff, OpReboot:
		return Reply{}, sv.do(ctx, st, req)
	default:
		return Reply{}, fmt.Errorf("unknown operation %q", req.Op)
	}
}

// do calls the handler and cancels it when the host closes the stream.
func (sv *server) do(ctx context.Context, st *stream, req Request) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sv.wg.Go(func() {
		defer cancel()
		for {
			if f, err := st.recv(); err != nil || f.Type == TypeClose {
				return
			}
		}
	})
	stop := context.AfterFunc(ctx, func() { st.fail(ErrClosed) })
	defer stop()
	return sv.handler.Do(ctx, req)
}

// exec runs a command connected to the stream.
func (sv *server) exec(ctx context.Context, st *stream, cmd Command) (Reply, error) {
	stdin, feed := io.Pipe()
	defer func() { _ = stdin.Close() }()
	p, err := sv.handler.Start(cmd, stdin, dataWriter{st, TypeStdout}, dataWriter{st, TypeStderr})
	if err != nil {
		return Reply{Code: startCode(err)}, err
	}
	stop := context.AfterFunc(ctx, func() { st.fail(ErrClosed) })
	defer stop()
	ended := make(chan struct{})
	sv.wg.Go(func() {
		defer func() { _ = feed.Close() }()
		control(st, p, feed)
		hangUp(p, ended)
	})
	code, err := p.Wait()
	close(ended)
	if err != nil {
		return Reply{Code: CodeNotStarted}, err
	}
	return Reply{Code: code}, nil
}

func startCode(err error) int {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return CodeNotFound
	case errors.Is(err, fs.ErrPermission):
		return CodeNotExecutable
	default:
		return CodeNotStarted
	}
}

// control passes what the host sends to the process until the stream ends.
// Input has a goroutine and a queue of its own, so that a signal reaches a
// process that does not read.
func control(st *stream, p Process, feed *io.PipeWriter) {
	input := newStream(st.id, st.send)
	done := make(chan struct{})
	go func() {
		defer close(done)
		supply(input, feed)
	}()
	defer func() {
		input.fail(ErrClosed)
		feed.CloseWithError(ErrClosed)
		<-done
	}()
	for {
		f, err := st.recv()
		if err != nil {
			return
		}
		switch f.Type {
		case TypeStdin:
			input.push(f)
		case TypeSignal:
			if len(f.Payload) == 4 {
				_ = p.Signal(int(binary.LittleEndian.Uint32(f.Payload))) // it may just have ended
			}
		case TypeResize:
			if len(f.Payload) == 4 {
				_ = p.Resize(Size{binary.LittleEndian.Uint16(f.Payload), binary.LittleEndian.Uint16(f.Payload[2:])})
			}
		case TypeClose:
			st.fail(ErrClosed) // output has nowhere to go either
			return
		}
	}
}

// supply feeds a process's input and credits what it has read. What comes after
// the process has closed its input is used up unread.
func supply(input *stream, feed *io.PipeWriter) {
	for {
		f, err := input.recv()
		if err != nil {
			return
		}
		if len(f.Payload) == 0 {
			_ = feed.Close() // of a pipe: always nil
			continue
		}
		_, _ = feed.Write(f.Payload)
		if input.done(f) != nil {
			return
		}
	}
}

// hangUp ends a process that nobody watches any more: it is asked to, and after
// a while it is made to. It returns when the process has ended.
func hangUp(p Process, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	default:
	}
	_ = p.Signal(int(syscall.SIGHUP))
	timer := time.NewTimer(killAfter)
	defer timer.Stop()
	select {
	case <-ended:
		return
	case <-timer.C:
	}
	_ = p.Signal(int(syscall.SIGKILL))
	<-ended
}
