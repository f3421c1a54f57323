package images

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/feed"
	"argosy.dev/argosy/pkg/node/spec"
)

// feeds connects a sender to the machine's operation, as `argosy-node feed` does over SSH, until the test ends or cut
// is called.
func (m *machine) feed(open feed.Open) (cut func()) {
	engine := &node.Engine{Host: m.host, Store: node.NewStore(m.host)}
	assert.NilError(m.t, engine.Store.Prepare("images-1"))
	assert.NilError(m.t, engine.Store.WriteStatus(&spec.Status{ID: "images-1", State: spec.Running}))
	answersIn, answersOut, err := os.Pipe()
	assert.NilError(m.t, err)
	requestsIn, requestsOut, err := os.Pipe()
	assert.NilError(m.t, err)
	ctx, cancel := context.WithCancel(m.t.Context())
	sender := feed.NewSender(ctx, open)
	go func() { _, _ = io.Copy(sender, requestsIn) }()
	go func() {
		_, _ = io.CopyBuffer(struct{ io.Writer }{answersOut}, struct{ io.Reader }{sender}, make([]byte, 1024))
		_ = answersOut.Close()
	}()
	go func() {
		_ = HandOver(ctx, engine, "images-1", answersIn, requestsOut)
		_ = answersIn.Close()
		_ = requestsOut.Close()
	}()
	m.t.Cleanup(cancel)
	return cancel
}

// library opens archives by key, and counts how often.
type library struct {
	archives map[string]func(ctx context.Context) io.Reader
	opened   atomic.Int32
}

func (l *library) open(ctx context.Context, key string) (io.ReadCloser, error) {
	l.opened.Add(1)
	archive, found := l.archives[key]
	if !found {
		return nil, errclass.With(errclass.Configuration, errors.New("404 Not Found"))
	}
	return io.NopCloser(archive(ctx)), nil
}

