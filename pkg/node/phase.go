// Package node carries out operations on the machine it runs on, as lists of phases: it decides what is to be done,
// does it under the machine's lock and within the deadline, and keeps the status that others read. It knows neither
// Kubernetes nor SSH, and what an operation consists of stands in the packages beneath it.
package node

import (
	"context"
	"fmt"
	"io"
	"sync"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
)

// Phase is one part of an operation. Only the engine calls Apply, so a plan, which only checks, changes nothing.
type Phase struct {
	// Name is the phase's word in messages: "containerd".
	Name string
	// Short says what the phase brings about, in one line.
	Short string
	// Check says whether what the phase wants is so already, and in detail what holds or what is wanted. It changes
	// nothing and is quick. An error means that the operation cannot be carried out on this machine as it is.
	Check func(ctx context.Context, c *Context) (holds bool, detail string, err error)
	// Apply brings it about, whatever an earlier attempt left half done, and says in detail what was done.
	Apply func(ctx context.Context, c *Context) (detail string, err error)
}

// Context is what a phase works with.
type Context struct {
	// Operation is what is asked for.
	Operation *spec.Operation
	// Host is the machine.
	Host *host.Host
	// Store is Argosy's own folder on it.
	Store *Store
	// Log is the operation's log.
	Log io.Writer

	setMessage func(message string)
	progress   func(spec.Progress)
	feed       func(key string)
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

// Progress sets how far a transfer is.
func (c *Context) Progress(p spec.Progress) {
	if c.progress != nil {
		c.progress(p)
	}
}

// AddChanges notes, during a check, one thing that is not as wanted. A check that holds may note what only another
// operation puts right.
func (c *Context) AddChanges(changes ...spec.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes = append(c.changes, changes...)
}

// takeChanges gives what was noted since the last call.
func (c *Context) takeChanges() []spec.Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	changes := c.changes
	c.changes = nil
	return changes
}

// AwaitFeed says which archive the operation waits to be sent; "" when it waits for none any more.
func (c *Context) AwaitFeed(key string) {
	if c.feed != nil {
		c.feed(key)
	}
}

// Interruptible gives a context that also ends when the operation is to stop, with the same cause. A phase uses it
// where stopping leaves nothing half done; everything else is finished first.
func (c *Context) Interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if c.stop == nil {
		return ctx, func() { cancel(nil) }
	}
	forget := context.AfterFunc(c.stop, func() { cancel(context.Cause(c.stop)) })
	return ctx, func() { forget(); cancel(nil) }
}

// Defer has f called when the last phase has ended, in whatever way: work that no phase needs. The machine's lock
// is still held then, so no other operation meets it.
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

// Stopped gives the reason why the operation is to stop, nil when it is not.
func (c *Context) Stopped() error {
	if c.stop == nil {
		return nil
	}
	return context.Cause(c.stop)
}
