package bundle

import (
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

// sender writes a file as an upload does.
type sender struct {
	t              *testing.T
	partial, final string
}

func newSender(t *testing.T) *sender {
	final := filepath.Join(t.TempDir(), "bundle.tar.gz")
	return &sender{t, final + ".partial", final}
}

func (s *sender) follow(ctx context.Context, size int64, stall time.Duration) *Follower {
	f := Follow(ctx, s.partial, s.final, size, stall)
	s.t.Cleanup(func() { _ = f.Close() })
	return f
}

func (s *sender) append(text string) {
	s.t.Helper()
	file, err := os.OpenFile(s.partial, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	assert.NilError(s.t, err)
	_, err = file.WriteString(text)
	assert.NilError(s.t, err)
	assert.NilError(s.t, file.Close())
}

func (s *sender) finish() {
	s.t.Helper()
	assert.NilError(s.t, os.Rename(s.partial, s.final))
}

func (s *sender) expect(f *Follower, want string) {
	s.t.Helper()
	got := make([]byte, len(want))
	_, err := io.ReadFull(f, got)
	assert.NilError(s.t, err)
	assert.Equal(s.t, string(got), want)
}

func TestFollowReadsAGrowingFileToItsFinalName(t *testing.T) {
	s := newSender(t)
	f := s.follow(context.Background(), 0, time.Minute)
	s.append("one ")
	s.expect(f, "one ")
	s.append("two ")
	s.expect(f, "two ")
	s.append("three")
	s.finish()
	rest, err := io.ReadAll(f)
	assert.NilError(t, err)
	assert.Equal(t, string(rest), "three")
}

func TestFollowReadsACompleteFileAtOnce(t *testing.T) {
	s := newSender(t)
	s.append("all of it")
	s.finish()
	all, err := io.ReadAll(s.follow(context.Background(), 0, time.Minute))
	assert.NilError(t, err)
	assert.Equal(t, string(all), "all of it")
}

func TestAKnownSizeEndsTheFileBeforeItIsRenamed(t *testing.T) {
	s := newSender(t)
	s.append("12345")
	all, err := io.ReadAll(s.follow(context.Background(), 5, time.Minute))
	assert.NilError(t, err)
	assert.Equal(t, string(all), "12345")
}

func TestAFileThatStopsGrowingIsATransientError(t *testing.T) {
	for name, test := range map[string]struct{ content, says string }{
		"never there": {"", "nothing arrived"},
		"stalled":     {"half", "stopped at 4 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSender(t)
			if test.content != "" {
				s.append(test.content)
			}
			_, err := io.ReadAll(s.follow(context.Background(), 0, 50*time.Millisecond))
			assert.ErrorContains(t, err, test.says)
			assert.Equal(t, errclass.ClassOf(err), errclass.Transient)
		})
	}
}

func TestASenderThatBeginsAnewIsNoticed(t *testing.T) {
	for name, again := range map[string]func(s *sender){
		"cut off":             func(s *sender) { assert.NilError(s.t, os.Truncate(s.partial, 0)) },
		"replaced":            func(s *sender) { assert.NilError(s.t, os.Remove(s.partial)); s.append("another one") },
		"removed":             func(s *sender) { assert.NilError(s.t, os.Remove(s.partial)) },
		"finished by another": func(s *sender) { assert.NilError(s.t, os.WriteFile(s.final, []byte("whole"), 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSender(t)
			f := s.follow(context.Background(), 0, time.Minute)
			s.append("first")
			s.expect(f, "first")
			again(s)
			_, err := io.ReadAll(f)
			assert.ErrorIs(t, err, ErrRestarted)
		})
	}
}

func TestFollowingEndsWithItsContext(t *testing.T) {
	s := newSender(t)
	cause := errors.New("the download failed")
	ctx, cancel := context.WithCancelCause(context.Background())
	f := s.follow(ctx, 0, time.Minute)
	s.append("some")
	s.expect(f, "some")
	cancel(cause)
	_, err := io.ReadAll(f)
	assert.ErrorIs(t, err, cause)
}

func TestReadingAheadGivesTheSameBytesAndTheError(t *testing.T) {
	text := strings.Repeat("0123456789", 1000)
	broken := errors.New("broken")
	a := readAhead(io.MultiReader(strings.NewReader(text), &failing{broken}), 64, 3)
	defer a.Close()
	got, err := io.ReadAll(a)
	assert.Equal(t, string(got), text)
	assert.ErrorIs(t, err, broken)
}

func TestReadingAheadCanBeGivenUp(t *testing.T) {
	a := readAhead(strings.NewReader(strings.Repeat("x", 10_000)), 16, 2)
	_, err := a.Read(make([]byte, 1))
	assert.NilError(t, err)
	a.Close() // returns, although most was never read
}
