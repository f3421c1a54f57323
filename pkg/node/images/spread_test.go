package images

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/spec"
	nodespread "argosy.dev/argosy/pkg/node/spread"
	"argosy.dev/argosy/pkg/spread"
)

// spreading is a context of an operation that spreads, fed by a plugin with the run's tracker.
func (m *machine) spreading(tracker *spread.Tracker, name string, offered map[string][]byte) *node.Context {
	session := tracker.Enter(nil, spread.Machine{Name: name, Address: "127.0.0.1"},
		func(_ context.Context, key string) (io.ReadCloser, error) {
			return nil, errors.New("asked for " + key + " as a whole")
		})
	for key, content := range offered {
		session.Offer(key, int64(len(content)), func(_ context.Context, offset int64) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(string(content[offset:]))), nil
		})
	}
	m.feed(session.Open)
	c := m.context()
	c.Spread = nodespread.NewClient(m.host.Path(spec.BundlesDir), &m.log)
	m.t.Cleanup(c.Spread.Close)
	return c
}

func TestArchivesComeInPiecesThroughAnotherMachine(t *testing.T) {
	archives := map[string][]byte{
		"a": archiveOf(t, "registry.example.org/a:v1"), "b": archiveOf(t, "registry.example.org/b:v1"),
	}
	var sources []spec.ImageSource
	var size int64
	for key, content := range archives {
		source := sent(key)
		source.Sent.Size, source.Sent.SHA256 = int64(len(content)), digestOf(content)
		sources = append(sources, source)
		size += source.Sent.Size
	}
	tracker := &spread.Tracker{}
	for _, name := range []string{"m1", "m2", "m3"} {
		m := newMachine(t)
		c := m.spreading(tracker, name, archives)
		_, err := Apply(t.Context(), c, bin, sources)
		assert.NilError(t, err, "%s", m.log.String())
		assert.Equal(t, len(m.has), 2)
		assert.Equal(t, tracker.Sent(), size, "the plugin sends them once")
		kept, err := filepath.Glob(m.host.Path(spec.BundlesDir) + "/*")
		assert.NilError(t, err)
		assert.Equal(t, len(kept), 2, "they are served until the operation ends")
		defer func() {
			c.Spread.Close()
			kept, err := filepath.Glob(m.host.Path(spec.BundlesDir) + "/*")
			assert.NilError(t, err)
			assert.Equal(t, len(kept), 0, "%v", kept)
		}()
	}
}

func TestArchiveInPiecesWithAnotherDigestLeavesNoImage(t *testing.T) {
	m := newMachine(t)
	archive := archiveOf(t, "registry.example.org/a:v1")
	source := sent("a")
	source.Sent.Size, source.Sent.SHA256 = int64(len(archive)), digestOf([]byte("another"))
	c := m.spreading(&spread.Tracker{}, "m1", map[string][]byte{"a": archive})
	_, err := Apply(t.Context(), c, bin, []spec.ImageSource{source})
	assert.ErrorContains(t, err, "its sha256 is ")
	assert.Equal(t, len(m.has), 0)
}

func TestConnectionThatIsLostBetweenPiecesIsMadeAgain(t *testing.T) {
	m := newMachine(t)
	archive := archiveOf(t, "registry.example.org/a:v1")
	source := sent("a")
	source.Sent.Size = int64(len(archive))
	tracker := &spread.Tracker{}
	session := tracker.Enter(nil, spread.Machine{Name: "m1", Address: "127.0.0.1"}, nil)
	session.Offer("a", int64(len(archive)), func(context.Context, int64) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(string(archive))), nil
	})
	lost := make(chan struct{})
	var cut func()
	cut = m.feed(func(ctx context.Context, key string) (io.ReadCloser, error) {
		if request, _, _ := nodespread.ParseKey(key); request.Piece != nil {
			cut()
			close(lost)
			<-t.Context().Done() // nothing of the answer arrives
			return nil, ctx.Err()
		}
		return session.Open(ctx, key)
	})
	c := m.context()
	c.Spread = nodespread.NewClient(m.host.Path(spec.BundlesDir), &m.log)
	defer c.Spread.Close()
	applied := make(chan error, 1)
	go func() {
		_, err := Apply(t.Context(), c, bin, []spec.ImageSource{source})
		applied <- err
	}()
	<-lost
	m.feed(session.Open)
	assert.NilError(t, <-applied)
	assert.Equal(t, len(m.has), 1)
}

func TestArchiveWithoutSizeIsStreamed(t *testing.T) {
	m := newMachine(t)
	c := m.context()
	c.Spread = nodespread.NewClient(m.host.Path(spec.BundlesDir), &m.log)
	defer c.Spread.Close()
	archive := archiveOf(t, "registry.example.org/a:v1")
	m.feed((&library{archives: map[string]func(context.Context) io.Reader{"a": whole(archive)}}).open)
	_, err := Apply(t.Context(), c, bin, []spec.ImageSource{sent("a")})
	assert.NilError(t, err)
	_, err = os.Stat(m.host.Path(spec.BundlesDir))
	assert.ErrorIs(t, err, os.ErrNotExist)
}
