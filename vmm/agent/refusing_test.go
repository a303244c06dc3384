package agent_test

import (
	"context"
	"errors"
	"io"

	"satchel/vmm/agent"
)

var errRefused = errors.New("refused")

// refusing is a guest that does nothing.
type refusing struct{}

func (refusing) Info() agent.Info                        { return agent.Info{} }
func (refusing) Do(context.Context, agent.Request) error { return errRefused }
func (refusing) Start(agent.Command, io.Reader, io.Writer, io.Writer) (agent.Process, error) {
	return nil, errRefused
}
