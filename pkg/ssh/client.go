package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	xssh "golang.org/x/crypto/ssh"

	"argosy.dev/argosy/pkg/errclass"
)

// maxSessions is how many commands run at once on one connection; further ones wait. OpenSSH refuses more than ten
// (MaxSessions), and some machines are configured lower than that only for good reasons.
const maxSessions = 8

// keepalive is a request that every server answers, if only with a refusal.
const keepalive = "keepalive@openssh.com"

// Client is one connection to one machine. It is safe for concurrent use.
type Client struct {
	config   Config
	conn     *xssh.Client
	via      *Client // the bastion, when this client has it to itself
	activity *activityConn
	sessions chan struct{}
	closed   atomic.Int64  // sessions that were closed so far
	done     chan struct{} // closed when the connection has ended
	sudo     loginBackoff
	noisy    atomic.Bool // the login shell prints to standard output by itself

	mu      sync.Mutex // guards closing, and workers against Add after Wait
	closing bool
	workers sync.WaitGroup
}

// Dial connects to a machine through its bastions and logs in.
func Dial(ctx context.Context, config Config) (*Client, error) {
	config = config.withDefaults()
	bastion, found := config.lastBastion()
	if !found {
		return dial(ctx, nil, config)
	}
	// The machine's own keys are read first: nothing is dialled for a config that cannot work.
	if _, err := prepare(config); err != nil {
		return nil, err
	}
	via, err := Dial(ctx, bastion)
	if err != nil {
		return nil, &BastionError{Host: config.host(), Err: err}
	}
	client, err := dial(ctx, via, config)
	if err != nil {
		return nil, errors.Join(err, via.Close())
	}
	client.via = via
	return client, nil
}

// prepared holds the parts of a connection that are made before it is dialled.
type prepared struct {
	hostKeys *hostKeyChecker
	login    *login
}

func prepare(config Config) (prepared, error) {
	checker, err := newHostKeyChecker(config)
	if err != nil {
		return prepared{}, errclass.With(errclass.Configuration, err)
	}
	methods, err := config.Auth.methods()
	if err != nil {
		return prepared{}, configuration("preparing the login as %q on %s: %w", config.User, config.host(), err)
	}
	return prepared{checker, &login{config: config, methods: methods}}, nil
}

// dial connects to one hop, directly or through a bastion's connection.
func dial(ctx context.Context, via *Client, config Config) (*Client, error) {
	ready, err := prepare(config)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, config.ConnectTimeout, errTimeout(config.ConnectTimeout))
	defer cancel()

	conn, err := connect(limited, via, config.hostPort())
	if err != nil {
		if via != nil && limited.Err() == nil && !errors.As(err, new(*xssh.OpenChannelError)) {
			via.abandon()
		}
		return nil, dialError(ctx, limited, config, err)
	}
	live := &activityConn{Conn: conn}
	ready.login.broken = live.broken.Load
	// Closing is the only thing that interrupts a handshake over a bastion, whose channels know no deadlines.
	stop := context.AfterFunc(limited, func() { _ = conn.Close() })
	defer stop()

	session, channels, requests, err := xssh.NewClientConn(live, config.hostPort(), &xssh.ClientConfig{
		Config:            xssh.Config{KeyExchanges: keyExchanges()},
		User:              config.User,
		HostKeyAlgorithms: ready.hostKeys.algorithms(),
		HostKeyCallback: func(_ string, _ net.Addr, key xssh.PublicKey) error {
			return ready.hostKeys.check(limited, key)
		},
		AuthCallback:  ready.login.next,
		ClientVersion: "SSH-2.0-argosy",
	})
	if err != nil {
		return nil, handshakeError(ctx, limited, config, ready, err)
	}
	return newClient(config, xssh.NewClient(session, channels, requests), live), nil
}

// keyExchanges returns all that the library does safely: its own default leaves out diffie-hellman-group16-sha512 and
// diffie-hellman-group-exchange-sha256, to which hardened servers are restricted, and offers one with SHA-1.
func keyExchanges() []string { return xssh.SupportedAlgorithms().KeyExchanges }

