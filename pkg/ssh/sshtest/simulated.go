package sshtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
)

// Options of a simulated server.
type Options struct {
	// HostKey is made when it is the zero Key; HostCertificate is shown instead of it when not nil.
	HostKey         Key
	HostCertificate *ssh.Certificate
	// Users may log in with these keys.
	Authorized []Key
	// Password admits a user when not empty, by the method "password" or, if Interactive, by "keyboard-interactive".
	Password    string
	Interactive bool
	// Path is the PATH of commands. Default: the test's own.
	Path string
	// Shell is the login shell, run with -c and the command line. Default: /bin/sh.
	Shell string
	// OnExec, when not nil, is told of each command line before it runs.
	OnExec func(line string)
	// OnLogin, when not nil, runs when a key or password is presented, before it is judged.
	OnLogin func()
	// Mute makes the server leave global requests, keepalives among them, without an answer.
	Mute bool
	// MaxSessions, when not 0, is how many sessions a connection may have. As with sshd, one that was closed counts
	// until the server answers a request.
	MaxSessions int
}

// Simulated is an SSH server in the test's process. It runs commands as the test's own user, whatever name logged in.
type Simulated struct {
	Address string // 127.0.0.1
	Port    int
	HostKey Key

	t        testing.TB
	options  Options
	listener net.Listener
	workers  sync.WaitGroup

	mu          sync.Mutex
	connections map[net.Conn]bool
	closed      bool
	logins      int
	attempts    int
	lines       []string

	printed atomic.Int64
	running atomic.Int64
}

// Start starts a simulated server, which ends with the test.
func Start(t testing.TB, options Options) *Simulated {
	t.Helper()
	if options.HostKey.Signer == nil {
		options.HostKey = NewKey(t)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listening: %v", err)
	}
	s := &Simulated{
		Address: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, HostKey: options.HostKey,
		t: t, options: options, listener: listener, connections: map[net.Conn]bool{},
	}
	s.workers.Go(s.accept)
	t.Cleanup(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		_ = listener.Close()
		s.Cut()
		s.workers.Wait()
	})
	return s
}

// Cut ends every connection.
func (s *Simulated) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for connection := range s.connections {
		_ = connection.Close()
	}
}

// Logins counts the connections that logged in.
func (s *Simulated) Logins() int { s.mu.Lock(); defer s.mu.Unlock(); return s.logins }

// Attempts counts the keys and passwords that were refused.
func (s *Simulated) Attempts() int { s.mu.Lock(); defer s.mu.Unlock(); return s.attempts }

// Printed counts the bytes of output that the client let commands send.
func (s *Simulated) Printed() int64 { return s.printed.Load() }

// Running counts the sessions that are open.
func (s *Simulated) Running() int64 { return s.running.Load() }

// counted counts the bytes that are written.
type counted struct {
	to    io.Writer
	count *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.count.Add(int64(n))
	return n, err
}

// Execs returns the command lines that ran since the last call.
func (s *Simulated) Execs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.lines
	s.lines = nil
	return lines
}

func (s *Simulated) accept() {
	config := s.config()
	for {
		connection, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		refuse := s.closed
		s.connections[connection] = true
		s.mu.Unlock()
		if refuse {
			_ = connection.Close()
			return
		}
		s.workers.Go(func() {
			s.serve(connection, config)
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.connections, connection)
		})
	}
}

var errRefused = errors.New("refused")

func (s *Simulated) config() *ssh.ServerConfig {
	config := &ssh.ServerConfig{MaxAuthTries: 20}
	check := func(good bool) (*ssh.Permissions, error) {
		if s.options.OnLogin != nil {
			s.options.OnLogin()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if !good {
			s.attempts++
			return nil, errRefused
		}
		return &ssh.Permissions{}, nil
	}
	config.PublicKeyCallback = func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		for _, authorized := range s.options.Authorized {
			if bytes.Equal(authorized.Signer.PublicKey().Marshal(), key.Marshal()) {
				return check(true)
			}
		}
		return check(false)
	}
	if s.options.Password != "" && !s.options.Interactive {
		config.PasswordCallback = func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			return check(string(password) == s.options.Password)
		}
	}
	if s.options.Interactive {
		config.KeyboardInteractiveCallback = func(_ ssh.ConnMetadata,
			ask ssh.KeyboardInteractiveChallenge,
		) (*ssh.Permissions, error) {
			answers, err := ask("", "", []string{"Password: "}, []bool{false})
			return check(err == nil && len(answers) == 1 && answers[0] == s.options.Password)
		}
	}
	signer := s.options.HostKey.Signer
	if s.options.HostCertificate != nil {
		certified, err := ssh.NewCertSigner(s.options.HostCertificate, signer)
		if err != nil {
			s.t.Errorf("signing with the host certificate: %v", err)
		}
		config.AddHostKey(certified)
	}
	config.AddHostKey(signer)
	return config
}

