package spread

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/errclass"
)

// File is a file to receive.
type File struct {
	// Key names the file to the plugin.
	Key string
	// Size in bytes; not 0.
	Size int64
}

// Ask asks the plugin by a key and calls use with the answer. It is called by one goroutine at a time.
type Ask func(ctx context.Context, key string, use func(io.Reader) error) error

// Client is an operation's side: it receives files, one after another, and serves their pieces until it is closed.
type Client struct {
	// dir holds the files.
	dir string
	log io.Writer

	mu          sync.Mutex
	credentials *Credentials
	server      *server
	peers       *peers
	files       []*os.File
	closed      bool
}

// NewClient makes a client that keeps files in dir, which exists when a file is received, until it is closed. Nothing
// is opened before.
func NewClient(dir string, log io.Writer) *Client { return &Client{dir: dir, log: log} }

// Receive begins to receive a file, and returns a reader of it that waits for missing pieces. ask is used until
// the reader is closed. The file's whole digest is not known here and has to be verified by the caller; each piece is.
func (c *Client) Receive(ctx context.Context, ask Ask, want File) (io.ReadCloser, error) {
	if want.Size <= 0 {
		return nil, errclass.Errorf(errclass.Permanent, "receiving %q in pieces: its size is not known", want.Key)
	}
	r := &receiver{
		client: c, ask: ask, want: want, fetches: map[fetching]context.CancelFunc{}, changed: make(chan struct{}, 1),
	}
	answer, err := r.begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("receiving pieces: %w", err)
	}
	file, err := c.create(want)
	if err != nil {
		return nil, err
	}
	r.pieces = newPieces(file, want.Size, answer.PieceSize)
	running, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := r.run(running); err != nil {
			r.pieces.fail(fmt.Errorf("receiving pieces: %w", err))
		}
	}()
	return &reader{pieces: r.pieces, ctx: ctx, close: func() {
		if r.pieces.complete() {
			// Others wait for the last pieces, which the plugin may not know of yet.
			select {
			case <-ended:
			case <-time.After(reportTimeout):
			}
		}
		cancel()
		<-ended
	}}, nil
}

// reportTimeout bounds the wait for the last report to the plugin.
const reportTimeout = 5 * time.Second

// create makes the file's place. Its name is a digest of the key, so that no key leads elsewhere. A file of an earlier
// attempt is replaced.
func (c *Client) create(want File) (*os.File, error) {
	digest := sha256.Sum256([]byte(want.Key))
	path := filepath.Join(c.dir, hex.EncodeToString(digest[:])+".pieces")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing pieces of an earlier attempt: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making a file for pieces: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files = append(c.files, file)
	return file, nil
}

// use takes over the credentials of a run: a plugin that began anew has others, and pieces are served by these.
func (c *Client) use(credentials *Credentials) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	fetching, err := newPeers(credentials)
	if err != nil {
		return err
	}
	pieces := map[string]location{}
	if c.server != nil {
		pieces = c.server.close()
	}
	c.credentials, c.peers, c.server = credentials, fetching, nil
	serving, err := newServer(credentials, pieces)
	if err != nil {
		_, _ = fmt.Fprintf(c.log, "serving no pieces to other machines: %v\n", err)
		return nil
	}
	c.server = serving
	return nil
}

// port returns where pieces are served; 0 when they are not.
func (c *Client) port() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil {
		return 0
	}
	return c.server.port
}

// serve lets other machines have a piece.
func (c *Client) serve(digest string, at location) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil {
		c.server.add(digest, at)
	}
}

// fetcher returns the client for other machines.
func (c *Client) fetcher() *peers {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peers
}

// Close stops serving and removes the files.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	if c.server != nil {
		_ = c.server.close()
	}
	for _, file := range c.files {
		_ = file.Close()
		_ = os.Remove(file.Name())
	}
}
