package feed

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
)

// connection is an operation's session and, in place of SSH, two pipes to a sender. cut ends it as a lost line does.
type connection struct {
	*Session
	cut func()
}

func connect(t *testing.T, open Open) connection {
	t.Helper()
	answersIn, answersOut := pipe(t)
	requestsIn, requestsOut := pipe(t)
	ctx, cancel := context.WithCancel(t.Context())
	sender := NewSender(ctx, open)
	go func() { _, _ = io.Copy(sender, requestsIn) }()
	go func() {
		_, _ = io.CopyBuffer(struct{ io.Writer }{answersOut}, struct{ io.Reader }{sender}, make([]byte, 4<<10))
		_ = answersOut.Close()
	}()
	session := newSession(answersIn, requestsOut, func() {})
	t.Cleanup(func() { cancel(); session.Close(); sender.Close() })
	return connection{session, cancel}
}

func pipe(t *testing.T) (in, out *os.File) {
	t.Helper()
	in, out, err := os.Pipe()
	assert.NilError(t, err)
	t.Cleanup(func() { _ = in.Close(); _ = out.Close() })
	return in, out
}

// library opens archives by name.
type library map[string]io.Reader

func (l library) open(_ context.Context, key string) (io.ReadCloser, error) {
	content, found := l[key]
	if !found {
		return nil, errclass.Errorf(errclass.Configuration, "there is no %s", key)
	}
	return io.NopCloser(content), nil
}

// broken gives some bytes and then an error.
func broken(bytes string, err error) io.Reader {
	return io.MultiReader(strings.NewReader(bytes), readerFunc(func([]byte) (int, error) { return 0, err }))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestArchivesComeOneAfterAnotherAsTheyAreAskedFor(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789"), 100_000)
	c := connect(t, library{
		"small": strings.NewReader("a"), "large": bytes.NewReader(large),
		"empty": strings.NewReader(""),
	}.open)
	for key, want := range map[string][]byte{"large": large, "small": []byte("a"), "empty": {}} {
		assert.NilError(t, c.Ask(key))
		got, err := io.ReadAll(c)
		assert.NilError(t, err)
		assert.Assert(t, bytes.Equal(got, want), "%s came with %d bytes", key, len(got))
		n, err := c.Read(make([]byte, 10))
		assert.Assert(t, n == 0 && errors.Is(err, io.EOF), "%d %v", n, err)
	}
}

func TestFailedArchiveHasReasonAndNextArrives(t *testing.T) {
	lost := errclass.With(errclass.Transient, errors.New("the server has stopped sending"))
	c := connect(t, library{"cut": broken("half", lost), "good": strings.NewReader("all of it")}.open)

	assert.NilError(t, c.Ask("none"))
	_, err := io.ReadAll(c)
	assert.ErrorContains(t, err, "there is no none")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)

	assert.NilError(t, c.Ask("cut"))
	half, err := io.ReadAll(c)
	assert.ErrorContains(t, err, "has stopped sending")
	assert.Assert(t, errclass.IsTransient(err) && !errors.Is(err, ErrLost))
	assert.Equal(t, string(half), "half")

	assert.NilError(t, c.Ask("good"))
	all, err := io.ReadAll(c)
	assert.NilError(t, err)
	assert.Equal(t, string(all), "all of it")
}

func TestNextRequestReplacesTheOpenArchive(t *testing.T) {
	endless := readerFunc(func(p []byte) (int, error) { return len(p), nil })
	c := connect(t, library{"endless": endless, "good": strings.NewReader("all of it")}.open)
	assert.NilError(t, c.Ask("endless"))
	_, err := io.ReadFull(c, make([]byte, 100_000))
	assert.NilError(t, err)
	assert.NilError(t, c.Ask("good"))
	all, err := io.ReadAll(c)
	assert.NilError(t, err)
	assert.Equal(t, string(all), "all of it")
}

