package spread

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// pieces is a file that arrives in pieces, in any order, and is read from its start meanwhile.
type pieces struct {
	file      *os.File
	size      int64
	pieceSize int64

	mu      sync.Mutex
	changed *sync.Cond
	have    []bool
	missing int
	failed  error
}

func newPieces(file *os.File, size, pieceSize int64) *pieces {
	count := Pieces(size, pieceSize)
	p := &pieces{file: file, size: size, pieceSize: pieceSize, have: make([]bool, count), missing: count}
	p.changed = sync.NewCond(&p.mu)
	return p
}

// location returns where a piece is in the file.
func (p *pieces) location(piece int) location {
	return location{
		file: p.file, offset: int64(piece) * p.pieceSize, length: PieceLength(p.size, p.pieceSize, piece),
	}
}

// has reports whether a piece is there.
func (p *pieces) has(piece int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.have[piece]
}

// all returns the pieces that are there.
func (p *pieces) all() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []int
	for piece, has := range p.have {
		if has {
			all = append(all, piece)
		}
	}
	return all
}

// complete reports whether all pieces are there.
func (p *pieces) complete() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.missing == 0
}

// add writes a verified piece; added is false when it was there already.
func (p *pieces) add(piece int, content []byte) (added bool, err error) {
	if p.has(piece) {
		return false, nil
	}
	if _, err := p.file.WriteAt(content, p.location(piece).offset); err != nil {
		return false, fmt.Errorf("storing a piece: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.have[piece] {
		return false, nil
	}
	p.have[piece] = true
	p.missing--
	p.changed.Broadcast()
	return true, nil
}

// fail ends reads of pieces that are not there.
func (p *pieces) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil {
		p.failed = err
	}
	p.changed.Broadcast()
}

// reader reads the file from its start and waits for pieces.
type reader struct {
	pieces *pieces
	ctx    context.Context
	offset int64
	close  func()
}

// Read waits for the next piece. It fails when receiving did, or ctx ended.
func (r *reader) Read(to []byte) (int, error) {
	p := r.pieces
	if r.offset == p.size {
		return 0, io.EOF
	}
	piece := int(r.offset / p.pieceSize)
	if err := p.wait(r.ctx, piece); err != nil {
		return 0, err
	}
	at := p.location(piece)
	left := at.offset + at.length - r.offset
	n, err := p.file.ReadAt(to[:min(int64(len(to)), left)], r.offset)
	r.offset += int64(n)
	if errors.Is(err, io.EOF) && n > 0 {
		err = nil
	}
	return n, err
}

// Close ends receiving. Pieces that are there are served on.
func (r *reader) Close() error {
	r.close()
	return nil
}

// wait waits until a piece is there.
func (p *pieces) wait(ctx context.Context, piece int) error {
	stop := context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.changed.Broadcast()
	})
	defer stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.have[piece] {
		if p.failed != nil {
			return p.failed
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p.changed.Wait()
	}
	return nil
}
