package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"satchel/syncer"
)

const mediaJSON = "application/json"

// A request is one request for a path of the protocol.
type request struct {
	method, path string // the path begins after /v1/
	media        string // of the body
	body         io.Reader
	streamed     bool          // the body comes as somebody makes it
	wait         time.Duration // how much longer than others the answer may take
}

// message returns a request with a message in JSON as its body.
func message(method, path string, in any) (request, error) {
	b, err := json.Marshal(in)
	if err != nil {
		return request{}, err
	}
	if len(b) > syncer.MaxJSON {
		return request{}, fmt.Errorf("message of %d bytes: %w", len(b), syncer.ErrTooLarge)
	}
	return request{method: method, path: path, media: mediaJSON, body: bytes.NewReader(b)}, nil
}

// send makes a request and returns the answer's body, which is of the wanted
// media type, or any if that is empty. Its errors, and those of reading the
// body, are of the kinds that [Client] names.
func (c *Client) send(ctx context.Context, q request, want string) (io.ReadCloser, error) {
	within, cancel := context.WithCancelCause(ctx)
	w := &watch{ctx: ctx, within: within, cancel: cancel, stall: c.stall, answer: answer + q.wait}
	w.timer = time.AfterFunc(w.answer, w.expire)
	body := q.body
	if q.streamed {
		body = &sending{q.body, w}
	}
	req, err := http.NewRequestWithContext(within, q.method, c.base.String()+"/v1/"+q.path, body)
	if err != nil {
		w.end()
		return nil, err
	}
	req.Header = c.head.Clone()
	if q.media != "" {
		req.Header.Set("Content-Type", q.media)
	}
	resp, err := c.http.RoundTrip(req) // which follows no redirects
	if err != nil {
		w.end()
		return nil, fmt.Errorf("reach %s: %w", c.base.Host, w.failure(err))
	}
	w.timer.Stop()
	got := &receiving{resp.Body, w}
	if err := check(resp, got, want); err != nil {
		_ = got.Close()
		return nil, err
	}
	return got, nil
}

// check reports an answer that is a refusal, or not of the wanted type.
func check(resp *http.Response, body io.Reader, want string) error {
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		media = ""
	}
	if resp.StatusCode == http.StatusNoContent && want == mediaJSON {
		return nil
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(resp, media, body)
	}
	if want != "" && media != want {
		return fmt.Errorf("the answer is of type %.100q, want %s; is that a satchel server? %w", media, want, syncer.ErrMalformed)
	}
	return nil
}

// call makes a request whose answer is a message, which is decoded to out
// unless that is nil.
func (c *Client) call(ctx context.Context, q request, out any) error {
	body, err := c.send(ctx, q, mediaJSON)
	if err != nil {
		return err
	}
	defer body.Close()
	b, err := readMessage(body)
	if err != nil {
		return err
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("answer: %w: %w", syncer.ErrMalformed, err)
	}
	return nil
}

// ask is call with a message as the request.
func (c *Client) ask(ctx context.Context, method, path string, in, out any) error {
	q := request{method: method, path: path}
	if in != nil {
		var err error
		if q, err = message(method, path, in); err != nil {
			return err
		}
	}
	return c.call(ctx, q, out)
}

// readMessage reads a bounded message to its end.
func readMessage(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, syncer.MaxJSON+1))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if len(b) > syncer.MaxJSON {
		return nil, fmt.Errorf("answer of more than %d bytes: %w", syncer.MaxJSON, syncer.ErrTooLarge)
	}
	return b, nil
}

var errStalled = errors.New("nothing came for too long")

// A watch ends a request that stalls. It waits only while the network is what is
// waited for, not while this side works.
type watch struct {
	ctx    context.Context // the caller's
	within context.Context // the request's
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration // for bodies
	answer time.Duration // for the first byte of the answer
}

func (w *watch) expire() { w.cancel(errStalled) }

func (w *watch) end() {
	w.timer.Stop()
	w.cancel(nil)
}

// failure returns what an error of the request's connection means.
func (w *watch) failure(err error) error {
	if cause := w.ctx.Err(); cause != nil {
		return cause
	}
	if context.Cause(w.within) == errStalled { //nolint:errorlint // it is set just so
		err = errStalled
	}
	return failure(err)
}

// receiving is the body of an answer.
type receiving struct {
	io.ReadCloser
	watch *watch
}

func (r *receiving) Read(b []byte) (int, error) {
	r.watch.timer.Reset(r.watch.stall)
	n, err := r.ReadCloser.Read(b)
	r.watch.timer.Stop()
	// When a request is given up, a server that notices may end its answer in
	// good order before the connection is gone. That is no end then.
	if err != nil && (!errors.Is(err, io.EOF) || r.watch.within.Err() != nil) {
		err = r.watch.failure(err)
	}
	return n, err
}

func (r *receiving) Close() error {
	r.watch.end()
	return r.ReadCloser.Close()
}

// sending is the body of a request, as the connection takes it.
type sending struct {
	io.Reader
	watch *watch
}

func (s *sending) Read(b []byte) (int, error) {
	s.watch.timer.Stop()
	n, err := s.Reader.Read(b)
	switch {
	case s.watch.within.Err() != nil: // nobody waits any more
	case err != nil:
		s.watch.timer.Reset(s.watch.answer)
	default:
		s.watch.timer.Reset(s.watch.stall)
	}
	return n, err
}
