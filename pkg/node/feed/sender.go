package feed

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"argosy.dev/argosy/pkg/errclass"
)

// Open opens an archive by its key.
type Open func(ctx context.Context, key string) (io.ReadCloser, error)

// Sender is the plugin's side of one connection: requests are written to it, and answers are read from it. It buffers
// nothing of an archive and copies nothing.
type Sender struct {
	ctx  context.Context
	open Open

	requests chan string
	rest     []byte // of a line of requests that is not whole yet

	mu      sync.Mutex
	archive io.ReadCloser // nil when none is under way
	next    *string       // asked for while archive was under way
	pending bytes.Buffer  // frames that are ready
}

// NewSender makes a Sender that opens archives with open. It ends when ctx does.
func NewSender(ctx context.Context, open Open) *Sender {
	// An operation asks for the next archive when it is done with one; only a faulty one asks for more.
	return &Sender{ctx: ctx, open: open, requests: make(chan string, 16)}
}

// maxRequest is the longest request, in bytes: a key holds a path at most.
const maxRequest = 64 << 10

// Write takes requests, a line each. An error ends the connection.
func (s *Sender) Write(p []byte) (int, error) {
	s.rest = append(s.rest, p...)
	for {
		line, rest, found := bytes.Cut(s.rest, []byte("\n"))
		if len(line) > maxRequest {
			return 0, fmt.Errorf("reading a request for an archive: it has more than %d bytes", maxRequest)
		}
		if !found {
			return len(p), nil
		}
		s.rest = rest
		var asked request
		if err := json.Unmarshal(line, &asked); err != nil || asked.Key == "" {
			return len(p), fmt.Errorf("reading a request for an archive: unknown request %q",
				line[:min(len(line), 200)])
		}
		select {
		case s.requests <- asked.Key:
		case <-s.ctx.Done():
			return len(p), context.Cause(s.ctx)
		}
	}
}

// minRead is the least size of a Read: a frame's header and some content.
const minRead = 512

// Read returns the next part of the answers. It waits for a request, and ends with ctx.
func (s *Sender) Read(p []byte) (int, error) {
	if len(p) < minRead {
		return 0, fmt.Errorf("sending an archive: %w", io.ErrShortBuffer)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.pending.Len() > 0 {
			return s.pending.Read(p)
		}
		if s.archive == nil {
			if err := s.begin(); err != nil {
				return 0, err
			}
			continue
		}
		if s.overtaken() {
			s.end(failureFrames(errclass.With(errclass.Transient, errors.New("another archive was asked for"))))
			continue
		}
		n, err := s.archive.Read(p[headerSize:])
		switch {
		case errors.Is(err, io.EOF):
			s.end(binary.BigEndian.AppendUint32(nil, lengthEnd))
		case err != nil:
			s.end(failureFrames(err))
		}
		if n > 0 {
			binary.BigEndian.PutUint32(p, uint32(n))
			return headerSize + n, nil
		}
	}
}

// begin opens the next archive, or queues the failure to do so.
func (s *Sender) begin() error {
	key := s.next
	if s.next = nil; key == nil {
		select {
		case asked := <-s.requests:
			key = &asked
		case <-s.ctx.Done():
			return io.EOF
		}
	}
	archive, err := s.open(s.ctx, *key)
	if err != nil {
		s.pending.Write(failureFrames(err))
		return nil
	}
	s.archive = archive
	return nil
}

// overtaken reports whether the operation has asked for another archive meanwhile.
func (s *Sender) overtaken() bool {
	select {
	case asked := <-s.requests:
		s.next = &asked
		return true
	default:
		return s.ctx.Err() != nil
	}
}

func (s *Sender) end(frames []byte) {
	s.drop()
	s.pending.Write(frames)
}

func (s *Sender) drop() {
	if s.archive != nil {
		_ = s.archive.Close()
		s.archive = nil
	}
}

// Close closes the open archive. Its context should have ended before, or a Read under way is waited for.
func (s *Sender) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
}
