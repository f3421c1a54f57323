package sshtest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Network is a way to a server that a test can cut. It passes bytes on as they are.
type Network struct {
	Port int // on 127.0.0.1

	listener net.Listener
	workers  sync.WaitGroup

	limit  atomic.Int64 // bytes to the server until the cut; 0: none
	sent   atomic.Int64
	silent atomic.Bool
	target atomic.Pointer[string]

	dialled chan struct{}

	mu    sync.Mutex
	ends  map[net.Conn]bool
	ended bool
}

// NewNetwork leads to target, "host:port", and ends with the test.
func NewNetwork(t testing.TB, target string) *Network {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listening: %v", err)
	}
	n := &Network{
		Port: listener.Addr().(*net.TCPAddr).Port, listener: listener, ends: map[net.Conn]bool{},
		dialled: make(chan struct{}, 1),
	}
	n.Redirect(target)
	n.workers.Go(n.accept)
	t.Cleanup(func() {
		n.mu.Lock()
		n.ended = true
		n.mu.Unlock()
		_ = listener.Close()
		n.Cut()
		n.workers.Wait()
	})
	return n
}

// Dialled returns once a connection has been accepted.
func (n *Network) Dialled(t testing.TB) {
	t.Helper()
	select {
	case <-n.dialled:
	case <-time.After(time.Minute):
		t.Fatal("nobody connects")
	}
}

// Redirect makes further connections lead elsewhere.
func (n *Network) Redirect(target string) { n.target.Store(&target) }

// Cut ends every connection now.
func (n *Network) Cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for end := range n.ends {
		_ = end.Close()
	}
}

// CutAfter ends the connections once this many more bytes went to the server; then the network is whole again.
func (n *Network) CutAfter(bytes int64) {
	n.sent.Store(0)
	n.limit.Store(bytes)
}

// Silence holds all bytes back, in both directions, as a packet filter does that drops packets which are then sent
// again.
func (n *Network) Silence(silent bool) { n.silent.Store(silent) }

func (n *Network) accept() {
	for {
		client, err := n.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", *n.target.Load())
		if err != nil {
			_ = client.Close()
			continue
		}
		select {
		case n.dialled <- struct{}{}:
		default:
		}
		n.mu.Lock()
		ended := n.ended
		n.ends[client], n.ends[server] = true, true
		n.mu.Unlock()
		if ended {
			n.Cut()
			return
		}
		n.workers.Go(func() { n.pass(server, client, true) })
		n.workers.Go(func() { n.pass(client, server, false) })
	}
}

func (n *Network) over() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ended
}

func (n *Network) pass(to, from net.Conn, counted bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buffer := make([]byte, 16<<10)
	for {
		read, err := from.Read(buffer)
		for n.silent.Load() && !n.over() {
			time.Sleep(5 * time.Millisecond)
		}
		if read > 0 && counted {
			limit := n.limit.Load()
			if limit > 0 && n.sent.Add(int64(read)) > limit {
				n.limit.Store(0)
				return
			}
		}
		if read > 0 {
			if _, err := to.Write(buffer[:read]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
