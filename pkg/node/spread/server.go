package spread

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Bounds of serving.
const (
	// serveRate in bytes a second, to all machines together: half of a link of 1 Gbit/s is left to others.
	serveRate = 64 << 20
	// serveChunk is the number of bytes that are sent at once.
	serveChunk = 64 << 10
	// maxUploads is the number of pieces that are sent at a time. The plugin assigns fewer.
	maxUploads = 8
	// maxConnections bounds connections, also idle ones and those without a certificate.
	maxConnections = 128
)

// Timeouts of connections.
const (
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 30 * time.Second
	uploadTimeout    = 2 * time.Minute
)

// The protocol on a TLS connection: a request is a piece's digest and a new line; the answer is one of the bytes below,
// and after hasPiece the length in eight bytes, big endian, and the piece. Another request may follow. There is no more
// to parse, and nothing that could name a file.
const (
	hasPiece = 1 + iota
	hasNot
	isBusy
)

// requestSize is the length of a request, in bytes.
const requestSize = 2*sha256.Size + 1

// server serves verified pieces to machines of the run. It reads only pieces that were added to it.
type server struct {
	port     int
	listener net.Listener
	tls      *tls.Config
	limiter  limiter
	uploads  chan struct{}

	mu          sync.RWMutex
	pieces      map[string]location
	connections map[net.Conn]bool
	closed      bool
}

// location is where the bytes of a piece are.
type location struct {
	file   *os.File
	offset int64
	length int64
}

// newServer listens where the credentials tell and serves pieces, to which add adds, until close. Each connection needs
// a certificate of the run's authority.
func newServer(credentials *Credentials, pieces map[string]location) (*server, error) {
	identity, authority, err := credentials.parse()
	if err != nil {
		return nil, err
	}
	listener, err := listen(credentials)
	if err != nil {
		return nil, err
	}
	s := &server{
		listener: listener,
		limiter:  limiter{rate: serveRate}, uploads: make(chan struct{}, maxUploads),
		pieces: pieces, connections: map[net.Conn]bool{},
		tls: &tls.Config{
			Certificates: []tls.Certificate{identity}, ClientAuth: tls.RequireAndVerifyClientCert,
			ClientCAs: authority, MinVersion: tls.VersionTLS13,
		},
	}
	if address, ok := listener.Addr().(*net.TCPAddr); ok {
		s.port = address.Port
	}
	go s.accept()
	return s, nil
}

// accept serves connections until the listener is closed.
func (s *server) accept() {
	for {
		connection, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(acceptPause) // as without free descriptors
			continue
		}
		if !s.track(connection) {
			_ = connection.Close()
			continue
		}
		go func() {
			defer s.forget(connection)
			s.serve(tls.Server(connection, s.tls))
		}()
	}
}

// acceptPause is the time before the next attempt to accept a connection.
const acceptPause = 100 * time.Millisecond

// track notes an open connection; false once the server is closed, and where there are too many.
func (s *server) track(connection net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.connections) >= maxConnections {
		return false
	}
	s.connections[connection] = true
	return true
}

func (s *server) forget(connection net.Conn) {
	_ = connection.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.connections, connection)
}

// serve answers the requests of one connection, until it ends, sends something else, or is idle for too long.
func (s *server) serve(connection *tls.Conn) {
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(handshakeTimeout))
	if connection.Handshake() != nil {
		return
	}
	_ = connection.SetWriteDeadline(time.Time{})
	for {
		var request [requestSize]byte
		_ = connection.SetReadDeadline(time.Now().Add(idleTimeout))
		if _, err := io.ReadFull(connection, request[:]); err != nil || request[requestSize-1] != '\n' {
			return
		}
		_ = connection.SetWriteDeadline(time.Now().Add(uploadTimeout))
		if s.answer(connection, string(request[:requestSize-1])) != nil {
			return
		}
	}
}

// listen listens at the machine's address by which the others know it. A machine behind translated addresses does not
// have that one, and listens at all of its own.
func listen(credentials *Credentials) (*net.TCPListener, error) {
	at := &net.TCPAddr{IP: net.ParseIP(credentials.Host), Port: credentials.Port}
	listener, err := net.ListenTCP("tcp", at)
	if err != nil && at.IP != nil {
		at.IP = nil
		listener, err = net.ListenTCP("tcp", at)
	}
	if err != nil {
		return nil, fmt.Errorf("listening for other machines: %w", err)
	}
	return listener, nil
}

// parse returns the certificate with its key, and the authority.
func (c *Credentials) parse() (tls.Certificate, *x509.CertPool, error) {
	authority := x509.NewCertPool()
	ca, err := x509.ParseCertificate(c.CA)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("reading the run's authority: %w", err)
	}
	authority.AddCert(ca)
	if len(c.Key) != ed25519.SeedSize {
		return tls.Certificate{}, nil, errors.New("reading the key of the run's certificate: it has another length")
	}
	// tls.X509KeyPair reads keys of all kinds, whose code argosy-node does not need.
	return tls.Certificate{
		Certificate: [][]byte{c.Certificate}, PrivateKey: ed25519.NewKeyFromSeed(c.Key),
	}, authority, nil
}

// add lets the server serve a piece.
func (s *server) add(digest string, at location) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pieces[digest] = at
}

// close ends all connections and returns the pieces, which are not served any more.
func (s *server) close() map[string]location {
	_ = s.listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for connection := range s.connections {
		_ = connection.Close()
	}
	pieces := s.pieces
	s.pieces = map[string]location{}
	return pieces
}

// answer sends a piece, or that it cannot be had.
func (s *server) answer(w io.Writer, digest string) error {
	s.mu.RLock()
	at, known := s.pieces[digest]
	s.mu.RUnlock()
	if !known {
		_, err := w.Write([]byte{hasNot})
		return err
	}
	select {
	case s.uploads <- struct{}{}:
		defer func() { <-s.uploads }()
	default:
		_, err := w.Write([]byte{isBusy})
		return err
	}
	header := binary.BigEndian.AppendUint64([]byte{hasPiece}, uint64(at.length))
	if _, err := w.Write(header); err != nil {
		return err
	}
	return s.send(w, at)
}

// send sends the bytes of a piece within the rate. After an error the connection ends, which the receiver notices.
func (s *server) send(w io.Writer, at location) error {
	buffer := make([]byte, serveChunk)
	content := io.NewSectionReader(at.file, at.offset, at.length)
	for left := at.length; left > 0; {
		n, err := io.ReadFull(content, buffer[:min(left, serveChunk)])
		if err != nil {
			return err
		}
		s.limiter.wait(n)
		if _, err := w.Write(buffer[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

// limiter spaces the pieces of all connections together. golang.org/x/time/rate would do so too, and take more of
// the size that argosy-node may have.
type limiter struct {
	rate int // bytes a second

	mu   sync.Mutex
	free time.Time // when the line is free again
}

// wait waits until n bytes may be sent.
func (l *limiter) wait(n int) {
	l.mu.Lock()
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	begins := l.free
	l.free = l.free.Add(time.Duration(n) * time.Second / time.Duration(l.rate))
	l.mu.Unlock()
	time.Sleep(begins.Sub(now))
}
