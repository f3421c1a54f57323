package ssh

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/errclass"
)

// Pool keeps one connection for each machine and each bastion, and dials again when one was lost. Machines are dialled
// side by side; no lock is held meanwhile. A refused login is remembered, and not repeated for 30 seconds, then two
// minutes, then ten, see Config.StartingUp. It is safe for concurrent use.
type Pool struct {
	ctx  context.Context // ends with Close; dials belong to the pool, so that no caller's end fails the others
	stop context.CancelCauseFunc
	now  func() time.Time

	mu      sync.Mutex
	closed  bool
	entries map[[sha256.Size]byte]*entry
	dials   sync.WaitGroup
}

// entry is the pool's state of one machine. Its fields are guarded by the pool's lock.
type entry struct {
	client       *Client
	pending      *pendingDial // a dial under way
	loginBackoff loginBackoff
	recorded     []byte // host keys trusted on first use, since the config does not know of them yet
}

// pendingDial is one dial, which any number of callers wait for.
type pendingDial struct {
	done   chan struct{}
	client *Client
	err    error
}

var errPoolClosed = errors.New("the connections were closed")

// NewPool makes an empty pool.
func NewPool() *Pool {
	ctx, stop := context.WithCancelCause(context.Background())
	return &Pool{ctx: ctx, stop: stop, now: time.Now, entries: map[[sha256.Size]byte]*entry{}}
}

// Get returns the connection to a machine, and makes it when there is none. The pool closes it; callers must not.
func (p *Pool) Get(ctx context.Context, config Config) (*Client, error) {
	config = config.withDefaults()
	client, pending, err := p.lookup(config)
	if client != nil || err != nil {
		return client, err
	}
	select {
	case <-pending.done:
		return pending.client, pending.err
	case <-ctx.Done():
		return nil, contextError(ctx, "reaching "+config.host())
	}
}

// lookup returns a live connection, or the dial to wait for.
func (p *Pool) lookup(config Config) (*Client, *pendingDial, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errclass.Errorf(errclass.Cancelled, "reaching %s: %w", config.host(), errPoolClosed)
	}
	id := config.identity()
	known := p.entries[id]
	if known == nil {
		known = &entry{}
		p.entries[id] = known
	}
	if known.client != nil && known.client.Alive() {
		return known.client, nil, nil
	}
	if known.pending != nil {
		return nil, known.pending, nil
	}
	if err := known.loginBackoff.blocked(p.now()); err != nil {
		return nil, nil, errclass.With(errclass.Configuration, err)
	}
	known.pending = &pendingDial{done: make(chan struct{})}
	lost := known.client
	known.client = nil
	p.dials.Go(func() { p.dial(config, known, lost) })
	return nil, known.pending, nil
}

// dial fills an entry and wakes those who wait.
func (p *Pool) dial(config Config, known *entry, lost *Client) {
	if lost != nil {
		_ = lost.Close()
	}
	client, err := p.connect(p.withRecordedKeys(config, known))

	p.mu.Lock()
	defer p.mu.Unlock()
	var refused *AuthError
	switch {
	case err == nil:
		known.loginBackoff.reset()
	case errors.As(err, &refused) && refused.Host == config.host():
		known.loginBackoff.record(err, p.now(), loginSteps(config.StartingUp))
	}
	pending := known.pending
	known.client, known.pending = client, nil
	pending.client, pending.err = client, err
	close(pending.done)
}

// connect dials through the pool's own connection to the last bastion, which all machines behind it share: sshd admits
// only so many logins at once (MaxStartups), and each costs several round trips.
func (p *Pool) connect(config Config) (*Client, error) {
	bastion, found := config.lastBastion()
	if !found {
		return dial(p.ctx, nil, config)
	}
	if _, err := prepare(config); err != nil {
		return nil, err
	}
	client, via, err := p.dialThrough(bastion, config)
	if err != nil && via != nil && !via.Alive() && p.ctx.Err() == nil {
		// The bastion's connection had ended unnoticed; once more, with a new one.
		client, _, err = p.dialThrough(bastion, config)
	}
	return client, err
}

func (p *Pool) dialThrough(bastion, config Config) (client, via *Client, err error) {
	via, err = p.Get(p.ctx, bastion)
	if err != nil {
		return nil, nil, &BastionError{Host: config.host(), Err: err}
	}
	client, err = dial(p.ctx, via, config)
	return client, via, err
}

// withRecordedKeys returns config with the keys that were trusted on first use: dialled again, the machine must show
// the same.
func (p *Pool) withRecordedKeys(config Config, known *entry) Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	if config.HostKeys.Record == nil {
		return config
	}
	record := config.HostKeys.Record
	config.HostKeys.Recorded = slices.Concat(config.HostKeys.Recorded, []byte("\n"), known.recorded)
	config.HostKeys.Record = func(ctx context.Context, line string) error {
		if err := record(ctx, line); err != nil {
			return err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		known.recorded = fmt.Appendf(known.recorded, "%s\n", line)
		return nil
	}
	return config
}

// Close closes every connection and waits until nothing of the pool runs any more.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop(errPoolClosed)
	p.dials.Wait()

	var group sync.WaitGroup
	p.mu.Lock()
	for _, known := range p.entries {
		if client := known.client; client != nil {
			group.Go(func() { _ = client.Close() })
		}
	}
	p.mu.Unlock()
	group.Wait()
	return nil
}
