package bundle

import (
	"io"
	"sync"
)

// ahead reads from another reader in a goroutine of its own, so that producing and consuming bytes overlap.
type ahead struct {
	full, empty chan []byte
	stop        chan struct{}
	once        sync.Once
	done        chan struct{}
	err         error // set before full is closed

	current, rest []byte
}

// readAhead starts reading r in blocks of size bytes, at most count of them ahead of the consumer. Close ends the
// goroutine, once a Read of r that is under way has returned.
func readAhead(r io.Reader, size, count int) *ahead {
	a := &ahead{
		full:  make(chan []byte, count),
		empty: make(chan []byte, count),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	for range count {
		a.empty <- make([]byte, size)
	}
	go a.fill(r)
	return a
}

func (a *ahead) fill(r io.Reader) {
	defer close(a.done)
	defer close(a.full)
	for {
		var block []byte
		select {
		case block = <-a.empty:
		case <-a.stop:
			a.err = io.ErrClosedPipe
			return
		}
		n, err := r.Read(block[:cap(block)])
		if n > 0 {
			// Never blocks: there are as many places as blocks.
			a.full <- block[:n]
		} else {
			a.empty <- block
		}
		if err != nil {
			a.err = err
			return
		}
	}
}

// Read gives the bytes in order, then the underlying reader's error.
func (a *ahead) Read(p []byte) (int, error) {
	if len(a.rest) == 0 {
		if a.current != nil {
			a.empty <- a.current
			a.current = nil
		}
		block, ok := <-a.full
		if !ok {
			return 0, a.err
		}
		a.current, a.rest = block, block
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// Close ends reading and waits for the goroutine.
func (a *ahead) Close() {
	a.once.Do(func() { close(a.stop) })
	<-a.done
}
