// Package simulated has machines that do not exist: SSH servers in the test's process that answer commands without
// running any. Reports name their machines as simulated.
package simulated

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// Session is one command that a client has sent. Its input is read from it, and its output written to it.
type Session struct {
	io.ReadWriter
	// At is the address by which the client reached the server; machines may share a server and have an address each.
	At string
	// Command is the one that a login shell would run, without the marks around its output.
	Command string
	// Ended is closed when the client has left.
	Ended <-chan struct{}
}

// Options of a server.
type Options struct {
	// Listen is where it listens, as "127.0.0.1:0".
	Listen string
	// Delay is how long everything is on its way, in each direction.
	Delay time.Duration
	// Run answers a command, and returns when that has ended. Every command succeeds.
	Run func(session Session)
	// Refuse, when not nil, reports whether a connection to an address is closed at once, as by a machine that boots.
	Refuse func(at string) bool
}

// Server is an SSH server that lets everyone in.
type Server struct {
	options  Options
	listener net.Listener
	config   *ssh.ServerConfig
	hostKey  string
	execs    atomic.Int64

	mu          sync.Mutex
	connections map[net.Conn]string
}

// Start starts a server, which ends with Close.
func Start(options Options) (*Server, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a host key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, fmt.Errorf("making a host key: %w", err)
	}
	listener, err := net.Listen("tcp", options.Listen)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	s := &Server{
		options: options, listener: listener, hostKey: string(ssh.MarshalAuthorizedKey(signer.PublicKey())),
		connections: map[net.Conn]string{},
		config: &ssh.ServerConfig{
			PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil },
		},
	}
	s.config.AddHostKey(signer)
	go s.accept()
	return s, nil
}

// HostKey is a line as in ssh_host_ed25519_key.pub.
func (s *Server) HostKey() string { return s.hostKey }

// Port is where the server listens.
func (s *Server) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// Execs counts the commands that the server was given.
func (s *Server) Execs() int64 { return s.execs.Load() }

// Cut ends all connections to an address.
func (s *Server) Cut(at string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for connection, address := range s.connections {
		if address == at {
			_ = connection.Close()
		}
	}
}

// Connections counts those that are open.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.connections)
}

// Close ends the server and all of its connections.
func (s *Server) Close() {
	_ = s.listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for connection := range s.connections {
		_ = connection.Close()
	}
}

func (s *Server) accept() {
	for {
		connection, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // no more files, for example
			continue
		}
		at := connection.LocalAddr().(*net.TCPAddr).IP.String()
		if s.options.Refuse != nil && s.options.Refuse(at) {
			_ = connection.Close()
			continue
		}
		go s.serve(connection, at)
	}
}

func (s *Server) serve(connection net.Conn, at string) {
	s.mu.Lock()
	s.connections[connection] = at
	s.mu.Unlock()
	defer func() {
		_ = connection.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.connections, connection)
	}()
	_, channels, requests, err := ssh.NewServerConn(delayed(connection, s.options.Delay), s.config)
	if err != nil {
		return
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for request := range requests {
			_ = request.Reply(true, nil)
		}
	}()
	for offered := range channels {
		channel, requests, err := offered.Accept()
		if err == nil {
			go s.session(channel, requests, at)
		}
	}
}

// session runs the one command of a session. The requests of a channel end with it.
func (s *Server) session(channel ssh.Channel, requests <-chan *ssh.Request, at string) {
	ended := make(chan struct{})
	defer close(ended)
	for request := range requests {
		isExec := request.Type == "exec"
		_ = request.Reply(isExec, nil)
		if !isExec {
			continue
		}
		s.execs.Add(1)
		var asked struct{ Command string }
		_ = ssh.Unmarshal(request.Payload, &asked)
		go func() {
			script := decodeScript(asked.Command)
			_, _ = io.WriteString(channel.Stderr(), script.beginErrors)
			_, _ = io.WriteString(channel, script.begin)
			s.options.Run(Session{ReadWriter: channel, At: at, Command: script.command, Ended: ended})
			_, _ = io.WriteString(channel, script.end+" 0]")
			_, _ = io.WriteString(channel.Stderr(), script.endErrors+" 0]")
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
			_ = channel.Close()
		}()
	}
}
