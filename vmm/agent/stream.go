package agent

import (
	"encoding/binary"
	"sync"
)

// maxQueued bounds the frames of a stream that wait to be taken and need no
// credit. A reply or a close is never one too many because of data before it.
const maxQueued = 256

// A stream is one end of a stream of frames. The read loop pushes, one
// goroutine takes, any number send.
type stream struct {
	id    uint32
	send  func(Frame) error // writes one frame to the link
	relay bool              // credit is taken like any frame, not used

	mu       sync.Mutex
	cond     sync.Cond // on any change below
	queue    []Frame
	held     int   // cost of the data frames in queue
	others   int   // how many of the frames in queue are not data
	window   int   // what may be sent before more credit
	consumed int   // taken by recv's caller and not yet credited
	err      error // no more frames will be pushed, none may be sent
}

func newStream(id uint32, send func(Frame) error) *stream {
	s := &stream{id: id, send: send, window: Window}
	s.cond.L = &s.mu
	return s
}

// push hands a frame that was read to the stream, with a copy of its payload.
// A frame beyond the stream's limits fails the stream.
func (s *stream) push(f Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.cond.Broadcast()
	if s.err != nil {
		return
	}
	if f.Type == TypeCredit {
		s.pushCredit(f)
		return
	}
	if s.count(f, 1); s.held > Window || s.others > maxQueued {
		s.err = errWindow
		return
	}
	f.Payload = append([]byte(nil), f.Payload...)
	s.queue = append(s.queue, f)
}

// count keeps account of the frames in the queue: n is 1 for one more and -1 for
// one less.
func (s *stream) count(f Frame, n int) {
	switch {
	case f.Type.isData():
		s.held += n * f.cost()
	case f.Type != TypeCredit: // which waits only merged, never two in a row
		s.others += n
	}
}

// pushCredit uses credit, or merges it with credit that waits to be relayed.
func (s *stream) pushCredit(f Frame) {
	n := creditOf(f)
	if !s.relay {
		s.window = min(s.window+n, Window)
		return
	}
	if last := len(s.queue) - 1; last >= 0 && s.queue[last].Type == TypeCredit {
		s.queue[last] = creditFrame(s.id, min(creditOf(s.queue[last])+n, Window))
		return
	}
	s.queue = append(s.queue, creditFrame(s.id, n))
}

// recv waits for a frame and takes it.
func (s *stream) recv() (Frame, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) == 0 && s.err == nil {
		s.cond.Wait()
	}
	if len(s.queue) == 0 {
		return Frame{}, s.err
	}
	f := s.queue[0]
	s.queue = s.queue[1:]
	s.count(f, -1)
	return f, nil
}

// done says that the data frame f is used up. It sends credit in large steps.
func (s *stream) done(f Frame) error {
	s.mu.Lock()
	s.consumed += f.cost()
	n := s.consumed
	if n < Window/4 {
		s.mu.Unlock()
		return nil
	}
	s.consumed = 0
	s.mu.Unlock()
	return s.send(creditFrame(s.id, n))
}

// write sends p as data frames, as fast as there is credit.
func (s *stream) write(t Type, p []byte) (int, error) {
	sent := 0
	for sent < len(p) {
		n, err := s.spend(len(p) - sent)
		if err != nil {
			return sent, err
		}
		if err := s.send(Frame{t, s.id, p[sent : sent+n]}); err != nil {
			return sent, err
		}
		sent += n
	}
	return sent, nil
}

// spend waits for credit and takes that of a frame with up to n bytes.
func (s *stream) spend(n int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.window <= HeaderSize && s.err == nil {
		s.cond.Wait()
	}
	if s.err != nil {
		return 0, s.err
	}
	n = min(n, MaxPayload, s.window-HeaderSize)
	s.window -= n + HeaderSize
	return n, nil
}

// fail ends the stream: frames in the queue can still be taken, after them err.
func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.cond.Broadcast()
}

// failed returns why the stream has ended, or nil.
func (s *stream) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// A dataWriter is the io.Writer of one kind of data of a stream.
type dataWriter struct {
	s *stream
	t Type
}

// Write sends p against credit.
func (w dataWriter) Write(p []byte) (int, error) { return w.s.write(w.t, p) }

func creditFrame(id uint32, n int) Frame {
	return Frame{TypeCredit, id, binary.LittleEndian.AppendUint32(nil, uint32(n))}
}

// creditOf reads a credit frame; a malformed one is worth nothing.
func creditOf(f Frame) int {
	if len(f.Payload) != 4 {
		return 0
	}
	return int(min(binary.LittleEndian.Uint32(f.Payload), Window))
}