func (s *Simulated) serve(connection net.Conn, config *ssh.ServerConfig) {
	defer func() { _ = connection.Close() }()
	session, channels, requests, err := ssh.NewServerConn(connection, config)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.logins++
	s.mu.Unlock()
	defer func() { _ = session.Close() }()

	var group sync.WaitGroup
	defer group.Wait()
	var places places
	group.Go(func() {
		for request := range requests {
			if s.options.Mute {
				continue
			}
			places.forget()
			if request.WantReply {
				_ = request.Reply(false, nil)
			}
		}
	})
	for offered := range channels {
		group.Go(func() { s.channel(offered, &places) })
	}
}

// places counts the sessions of a connection.
type places struct {
	mu           sync.Mutex
	open, closed int
}

// take reports whether there is room for a session, and counts it.
func (p *places) take(limit int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if limit > 0 && p.open+p.closed >= limit {
		return false
	}
	p.open++
	return true
}

func (p *places) leave()  { p.mu.Lock(); defer p.mu.Unlock(); p.open--; p.closed++ }
func (p *places) forget() { p.mu.Lock(); defer p.mu.Unlock(); p.closed = 0 }

func (s *Simulated) channel(offered ssh.NewChannel, places *places) {
	switch offered.ChannelType() {
	case "session":
		if !places.take(s.options.MaxSessions) {
			_ = offered.Reject(ssh.Prohibited, "open failed")
			return
		}
		defer places.leave()
		channel, requests, err := offered.Accept()
		if err == nil {
			s.session(channel, requests)
		}
	case "direct-tcpip":
		forward(offered)
	default:
		_ = offered.Reject(ssh.UnknownChannelType, "")
	}
}

// forward serves a bastion's one task.
func forward(offered ssh.NewChannel) {
	var target struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(offered.ExtraData(), &target); err != nil {
		_ = offered.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	connection, err := net.Dial("tcp", net.JoinHostPort(target.Host, strconv.Itoa(int(target.Port))))
	if err != nil {
		_ = offered.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	channel, requests, err := offered.Accept()
	if err != nil {
		_ = connection.Close()
		return
	}
	var group sync.WaitGroup
	group.Go(func() { ssh.DiscardRequests(requests) })
	group.Go(func() { _, _ = io.Copy(channel, connection); _ = channel.Close() })
	group.Go(func() { _, _ = io.Copy(connection, channel); _ = connection.Close() })
	group.Wait()
}

// session runs the one command of a session.
func (s *Simulated) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	s.running.Add(1)
	defer s.running.Add(-1)
	var command *exec.Cmd
	var running sync.WaitGroup
	for request := range requests {
		switch request.Type {
		case "exec":
			var wanted struct{ Line string }
			_ = ssh.Unmarshal(request.Payload, &wanted)
			command = s.command(wanted.Line, channel)
			stdin, err := command.StdinPipe()
			if err == nil {
				err = command.Start()
			}
			_ = request.Reply(err == nil, nil)
			if err != nil {
				_ = channel.Close()
				continue
			}
			running.Go(func() { _, _ = io.Copy(stdin, channel); _ = stdin.Close() })
			running.Go(func() { report(channel, command.Wait()) })
		case "signal":
			if command != nil && command.Process != nil {
				_ = syscall.Kill(-command.Process.Pid, syscall.SIGTERM)
			}
		default:
			if request.WantReply {
				_ = request.Reply(false, nil)
			}
		}
	}
	// The connection is gone. A real server leaves its commands to find that out; a test wants none to outlive it, also
	// below nohup, where they ignore a hangup.
	if command != nil && command.Process != nil {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
	}
	running.Wait()
}

func (s *Simulated) command(line string, channel ssh.Channel) *exec.Cmd {
	s.mu.Lock()
	s.lines = append(s.lines, line)
	s.mu.Unlock()
	if s.options.OnExec != nil {
		s.options.OnExec(line)
	}
	shell := s.options.Shell
	if shell == "" {
		shell = "/bin/sh"
	}
	command := exec.Command(shell, "-c", line)
	command.Stdout, command.Stderr = counted{channel, &s.printed}, counted{channel.Stderr(), &s.printed}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Env = os.Environ()
	if s.options.Path != "" {
		command.Env = append(command.Env, "PATH="+s.options.Path)
	}
	return command
}

// report tells the client how a command ended.
func report(channel ssh.Channel, err error) {
	defer func() { _ = channel.Close() }()
	var status *exec.ExitError
	switch {
	case err == nil:
		_, _ = channel.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, 0))
	case errors.As(err, &status) && status.Exited():
		_, _ = channel.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, uint32(status.ExitCode())))
	case errors.As(err, &status):
		type signalled struct {
			Signal  string
			Dumped  bool
			Message string
			Lang    string
		}
		_, _ = channel.SendRequest("exit-signal", false, ssh.Marshal(signalled{Signal: "TERM"}))
	}
}
