package spread

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	node "argosy.dev/argosy/pkg/node/spread"
)

// Sizes of pieces: small ones travel on sooner, large ones cost fewer requests.
const (
	minPiece = 256 << 10
	// wantedPieces is how many pieces a file has, while their size is in its bounds.
	wantedPieces = 128
)

// file is a file that machines get in pieces. Its fields are guarded by the Tracker's mu, but for source.
type file struct {
	key             string
	size, pieceSize int64
	// digests of pieces, hex; "" for those that were not read yet.
	digests []string
	// holders are the machines that verified a piece.
	holders []map[*member]bool
	// sending is set for pieces under way from the plugin.
	sending []*sending
	source  source
}

// sending is a piece under way from the plugin.
type sending struct {
	to    *member
	since time.Time
}

func newFile(key string, size int64, open Open) *file {
	pieceSize := int64(minPiece)
	for pieceSize < node.MaxPiece && size/pieceSize > wantedPieces {
		pieceSize *= 2
	}
	count := node.Pieces(size, pieceSize)
	f := &file{
		key: key, size: size, pieceSize: pieceSize, digests: make([]string, count),
		holders: make([]map[*member]bool, count), sending: make([]*sending, count),
		source: source{key: key, open: open, pieceSize: pieceSize},
	}
	for piece := range f.holders {
		f.holders[piece] = map[*member]bool{}
	}
	return f
}

// source reads a file, mostly in order: the next piece needs no new request.
type source struct {
	key       string
	open      Open
	pieceSize int64

	mu     sync.Mutex
	stream io.ReadCloser
	offset int64
	cancel context.CancelFunc
	// ahead has pieces by their offset that were read since a later one was asked for first.
	ahead map[int64][]byte
}

// sourceIdle is how long a read of a source may take.
const sourceIdle = time.Minute

// read returns the piece at offset. It is not cancelled with one machine's session, since the stream is for all.
func (s *source) read(offset, length int64) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if content := s.ahead[offset]; content != nil {
		delete(s.ahead, offset)
		return content, nil
	}
	if s.stream == nil || offset < s.offset || offset-s.offset > maxSends*s.pieceSize {
		if err := s.reopen(offset); err != nil {
			return nil, err
		}
	}
	for s.offset < offset { // both are at the start of a piece
		at := s.offset
		content, err := s.next(s.pieceSize)
		if err != nil {
			return nil, err
		}
		if len(s.ahead) < maxSends {
			s.ahead[at] = content
		}
	}
	return s.next(length)
}

// reopen opens the source at offset. The caller holds mu.
func (s *source) reopen(offset int64) error {
	s.close()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := s.open(ctx, offset)
	if err != nil {
		cancel()
		return err
	}
	s.stream, s.offset, s.cancel, s.ahead = stream, offset, cancel, map[int64][]byte{}
	return nil
}

// next reads the next bytes. The caller holds mu.
func (s *source) next(length int64) ([]byte, error) {
	idle := time.AfterFunc(sourceIdle, s.cancel)
	defer idle.Stop()
	content := make([]byte, length)
	n, err := io.ReadFull(s.stream, content)
	s.offset += int64(n)
	if err == nil {
		return content, nil
	}
	ended := s.offset
	s.close()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errclass.With(errclass.Transient, fmt.Errorf("it ended at byte %d", ended))
	}
	return nil, fmt.Errorf("reading %q: %w", s.key, err)
}

// close ends the stream. The caller holds mu.
func (s *source) close() {
	if s.stream == nil {
		return
	}
	_ = s.stream.Close()
	s.cancel()
	s.stream = nil
}

// end ends the stream when the file was read whole.
func (s *source) end(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.offset == size {
		s.close()
	}
}

// digestOf returns the SHA-256 of a piece, hex.
func digestOf(piece []byte) string {
	digest := sha256.Sum256(piece)
	return hex.EncodeToString(digest[:])
}
