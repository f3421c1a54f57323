package machine_test

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/ssh/sshtest"
)

// fed is a machine whose operation asks for archive "a" and takes so many bytes of the answer.
func fed(t *testing.T, bytes int) *lab {
	t.Helper()
	l := newLab(t, sshtest.Options{}, fakeAgent{})
	t.Setenv("FAKE_FEED_BYTES", strconv.Itoa(bytes))
	_, err := l.Inspect(t.Context(), spec.Question{})
	assert.NilError(t, err)
	return l
}

func TestAnOperationGetsTheArchivesThatItAsksFor(t *testing.T) {
	l := fed(t, 4+5+4)
	var asked []string
	err := l.Feed(t.Context(), "op1", func(_ context.Context, key string) (io.ReadCloser, error) {
		asked = append(asked, key)
		return io.NopCloser(strings.NewReader("hello")), nil
	})
	assert.NilError(t, err)
	assert.DeepEqual(t, asked, []string{"a"})
	assert.Equal(t, l.told(t, "fed"), "\x00\x00\x00\x05hello\x00\x00\x00\x00")
}

func TestAConnectionThatIsLostWhileSendingIsMadeAgain(t *testing.T) {
	l := fed(t, 4+5+4)
	opened := 0
	err := l.Feed(t.Context(), "op1", func(context.Context, string) (io.ReadCloser, error) {
		if opened++; opened == 1 {
			l.server.Cut()
		}
		return io.NopCloser(strings.NewReader("hello")), nil
	})
	assert.NilError(t, err)
	assert.Equal(t, opened, 2)
}

func TestSendingEndsWithItsContext(t *testing.T) {
	l := fed(t, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	began := time.Now()
	err := l.Feed(ctx, "op1", func(context.Context, string) (io.ReadCloser, error) {
		time.AfterFunc(50*time.Millisecond, cancel)
		return nil, errors.New("gone")
	})
	assert.NilError(t, err, "whoever watches the operation knows how it ended")
	assert.Assert(t, time.Since(began) < time.Minute)
}
