package node

import (
	"context"
	"time"

	"argosy.dev/argosy/pkg/node/spec"
)

// admissionPoll is the time between two looks for the file that admits an operation.
const admissionPoll = 50 * time.Millisecond

// AwaitAdmission returns when the plugin has admitted the operation to the API server, at once where the operation does
// not ask for that. It ends with ctx, and where the operation is to stop.
func (c *Context) AwaitAdmission(ctx context.Context) error {
	if !c.Operation.Admission || c.Store.admitted(c.Operation.ID) {
		return nil
	}
	ctx, cancel := c.Interruptible(ctx)
	defer cancel()
	if c.awaits != nil {
		c.awaits(true)
		defer c.awaits(false)
	}
	for !c.Store.admitted(c.Operation.ID) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(admissionPoll):
		}
	}
	return nil
}

// Admit lets an operation that waits for it ask the API server, and returns its status. One that is over is left as it
// is.
func (e *Engine) Admit(ctx context.Context, id string) (*spec.Status, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	startLock, err := e.Store.lockStart(ctx)
	if err != nil {
		return nil, err
	}
	defer startLock.release()
	status, err := e.Store.Status(id)
	if err != nil || status.State.Final() {
		return status, err
	}
	return status, e.Store.admit(id)
}