func TestLostConnectionIsNotTheEndOfAnArchive(t *testing.T) {
	more := make(chan struct{})
	waits := io.MultiReader(strings.NewReader("half"), readerFunc(func([]byte) (int, error) {
		<-more
		return 0,
			io.EOF
	}))
	c := connect(t, library{"half": waits}.open)
	assert.NilError(t, c.Ask("half"))
	_, err := io.ReadFull(c, make([]byte, 4))
	assert.NilError(t, err)
	c.cut()
	// An SSH server does the same when its client is gone.
	_ = c.in.SetReadDeadline(time.Now())
	close(more)
	c.Close()
	_, err = io.ReadAll(c)
	assert.ErrorIs(t, err, ErrLost)
	assert.ErrorIs(t, c.Ask("half"), ErrLost)
}

func TestAConnectionIsHandedOverAndTheNewestOneCounts(t *testing.T) {
	folder, err := os.MkdirTemp("", "feed") // a socket's path is short
	assert.NilError(t, err)
	defer func() { _ = os.RemoveAll(folder) }()
	path := filepath.Join(folder, "feed")
	in, _ := pipe(t)
	_, out := pipe(t)
	assert.ErrorIs(t, HandOver(t.Context(), path, in, out), os.ErrNotExist)

	listener, err := Listen(path)
	assert.NilError(t, err)
	info, err := os.Stat(path)
	assert.NilError(t, err)
	assert.Equal(t, info.Mode().Perm(), os.FileMode(0o600))

	first := make(chan error, 1)
	go func() { first <- HandOver(t.Context(), path, in, out) }()
	lost, err := listener.Next(t.Context())
	assert.NilError(t, err)

	answers, sends := pipe(t)
	second := make(chan error, 1)
	go func() { second <- HandOver(t.Context(), path, answers, out) }()
	assert.NilError(t, <-first, "the first is given up when another one comes")
	_, err = lost.in.Read(make([]byte, 1))
	assert.ErrorIs(t, err, os.ErrClosed)

	session, err := listener.Next(t.Context())
	assert.NilError(t, err)
	_, err = sends.Write(append([]byte{0, 0, 0, 2}, "hi\x00\x00\x00\x00"...))
	assert.NilError(t, err)
	session.open = true
	got, err := io.ReadAll(session)
	assert.NilError(t, err)
	assert.Equal(t, string(got), "hi")

	listener.Close()
	assert.NilError(t, <-second)
	assert.ErrorIs(t, HandOver(t.Context(), path, in, out), os.ErrNotExist)
}

func TestWhoeverWaitsNoticesThatTheOtherSideHasGone(t *testing.T) {
	in, out := pipe(t)
	assert.Assert(t, !HungUp(in))
	assert.NilError(t, out.Close())
	assert.Assert(t, HungUp(in))
}

func TestALineThatIsNoRequestIsAnError(t *testing.T) {
	sender := NewSender(t.Context(), library{}.open)
	_, err := io.WriteString(sender, "Welcome!\n")
	assert.ErrorContains(t, err, "Welcome!")
}

// FuzzSession reads whatever a sender may send: nothing but the end mark ends an archive well.
func FuzzSession(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 'a', 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 9, 'a'})
	f.Add(failureFrames(errors.New("broken")))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, sent []byte) {
		in, out, err := os.Pipe()
		if err != nil {
			t.Skip(err)
		}
		go func() {
			_, _ = out.Write(sent)
			_ = out.Close()
		}()
		session := newSession(in, out, func() {})
		defer session.Close()
		session.open = true
		got, err := io.ReadAll(session)
		if len(got) > len(sent) {
			t.Fatalf("%d bytes out of %d", len(got), len(sent))
		}
		if err == nil && session.open {
			t.Fatal("an archive ended well without its end mark")
		}
	})
}

func TestARequestWithoutEndIsRefused(t *testing.T) {
	sender := NewSender(t.Context(), nil)
	piece := bytes.Repeat([]byte("x"), 1<<10)
	var err error
	taken := 0
	for ; err == nil && taken < 1<<20; taken += len(piece) {
		_, err = sender.Write(piece)
	}
	assert.ErrorContains(t, err, "more than 65536 bytes")
	assert.Assert(t, taken <= 66<<10, "%d bytes are held", taken)
}
