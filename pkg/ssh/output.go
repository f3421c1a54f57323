package ssh

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"

	"argosy.dev/argosy/pkg/errclass"
)

// How much of a command's output is read and kept. An answer is kept whole. Of standard error, and of output that is
// passed on as it comes, only the end is kept: fifty machines may be watched for twenty minutes each.
const (
	// maxAnswer is the longest answer; the longest are those of inspections, with the differences of every file.
	maxAnswer = 4 << 20
	// maxErrors is how much may come on standard error.
	maxErrors  = 16 << 20
	errorsTail = 256 << 10
	liveTail   = 16 << 10
	tailLines  = 10
	// maxLine is the longest line that is quoted in an error.
	maxLine = 1 << 10
)

// ErrFlood is in the chain of the error of a command that printed more than is read of it. Its class is permanent: a
// program that prints without end does so again, and each attempt would cost the plugin, which serves other machines as
// well, the bandwidth once more. An operation on the machine goes on; the next run attaches to it.
var ErrFlood = errors.New("the machine prints more than is read of it")

// Flood returns an ErrFlood that names the limit, in bytes, and where it was exceeded: "in one line".
func Flood(where string, limit int64) error {
	return errclass.Errorf(errclass.Permanent, "%w: more than %d bytes %s", ErrFlood, limit, where)
}

// Output keeps one stream of a command's output, within bounds, and passes it on as it comes. It is safe for concurrent
// use. Once sealed it takes nothing more, so that no writer is used after Run has returned.
type Output struct {
	where string
	limit int64     // bytes that may come; 0: no limit
	tail  int       // how much of the end is kept; 0: all
	live  io.Writer // may be nil

	mu     sync.Mutex
	kept   []byte
	came   int64
	cut    bool
	sealed bool
}

// NewOutput returns the standard output of a command. With live, which gets all of it and bounds it itself by returning
// an error, only the end is kept; without, it is an answer of at most 4 MiB.
func NewOutput(live io.Writer) *Output {
	if live != nil {
		return &Output{live: live, tail: liveTail}
	}
	return &Output{where: "in one answer", limit: maxAnswer}
}

// NewErrors returns the standard error of a command, of which the end is kept.
func NewErrors() *Output {
	return &Output{where: "on standard error", limit: maxErrors, tail: errorsTail}
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sealed {
		return len(p), nil
	}
	if o.came += int64(len(p)); o.limit > 0 && o.came > o.limit {
		return 0, Flood(o.where, o.limit)
	}
	o.kept = append(o.kept, p...)
	// Trimmed only when twice the tail has gathered, so that each byte is moved at most once.
	if o.tail > 0 && len(o.kept) > 2*o.tail {
		o.cut = true
		o.kept = append(o.kept[:0:0], o.kept[len(o.kept)-o.tail:]...)
	}
	if o.live == nil {
		return len(p), nil
	}
	return o.live.Write(p)
}

// Seal ends the writing, and returns the kept bytes and whether they are only the end.
func (o *Output) Seal() (kept []byte, truncated bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sealed = true
	if o.cut && len(o.kept) > o.tail {
		o.kept = o.kept[len(o.kept)-o.tail:]
	}
	return o.kept, o.cut
}

// LastLines returns the end of stderr, or of stdout when there were no errors, for a message.
func LastLines(stdout, stderr []byte) []string {
	text := bytes.TrimSpace(stderr)
	if len(text) == 0 {
		text = bytes.TrimSpace(stdout)
	}
	if len(text) == 0 {
		return nil
	}
	// Split copies: only bytes that can be in the result are looked at.
	text = text[max(0, len(text)-tailLines*maxLine):]
	lines := strings.Split(string(text), "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	for i, line := range lines {
		lines[i] = quotable(line)
	}
	return lines
}

// quotable shortens a line of a machine so that it fits into a message.
func quotable(line string) string {
	if line = strings.TrimRight(line, "\r"); len(line) > maxLine {
		return line[:maxLine] + "…"
	}
	return line
}
