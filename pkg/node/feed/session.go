package feed

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// ErrLost is the error when the connection ended, or was silent for too long, before the archive ended. Another
// connection may have it.
var ErrLost = errors.New("the connection that brought it was lost")

// silence is the time without new bytes after which a connection counts as lost.
const silence = 2 * time.Minute

// Session is the operation's side of one connection. It is used by one goroutine; only Close may be called by others.
type Session struct {
	in, out  *os.File
	buffered *bufio.Reader
	// left is the number of bytes left of the present frame; open is set while an archive is read.
	left uint32
	open bool
	shut func()
}

// newSession reads frames from in and writes requests to out; over is called once when it is closed.
func newSession(in, out *os.File, over func()) *Session {
	s := &Session{in: in, out: out, buffered: bufio.NewReaderSize(in, 4<<10)}
	s.shut = sync.OnceFunc(func() {
		_ = in.Close()
		_ = out.Close()
		over()
	})
	return s
}

// Close ends the connection. A Read under way fails.
func (s *Session) Close() { s.shut() }

// Ask begins an archive. The rest of the one before it is read and dropped.
func (s *Session) Ask(key string) error {
	line, err := json.Marshal(request{key})
	if err != nil {
		return fmt.Errorf("asking for archive %q: %w", key, err)
	}
	if _, err := s.out.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("asking for archive %q: %w: %w", key, ErrLost, err)
	}
	if s.open {
		if _, err := io.Copy(io.Discard, s); errors.Is(err, ErrLost) {
			return err
		}
	}
	s.open = true
	return nil
}

// Read reads the archive that was asked for last. io.EOF is its true end; a *Failure is the sender's error, after which
// no more of the archive comes; ErrLost is everything else.
func (s *Session) Read(p []byte) (int, error) {
	if !s.open {
		return 0, io.EOF
	}
	_ = s.in.SetReadDeadline(time.Now().Add(silence)) // a file that knows no deadlines ends by the operation's own
	if s.left == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n, err := s.buffered.Read(p[:min(len(p), int(s.left))])
	s.left -= uint32(n)
	if err != nil {
		return n, lost(err)
	}
	return n, nil
}

// next reads a frame's header.
func (s *Session) next() error {
	var header [headerSize]byte
	if _, err := io.ReadFull(s.buffered, header[:]); err != nil {
		return lost(err)
	}
	switch length := binary.BigEndian.Uint32(header[:]); length {
	case lengthEnd:
		s.open = false
		return io.EOF
	case lengthFailed:
		return s.failed()
	default:
		s.left = length
		return nil
	}
}

func (s *Session) failed() error {
	var header [headerSize]byte
	if _, err := io.ReadFull(s.buffered, header[:]); err != nil {
		return lost(err)
	}
	length := binary.BigEndian.Uint32(header[:])
	if length > maxReason {
		return lost(fmt.Errorf("the failure text of %d bytes is too long", length))
	}
	reason := make([]byte, length)
	if _, err := io.ReadFull(s.buffered, reason); err != nil {
		return lost(err)
	}
	s.open = false
	return decodeFailure(reason)
}

func lost(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: no bytes for %s", ErrLost, silence)
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}