func whole(content []byte) func(context.Context) io.Reader {
	return func(context.Context) io.Reader { return strings.NewReader(string(content)) }
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestWhatThePluginSendsIsImported(t *testing.T) {
	m := newMachine(t)
	a, b := archiveOf(t, "registry.example.org/a:v1"), gzipped(t, archiveOf(t, "registry.example.org/b:v1"))
	shelf := &library{archives: map[string]func(context.Context) io.Reader{"a": whole(a), "b": whole(b)}}
	m.feed(shelf.open)
	vouched := sent("b")
	vouched.Sent.SHA256 = digestOf(b)
	_, err := m.apply(sent("a"), vouched)
	assert.NilError(t, err)
	assert.Equal(t, len(m.has), 2)
	assert.Equal(t, m.remembers()["a"].Name, "https://files.example.com/a")

	detail, err := m.apply(sent("a"), vouched)
	assert.NilError(t, err, "nobody feeds any more, and nothing is asked for")
	assert.Equal(t, detail, "nothing was imported")
	assert.Equal(t, shelf.opened.Load(), int32(2))
	_, err = os.Stat(m.host.Path(filepath.Join(spec.OperationsDir, "images-1", spec.FeedSocket)))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestAnArchiveWithAnotherDigestLeavesNoImage(t *testing.T) {
	m := newMachine(t)
	archive := archiveOf(t, "registry.example.org/a:v1")
	// The bytes after the end mark belong to the archive as well, though the runtime never sees them.
	shelf := &library{archives: map[string]func(context.Context) io.Reader{
		"a":    whole(append(archive, "more"...)),
		"good": whole(archiveOf(t, "registry.example.org/good:v1")),
	}}
	m.feed(shelf.open)
	source := sent("a")
	source.Sent.SHA256 = digestOf(archive)
	_, err := m.apply(source, sent("good"))
	assert.ErrorContains(t, err, "https://files.example.com/a: its sha256 is ")
	assert.ErrorContains(t, err, "1 of 2 archives imported")
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
	assert.Assert(t, m.has["registry.example.org/a:v1"] == "" && m.has["registry.example.org/good:v1"] != "", "%v",
		m.has)
}

func TestFailedArchivesAreNamedAndOthersImported(t *testing.T) {
	m := newMachine(t)
	good := archiveOf(t, "registry.example.org/good:v1")
	broken := func(context.Context) io.Reader {
		return io.MultiReader(strings.NewReader(string(good[:3000])), readerFunc(func([]byte) (int, error) {
			return 0, errclass.With(errclass.Transient, errors.New("the server has stopped sending"))
		}))
	}
	shelf := &library{archives: map[string]func(context.Context) io.Reader{"broken": broken, "good": whole(good)}}
	m.feed(shelf.open)
	_, err := m.apply(sent("none"), sent("broken"), sent("good"))
	assert.ErrorContains(t, err, "https://files.example.com/none: ")
	assert.ErrorContains(t, err, "404 Not Found")
	assert.ErrorContains(t, err, "https://files.example.com/broken: reading it: the server has stopped sending")
	assert.Assert(t, errclass.IsTransient(err), "one of them may pass")
	assert.Equal(t, len(m.has), 1)
}

func TestAnArchiveWhoseConnectionWasLostComesAgain(t *testing.T) {
	m := newMachine(t)
	archive := archiveOf(t, "registry.example.org/a:v1")
	half := make(chan struct{})
	hangs := func(ctx context.Context) io.Reader {
		return io.MultiReader(strings.NewReader(string(archive[:4096])), readerFunc(func([]byte) (int, error) {
			close(half)
			<-ctx.Done()
			return 0, io.EOF
		}))
	}
	cut := m.feed((&library{archives: map[string]func(context.Context) io.Reader{"a": hangs}}).open)
	applied := make(chan error, 1)
	go func() {
		_, err := m.apply(sent("a"))
		applied <- err
	}()
	<-half
	cut()
	m.feed((&library{archives: map[string]func(context.Context) io.Reader{"a": whole(archive)}}).open)
	assert.NilError(t, <-applied)
	assert.Equal(t, len(m.has), 1)
}

func TestOperationWithoutSenderFailsAsTransient(t *testing.T) {
	m := newMachine(t)
	c := m.context()
	listening, err := listen(c)
	assert.NilError(t, err)
	defer listening.close()
	listening.patience = 10 * time.Millisecond
	w := &work{context: c, into: bin, known: record{}, feeds: listening, importArgs: func() []string { return nil }}
	err = w.importOne(t.Context(), archives(m.host, []spec.ImageSource{sent("a")})[0], "a")
	assert.ErrorIs(t, err, errNoSender)
	assert.Assert(t, errclass.IsTransient(err))
}

func TestACancelledImportEndsAtOnceAndLeavesNoImage(t *testing.T) {
	m := newMachine(t)
	archive := archiveOf(t, "registry.example.org/a:v1")
	half := make(chan struct{})
	hangs := func(ctx context.Context) io.Reader {
		return io.MultiReader(strings.NewReader(string(archive[:4096])), readerFunc(func([]byte) (int, error) {
			close(half)
			<-ctx.Done()
			return 0, io.EOF
		}))
	}
	m.feed((&library{archives: map[string]func(context.Context) io.Reader{"a": hangs}}).open)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-half
		cancel(node.ErrCancelled)
	}()
	_, err := Apply(ctx, m.context(), bin, []spec.ImageSource{sent("a"), sent("b")})
	assert.ErrorIs(t, err, node.ErrCancelled)
	assert.Equal(t, len(m.has), 0)
}

func TestHandOverReturnsWhenOperationHasEnded(t *testing.T) {
	m := newMachine(t)
	engine := &node.Engine{Host: m.host, Store: node.NewStore(m.host)}
	assert.NilError(t, engine.Store.Prepare("images-1"))
	assert.NilError(t, engine.Store.WriteStatus(&spec.Status{ID: "images-1", State: spec.Succeeded}))
	in, out, err := os.Pipe()
	assert.NilError(t, err)
	defer in.Close()
	defer out.Close()
	assert.NilError(t, HandOver(t.Context(), engine, "images-1", in, out))
	assert.ErrorContains(t, HandOver(t.Context(), engine, "images-2", in, out), "images-2")
	assert.ErrorContains(t, HandOver(t.Context(), engine, "../x", in, out), "lower case")

	assert.NilError(t, engine.Store.WriteStatus(&spec.Status{ID: "images-1", State: spec.Running}))
	assert.NilError(t, out.Close())
	assert.NilError(t, HandOver(t.Context(), engine, "images-1", in, in), "whoever called has gone")
}
