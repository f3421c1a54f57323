// Package node carries out operations on the machine it runs on, as lists of phases: it checks and applies each phase,
// under the machine's lock and within the deadline, and keeps the status that others read. It knows neither Kubernetes
// nor SSH; the phases of each operation are in the packages beneath it.
package node

import (
	"context"
	"fmt"
	"io"
	"sync"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/node/spread"
)

// Phase is one part of an operation. Only the engine calls Apply, so a plan, which only checks, changes nothing.
type Phase struct {
	// Name is the phase's word in messages: "containerd".
	Name string
	// Short is the phase's description in one line: "starting containerd".
	Short string
	// Check reports whether the machine is already as the phase wants it; detail describes its state or the change. It
	// changes nothing and is quick. An error means that the operation cannot be carried out on this machine as it is.
	Check func(ctx context.Context, c *Context) (holds bool, detail string, err error)
	// Apply makes the change, also after an earlier attempt that was cut off, and describes it in detail.
	Apply func(ctx context.Context, c *Context) (detail string, err error)
}

// Context has the operation, the machine and the callbacks that a phase uses.
type Context struct {
	// Operation is the one that runs.
	Operation *spec.Operation
	// Host is the machine.
	Host *host.Host
	// Store is Argosy's own folder on it.
	Store *Store
	// Log is the operation's log.
	Log io.Writer
	// Spread receives files in pieces and serves them to other machines; nil where the operation does not.
	Spread *spread.Client

	setMessage func(message string)
	progress   func(spec.Progress)
	feed       func(key string)
	awaits     func(awaits bool)
	stop       context.Context
	mu         sync.Mutex
	deferred   []func()
	changes    []spec.Change
}

// SetMessage sets the message that users see while the phase works, in the present tense: "starting containerd". A
// transfer that was shown before is over.
func (c *Context) SetMessage(format string, args ...any) {
	if c.setMessage != nil {
		c.setMessage(fmt.Sprintf(format, args...))
	}
}

// Progress sets the progress of a transfer.
func (c *Context) Progress(p spec.Progress) {
	if c.progress != nil {
		c.progress(p)
	}
}

// AddChanges adds, during a check, differences between the machine and the wanted state. A check that holds may add
// those that only another operation removes.
func (c *Context) AddChanges(changes ...spec.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes = append(c.changes, changes...)
}

// takeChanges returns the changes added since the last call.
func (c *Context) takeChanges() []spec.Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	changes := c.changes
	c.changes = nil
	return changes
}

// AwaitFeed sets the key of the archive that the operation waits for; "" when it waits for none.
func (c *Context) AwaitFeed(key string) {
	if c.feed != nil {
		c.feed(key)
	}
}

// Interruptible returns a context that also ends when the operation is to stop, with the same cause. A phase uses it
// where stopping leaves nothing half done; everything else is finished first.
func (c *Context) Interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if c.stop == nil {
		return ctx, func() { cancel(nil) }
	}
	forget := context.AfterFunc(c.stop, func() { cancel(context.Cause(c.stop)) })
	return ctx, func() { forget(); cancel(nil) }
}

// Defer registers f to be called after the last phase, whether it succeeded or failed, for work that no phase needs.
// The machine's lock is still held then, so no other operation runs at the same time.
func (c *Context) Defer(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deferred = append(c.deferred, f)
}

// RemoveSecrets removes the operation's secrets from memory and disk.
func (c *Context) RemoveSecrets() error {
	c.Operation.Secrets = spec.Secrets{}
	if c.Store == nil {
		return nil
	}
	return c.Store.RemoveSecrets(c.Operation.ID)
}

func (c *Context) runDeferred() {
	c.mu.Lock()
	deferred := c.deferred
	c.deferred = nil
	c.mu.Unlock()
	for _, f := range deferred {
		f()
	}
}

// Stopped returns the reason why the operation is to stop; nil when it is not.
func (c *Context) Stopped() error {
	if c.stop == nil {
		return nil
	}
	return context.Cause(c.stop)
}
