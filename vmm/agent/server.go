package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
)

// maxStreams bounds what one session may have open at a time.
const maxStreams = 128

// A Handler does in the guest what the host asks for. Its methods may be used
// by several goroutines at once.
type Handler interface {
	// Info describes the guest.
	Info() Info
	// Do carries out a request that has no data: ready, freeze, thaw, sync,
	// clock, poweroff, reboot. It returns early when ctx ends.
	Do(ctx context.Context, req Request) error
	// Start starts a command. Errors that wrap fs.ErrNotExist or
	// fs.ErrPermission speak of the command's file. The process reads stdin
	// until it returns io.EOF and writes until it has ended.
	Start(cmd Command, stdin io.Reader, stdout, stderr io.Writer) (Process, error)
}

// A Process is a command that runs.
type Process interface {
	// Signal sends a signal to the process group.
	Signal(n int) error
	// Resize changes the size of the terminal, if there is one.
	Resize(size Size) error
	// Wait waits for the end of the process and of its output, and returns
	// the exit code, 128+n after signal n.
	Wait() (int, error)
}

// Serve answers one host after the other over rw, until it cannot read any
// more or ctx ends; the latter only if rw is an io.Closer, which it then closes.
// It waits for all it has started; commands that still run are hung up.
func Serve(ctx context.Context, rw io.ReadWriter, h Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		if c, ok := rw.(io.Closer); ok {
			c.Close()
		}
	})
	defer stop()
	sv := &server{ctx: ctx, link: link{w: rw}, handler: h}
	err := sv.read(NewReader(rw))
	cancel()
	sv.wg.Wait()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}

// A server is the guest's end of a link. Its fields but link are used by the
// read loop only.
type server struct {
	ctx     context.Context
	link    link
	handler Handler
	wg      sync.WaitGroup
	current *session // nil before the first hello
	epoch   uint64
}

// A session is what one host has open.
type session struct {
	epoch  uint64
	nonce  string
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	streams map[uint32]*stream
}

// read is the read loop. It never writes.
func (sv *server) read(r *Reader) error {
	for {
		f, err := r.Next()
		if err != nil {
			return err
		}
		switch s := sv.current; {
		case f.Type == TypeHello:
			sv.hello(f)
		case s == nil:
			// From a host that is gone.
		case f.Type == TypeRequest:
			sv.open(s, f)
		default:
			s.push(f)
		}
	}
}

// hello begins a session, or answers again if its host only repeats itself.
func (sv *server) hello(f Frame) {
	var hello Hello
	if err := json.Unmarshal(f.Payload, &hello); err != nil || len(hello.Nonce) > 64 {
		return
	}
	if sv.current == nil || sv.current.nonce != hello.Nonce {
		if sv.current != nil {
			sv.current.cancel()
		}
		sv.epoch++
		s := &session{epoch: sv.epoch, nonce: hello.Nonce, streams: make(map[uint32]*stream)}
		s.ctx, s.cancel = context.WithCancel(sv.ctx)
		sv.current = s
	}
	epoch := sv.epoch
	sv.wg.Go(func() {
		msg, err := encode(Welcome{Protocol: Protocol, Nonce: hello.Nonce, Info: sv.handler.Info()})
		if err != nil {
			return
		}
		// A link that cannot be written will not be read for long either.
		_ = sv.link.begin(epoch, AppendFrame(nil, Frame{Type: TypeWelcome, Payload: msg}))
	})
}

// open starts what a request asks for. A request for a stream that is open
// already is dropped: no host sends it.
func (sv *server) open(s *session, f Frame) {
	st := newStream(f.Stream, func(f Frame) error { return sv.link.send(s.epoch, f) })
	var req Request
	err := json.Unmarshal(f.Payload, &req)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[f.Stream] != nil {
		return
	}
	if err == nil && len(s.streams) >= maxStreams {
		err = errors.New("too many requests at a time")
	}
	s.streams[f.Stream] = st
	sv.wg.Go(func() {
		reply := Reply{}
		if err == nil {
			reply, err = sv.answer(s.ctx, st, req)
		}
		if err != nil {
			reply.Error = err.Error()
		}
		s.drop(st) // first, so that the host may use the number again
		st.reply(reply)
	})
}

// reply ends the stream towards the host.
func (s *stream) reply(r Reply) {
	if len(r.Error) > 4096 {
		r.Error = r.Error[:4096]
	}
	msg, err := encode(r)
	if err != nil {
		msg = []byte(`{"error":"reply longer than a frame"}`)
	}
	_ = s.send(Frame{TypeReply, s.id, msg}) // a host that is gone needs none
}

// push hands a frame to its stream; for one that has ended it is dropped.
func (s *session) push(f Frame) {
	s.mu.Lock()
	st := s.streams[f.Stream]
	s.mu.Unlock()
	if st != nil {
		st.push(f)
	}
}

func (s *session) drop(st *stream) {
	st.fail(ErrClosed)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, st.id)
}