// connect dials hostPort, through via where there is a bastion.
//
//nolint:wrapcheck // dial gives the error its class and the address.
func connect(ctx context.Context, via *Client, hostPort string) (net.Conn, error) {
	if via != nil {
		return via.conn.DialContext(ctx, "tcp", hostPort)
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", hostPort)
}

func errTimeout(limit time.Duration) error { return fmt.Errorf("no answer within %s", limit) }

func dialError(ctx, limited context.Context, config Config, err error) error {
	switch {
	case ctx.Err() != nil:
		return contextError(ctx, "reaching "+config.host())
	case limited.Err() != nil:
		return transient("reaching %s: %w", config.host(), context.Cause(limited))
	default:
		return reachError(config.host(), err)
	}
}

func handshakeError(ctx, limited context.Context, config Config, ready prepared, err error) error {
	var hostKey *HostKeyError
	var negotiation *xssh.AlgorithmNegotiationError
	switch {
	case errors.As(ready.hostKeys.refusal, &hostKey):
		return errclass.With(errclass.Configuration, hostKey)
	case ready.hostKeys.refusal != nil:
		return ready.hostKeys.refusal // recording a key: its class is the recorder's
	case errors.As(err, &negotiation):
		return configuration("agreeing on algorithms with %s: %w", config.host(), err)
	case limited.Err() != nil: // we hung up ourselves
		return dialError(ctx, limited, config, err)
	}
	if refused := ready.login.refusal(err); refused != nil {
		return errclass.With(errclass.Configuration, refused)
	}
	return dialError(ctx, limited, config, fmt.Errorf("logging in as %q: %w", config.User, err))
}

func newClient(config Config, conn *xssh.Client, live *activityConn) *Client {
	c := &Client{
		config:   config,
		conn:     conn,
		activity: live,
		sessions: make(chan struct{}, maxSessions),
		done:     make(chan struct{}),
	}
	c.spawn(func() {
		_ = conn.Wait()
		close(c.done)
	})
	c.spawn(c.keepAlive)
	return c
}

// spawn starts work that Close waits for. After Close it starts nothing and returns false.
func (c *Client) spawn(work func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closing {
		c.workers.Go(work)
	}
	return !c.closing
}

// host returns the name of the machine in messages.
func (c *Client) host() string { return c.config.host() }

// Alive reports whether the connection stands, as far as its end has been noticed.
func (c *Client) Alive() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// Close ends the connection and everything that runs over it.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	_ = c.conn.Close() // an error says that it was closed already
	c.workers.Wait()
	if c.via != nil {
		return c.via.Close()
	}
	return nil
}

// abandon ends a connection on which an operation ended without an error of its own. Sessions notice a loss before the
// connection does, and a caller that sees the error must not be given the same connection again.
func (c *Client) abandon() {
	c.spawn(func() { _ = c.conn.Close() })
	select {
	case <-c.done:
	// a bastion that does not answer keeps its channels open; its own end will end them
	case <-time.After(c.config.KeepAlive):
	}
}

// activityConn records whether bytes arrive. Any byte counts as a sign of life: while a slow upload fills the line,
// the answer to a probe would have to queue behind it.
type activityConn struct {
	net.Conn
	reads  atomic.Uint64 // grows whenever something arrives
	broken atomic.Bool   // nothing will arrive any more
}

func (h *activityConn) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n > 0 {
		h.reads.Add(1)
	}
	if err != nil {
		h.broken.Store(true)
	}
	return n, err
}

// maxUnanswered is how many intervals a probe may go without an answer.
const maxUnanswered = 3

// keepAlive probes a silent connection and ends one that stays silent. It counts its own ticks instead of reading a
// clock: a plugin that was suspended for a while must not take its own absence for the machine's.
func (c *Client) keepAlive() {
	ticker := time.NewTicker(c.config.KeepAlive)
	defer ticker.Stop()
	probing := make(chan struct{}, 1)
	before, unanswered := c.activity.reads.Load(), 0
	for {
		select {
		case <-c.done:
			return
		case <-ticker.C:
		}
		if reads := c.activity.reads.Load(); reads != before {
			before, unanswered = reads, 0
			continue
		}
		if unanswered == maxUnanswered {
			_ = c.conn.Close()
			return
		}
		unanswered++
		select {
		case probing <- struct{}{}:
			c.spawn(func() {
				// Any answer will do, and so will a refusal. On a dead line this returns when the connection is
				// closed.
				_, _, _ = c.conn.SendRequest(keepalive, true, nil)
				<-probing
			})
		default: // the last one is still unanswered
		}
	}
}
