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
// minutes, then ten, see Config.StartingUp. Of more than maxIdle connections without a session, those that were used
// longest ago are closed. It is safe for concurrent use.
type Pool struct {
	ctx  context.Context // ends with Close; dials belong to the pool, so that no caller's end fails the others
	stop context.CancelCauseFunc
	now  func() time.Time

	mu      sync.Mutex
	closed  bool
	entries map[[sha256.Size]byte]*entry
	dials   sync.WaitGroup
	// maxIdle and idleAfter are the constants, but in tests; swept is when idle connections were looked for last.
	maxIdle   int
	idleAfter time.Duration
	swept     time.Time
}

const (
	// maxIdle bounds the memory of connections that nothing uses: an inspection of thousands of machines leaves one to
	// each, which takes 80 KB.
	maxIdle = 256
	// idleAfter is how long a connection was not asked for at least before it counts as idle. It is also the time
	// between two searches, each of which passes all machines.
	idleAfter = time.Second
)

// entry is the pool's state of one machine. Its fields are guarded by the pool's lock.
type entry struct {
	client       *Client
	pending      *pendingDial // a dial under way
	loginBackoff loginBackoff
	recorded     []byte // host keys trusted on first use, since the config does not know of them yet

	used    time.Time // when client was handed out last
	closed  int64     // the sessions of client that had ended by then
	bastion bool      // other clients' connections pass through client
}

// idle reports whether nothing uses the client: it has no session, and one has ended since it was handed out last. A
// caller between the two still has to begin its own.
func (e *entry) idle(before time.Time) bool {
	return e.client != nil && !e.bastion && e.used.Before(before) && len(e.client.sessions) == 0 &&
		e.client.closed.Load() > e.closed
}

// handOut notes that a caller gets the client.
func (e *entry) handOut(now time.Time) { e.used, e.closed = now, e.client.closed.Load() }

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
	return &Pool{
		ctx: ctx, stop: stop, now: time.Now, entries: map[[sha256.Size]byte]*entry{}, maxIdle: maxIdle,
		idleAfter: idleAfter,
	}
}

// Get returns the connection to a machine, and makes it when there is none. The pool closes it; callers must not.
func (p *Pool) Get(ctx context.Context, config Config) (*Client, error) {
	return p.get(ctx, config, false)
}

// get is Get; a bastion's connection stays.
func (p *Pool) get(ctx context.Context, config Config, bastion bool) (*Client, error) {
	config = config.withDefaults()
	client, pending, err := p.lookup(config, bastion)
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
func (p *Pool) lookup(config Config, bastion bool) (*Client, *pendingDial, error) {
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
	known.bastion = known.bastion || bastion
	if known.client != nil && known.client.Alive() {
		known.handOut(p.now())
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

// dial fills an entry, wakes those who wait, and closes connections that are idle.
func (p *Pool) dial(config Config, known *entry, lost *Client) {
	if lost != nil {
		_ = lost.Close()
	}
	client, err := p.connect(p.withRecordedKeys(config, known))
	p.fill(config, known, client, err)
	for _, idle := range p.takeIdle() {
		_ = idle.Close()
	}
}

// fill sets the result of a dial.
func (p *Pool) fill(config Config, known *entry, client *Client, err error) {
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
	if client != nil {
		known.handOut(p.now())
	}
	close(pending.done)
}

// takeIdle removes the connections from the pool that are idle, but for the maxIdle that were used last.
func (p *Pool) takeIdle() []*Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if len(p.entries) <= p.maxIdle || now.Sub(p.swept) < p.idleAfter {
		return nil
	}
	p.swept = now
	var idle []*entry
	for _, known := range p.entries {
		if known.idle(now.Add(-p.idleAfter)) {
			idle = append(idle, known)
		}
	}
	slices.SortFunc(idle, func(a, b *entry) int { return a.used.Compare(b.used) })
	var taken []*Client
	for _, known := range idle[:max(0, len(idle)-p.maxIdle)] {
		taken = append(taken, known.client)
		known.client = nil
	}
	return taken
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
	via, err = p.get(p.ctx, bastion, true)
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
