package spread

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	node "argosy.dev/argosy/pkg/node/spread"
)

// How long a request waits for pieces that can be had. One of a machine that still gets some comes back soon, since it
// then has pieces that others wait for.
const (
	idleWait = 2 * time.Second
	busyWait = 200 * time.Millisecond
)

// Open answers a machine's requests for pieces, and opens everything else as the function that Enter got. A machine
// is fed with it.
func (s *Session) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	request, isRequest, err := node.ParseKey(key)
	switch {
	case err != nil:
		return nil, errclass.With(errclass.Permanent, err)
	case !isRequest:
		return s.open(ctx, key)
	}
	s.tracker.mu.Lock()
	f := s.tracker.files[request.File]
	s.tracker.mu.Unlock()
	if f == nil {
		return nil, errclass.Errorf(errclass.Transient, "opening %q in pieces: this plugin did not offer it to the "+
			"machine; the next attempt inspects the machine again", request.File)
	}
	if request.Piece != nil {
		return s.send(f, *request.Piece)
	}
	answer, err := s.answer(ctx, f, request)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return nil, fmt.Errorf("encoding an answer: %w", err)
	}
	return io.NopCloser(bytes.NewReader(text)), nil
}

// answer takes over the news of a machine, and waits for pieces that it can have.
func (s *Session) answer(ctx context.Context, f *file, request node.Request) (node.Answer, error) {
	answer := node.Answer{Size: f.size, PieceSize: f.pieceSize}
	t, m := s.tracker, s.member
	wait := idleWait
	if request.Busy {
		wait = busyWait
	}
	until := time.After(wait)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !m.registered && !request.New {
		answer.Unknown = true
		return answer, nil
	}
	t.note(m, f, request)
	if request.New {
		credentials, err := t.credentials(m)
		if err != nil {
			return answer, err
		}
		m.registered, answer.Credentials = true, credentials
	}
	for request.Free > 0 {
		answer.Fetch, answer.Send = t.assign(m, f, min(request.Free, maxFetches-len(m.transfers)), time.Now())
		if len(answer.Fetch) > 0 || answer.Send != nil {
			return answer, nil
		}
		changed := t.waiting()
		t.mu.Unlock()
		ended := false
		select {
		case <-changed:
		case <-until:
			ended = true
		case <-ctx.Done():
			ended = true
		}
		t.mu.Lock()
		if ended {
			break
		}
	}
	return answer, nil
}

// send reads a piece, notes its digest, and returns it.
func (s *Session) send(f *file, piece int) (io.ReadCloser, error) {
	if piece < 0 || piece >= len(f.digests) {
		return nil, errclass.Errorf(errclass.Permanent, "opening piece %d of %q: it has %d", piece, f.key,
			len(f.digests))
	}
	content, err := f.source.read(int64(piece)*f.pieceSize, node.PieceLength(f.size, f.pieceSize, piece))
	t := s.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.ended(f, piece, s.member)
		t.wake()
		return nil, fmt.Errorf("sending piece %d: %w", piece, err)
	}
	digest := digestOf(content)
	if f.digests[piece] != "" && f.digests[piece] != digest {
		t.ended(f, piece, s.member)
		t.wake()
		return nil, errclass.Errorf(errclass.Transient, "sending piece %d of %q: its source changed meanwhile", piece,
			f.key)
	}
	f.digests[piece] = digest
	t.sent += int64(len(content))
	if piece == len(f.digests)-1 {
		go f.source.end(f.size)
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}
