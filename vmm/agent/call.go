package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Info asks the guest to describe itself.
func (c *Client) Info(ctx context.Context) (Info, error) {
	reply, err := c.call(ctx, Request{Op: OpInfo})
	if err != nil || reply.Info == nil {
		return Info{}, err
	}
	return *reply.Info, nil
}

// Ping waits for any answer of the guest's agent.
func (c *Client) Ping(ctx context.Context) error { return c.do(ctx, Request{Op: OpPing}) }

// Ready waits until the guest has finished starting. A guest that started into
// its emergency mode gives a [*GuestError].
func (c *Client) Ready(ctx context.Context) error { return c.do(ctx, Request{Op: OpReady}) }

// Freeze makes the delta disk's file system consistent and holds all writing
// to it until [Client.Thaw], at most for the time given, or what the guest
// allows, 60 s. Freezing again prolongs it.
func (c *Client) Freeze(ctx context.Context, longest time.Duration) error {
	return c.do(ctx, Request{Op: OpFreeze, Max: longest})
}

// Thaw ends a freeze. It fails if the freeze had ended by itself, so that the
// caller knows that what it copied is not consistent.
func (c *Client) Thaw(ctx context.Context) error { return c.do(ctx, Request{Op: OpThaw}) }

// Sync writes all that the guest holds in memory to its disks.
func (c *Client) Sync(ctx context.Context) error { return c.do(ctx, Request{Op: OpSync}) }

// Clock sets the guest's clock, which stands while its machine is suspended.
func (c *Client) Clock(ctx context.Context, now time.Time) error {
	return c.do(ctx, Request{Op: OpClock, Time: now.UnixNano()})
}

// Shutdown asks the guest to power off in good order. It returns when the guest
// has taken the request; the end is seen at the machine.
func (c *Client) Shutdown(ctx context.Context) error { return c.do(ctx, Request{Op: OpPoweroff}) }

// Reboot is like Shutdown, but the guest starts again.
func (c *Client) Reboot(ctx context.Context) error { return c.do(ctx, Request{Op: OpReboot}) }

func (c *Client) do(ctx context.Context, req Request) error {
	_, err := c.call(ctx, req)
	return err
}

// call sends a request without data and waits for the reply.
func (c *Client) call(ctx context.Context, req Request) (Reply, error) {
	s, err := c.request(ctx, req)
	if err != nil {
		return Reply{}, err
	}
	defer c.drop(s)
	stop := context.AfterFunc(ctx, func() { s.fail(ctx.Err()) })
	defer stop()
	for {
		f, err := s.recv()
		if err != nil {
			// Nobody waits for the reply any more.
			_ = s.send(Frame{Type: TypeClose, Stream: s.id})
			return Reply{}, fmt.Errorf("guest agent: %s: %w", req.Op, err)
		}
		if f.Type == TypeReply {
			return replyOf(req.Op, f)
		}
	}
}

// request opens a stream with req, once the guest is there.
func (c *Client) request(ctx context.Context, req Request) (*stream, error) {
	if _, err := c.Hello(ctx); err != nil {
		return nil, err
	}
	msg, err := encode(req)
	if err != nil {
		return nil, fmt.Errorf("guest agent: %s: %w", req.Op, err)
	}
	s, err := c.open(false)
	if err != nil {
		return nil, fmt.Errorf("guest agent: %s: %w", req.Op, err)
	}
	if err := s.send(Frame{TypeRequest, s.id, msg}); err != nil {
		c.drop(s)
		return nil, fmt.Errorf("guest agent: %s: %w", req.Op, err)
	}
	return s, nil
}

// replyOf reads a reply; what the guest could not do is a [*GuestError].
func replyOf(op Op, f Frame) (Reply, error) {
	var reply Reply
	if err := json.Unmarshal(f.Payload, &reply); err != nil {
		return Reply{}, fmt.Errorf("guest agent: %s: read reply: %w", op, err)
	}
	if reply.Error != "" {
		return reply, &GuestError{op, reply.Error}
	}
	return reply, nil
}
