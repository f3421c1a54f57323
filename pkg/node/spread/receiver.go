package spread

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"argosy.dev/argosy/pkg/errclass"
)

const (
	// maxFetches is the number of pieces that are fetched from other machines at a time.
	maxFetches = 4
	// maxAnswer bounds an Answer, in bytes.
	maxAnswer = 1 << 20
)

// receiver receives one file.
type receiver struct {
	client *Client
	ask    Ask
	want   File
	pieces *pieces

	mu      sync.Mutex
	news    Request // not reported yet
	fetches map[fetching]context.CancelFunc
	failed  error
	changed chan struct{}
	work    sync.WaitGroup
}

// fetching is a piece under way from another machine.
type fetching struct {
	piece int
	peer  string
}

// begin asks for the file's pieces and, the first time, for credentials.
func (r *receiver) begin(ctx context.Context) (Answer, error) {
	r.client.mu.Lock()
	first := r.client.credentials == nil
	r.client.mu.Unlock()
	answer, err := r.exchange(ctx, Request{File: r.want.Key, New: first, Port: r.client.port()})
	if err != nil {
		return answer, err
	}
	if answer.Unknown && !first {
		if answer, err = r.exchange(ctx, Request{File: r.want.Key, New: true}); err != nil {
			return answer, err
		}
	}
	return answer, r.check(answer)
}

// check returns an error for an answer that a machine must not follow.
func (r *receiver) check(answer Answer) error {
	switch {
	case answer.Size != r.want.Size:
		return errclass.Errorf(errclass.Permanent, "the file has size %d, and %d was asked for", answer.Size,
			r.want.Size)
	case answer.PieceSize <= 0 || answer.PieceSize > MaxPiece || Pieces(answer.Size, answer.PieceSize) > MaxPieces:
		return errclass.Errorf(errclass.Permanent, "pieces of %d bytes are refused", answer.PieceSize)
	}
	return nil
}

// exchange sends a request and decodes its answer. Credentials are taken over.
func (r *receiver) exchange(ctx context.Context, request Request) (Answer, error) {
	key, err := request.key()
	if err != nil {
		return Answer{}, err
	}
	var answer Answer
	err = r.ask(ctx, key, func(content io.Reader) error {
		text, err := io.ReadAll(io.LimitReader(content, maxAnswer+1))
		if err != nil {
			return err
		}
		answer = Answer{}
		if err := json.Unmarshal(text, &answer); err != nil {
			return fmt.Errorf("decoding an answer: %w", err)
		}
		return nil
	})
	if err == nil && answer.Credentials != nil {
		err = r.client.use(answer.Credentials)
	}
	return answer, err
}

// run receives all pieces and reports the last ones. A plugin that answers has no pieces to give for a while where many
// machines wait for it alone; one that does not is given up by ask.
func (r *receiver) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() { cancel(); r.work.Wait() }()
	for {
		if err := r.failure(); err != nil {
			return err
		}
		request, told := r.next()
		if told {
			return nil
		}
		if request == nil {
			select {
			case <-r.changed:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			continue
		}
		answer, err := r.exchange(ctx, *request)
		if err != nil {
			return err
		}
		if err := r.follow(ctx, answer); err != nil {
			return err
		}
	}
}

// next returns the next request, nil while there is none. told is set when all pieces are there and the
// plugin knows.
func (r *receiver) next() (request *Request, told bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	complete := r.pieces.complete()
	news := len(r.news.Have) > 0 || len(r.news.Failed) > 0
	if complete && !news {
		return nil, true
	}
	free := maxFetches - len(r.fetches)
	if free <= 0 && !news {
		return nil, false
	}
	ask := r.news
	ask.File, ask.Port, ask.Busy = r.want.Key, r.client.port(), len(r.fetches) > 0
	if !complete {
		ask.Free = max(free, 0)
	}
	r.news = Request{}
	return &ask, false
}

// follow carries out an answer.
func (r *receiver) follow(ctx context.Context, answer Answer) error {
	if answer.Unknown {
		r.mu.Lock()
		r.news = Request{New: true, Have: r.pieces.all()}
		r.mu.Unlock()
		return nil
	}
	if err := r.check(answer); err != nil {
		return err
	}
	for _, fetch := range answer.Fetch {
		if err := r.fetch(ctx, fetch); err != nil {
			return err
		}
	}
	if answer.Send == nil {
		return nil
	}
	return r.take(ctx, *answer.Send)
}

// take has the plugin send a piece.
func (r *receiver) take(ctx context.Context, piece int) error {
	if piece < 0 || piece >= len(r.pieces.have) {
		return errclass.Errorf(errclass.Permanent, "the plugin offers piece %d of %d", piece, len(r.pieces.have))
	}
	key, err := Request{File: r.want.Key, Piece: &piece}.key()
	if err != nil {
		return err
	}
	content := make([]byte, r.pieces.location(piece).length)
	err = r.ask(ctx, key, func(from io.Reader) error {
		if _, err := io.ReadFull(from, content); err != nil {
			return fmt.Errorf("piece %d: %w", piece, err)
		}
		// The rest is the end mark.
		_, err := io.Copy(io.Discard, from)
		return err
	})
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = errclass.With(errclass.Transient, err)
	}
	if err != nil {
		return err
	}
	return r.store(piece, digestOf(content), content)
}

// store keeps a verified piece, serves it, and cancels other fetches of it.
func (r *receiver) store(piece int, digest string, content []byte) error {
	added, err := r.pieces.add(piece, content)
	if err != nil || !added {
		return err
	}
	r.client.serve(digest, r.pieces.location(piece))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.news.Have = append(r.news.Have, piece)
	for other, cancel := range r.fetches {
		if other.piece == piece {
			cancel()
		}
	}
	return nil
}

// fetch begins to fetch a piece from another machine.
func (r *receiver) fetch(ctx context.Context, from Fetch) error {
	if from.Piece < 0 || from.Piece >= len(r.pieces.have) {
		return errclass.Errorf(errclass.Permanent, "the plugin assigns piece %d of %d", from.Piece, len(r.pieces.have))
	}
	under := fetching{from.Piece, from.Peer}
	ctx, cancel := context.WithCancel(ctx)
	r.mu.Lock()
	_, twice := r.fetches[under]
	if !twice {
		r.fetches[under] = cancel
	}
	r.mu.Unlock()
	if twice {
		cancel()
		return nil
	}
	r.work.Go(func() {
		defer cancel()
		content, err := r.client.fetcher().fetch(ctx, from, r.pieces.location(from.Piece).length)
		var disk error
		if err == nil {
			disk = r.store(from.Piece, from.SHA256, content)
		}
		r.ended(under, err, disk)
	})
	return nil
}

// ended notes how a fetch ended, and wakes run. One that was cancelled since the piece came from elsewhere is none.
func (r *receiver) ended(under fetching, err, disk error) {
	r.mu.Lock()
	delete(r.fetches, under)
	if disk != nil {
		r.failed = disk
	}
	if err != nil && !r.pieces.has(under.piece) {
		r.news.Failed = append(r.news.Failed, Failed{under.piece, under.peer, errors.Is(err, errCorrupt)})
		_, _ = fmt.Fprintf(r.client.log, "piece %d from machine %s: %v\n", under.piece, under.peer, err)
	}
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// failure returns the error that ends receiving.
func (r *receiver) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}
