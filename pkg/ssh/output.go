package ssh

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// How much of a command's output is kept: all of it up to keepWhole, and of more the last keepTail. Of what is passed on
// as it comes only liveTail is kept: fifty machines may be watched for twenty minutes each.
const (
	keepWhole = 4 << 20
	keepTail  = 256 << 10
	liveTail  = 16 << 10
	tailLines = 10
)

// output keeps what a command writes, within bounds, and passes it on as it comes. Once sealed it takes nothing more, so
// that nobody is written to after Run has returned.
type output struct {
	mu        sync.Mutex
	kept      []byte
	truncated bool
	sealed    bool
	live      io.Writer // may be nil
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sealed {
		return len(p), nil
	}
	o.kept = append(o.kept, p...)
	whole, tail := o.bounds()
	// Trimmed only when twice the tail has gathered again, so that each byte is moved at most once.
	if len(o.kept) > whole || (o.truncated && len(o.kept) > 2*tail) {
		o.truncated = true
		o.kept = append(o.kept[:0:0], o.kept[len(o.kept)-tail:]...)
	}
	if o.live == nil {
		return len(p), nil
	}
	return o.live.Write(p)
}

// seal ends the writing and returns what was kept.
func (o *output) seal() (kept []byte, truncated bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sealed = true
	if _, tail := o.bounds(); o.truncated && len(o.kept) > tail {
		o.kept = o.kept[len(o.kept)-tail:]
	}
	return o.kept, o.truncated
}

// bounds are how much may gather before output is trimmed, and what is left then.
func (o *output) bounds() (whole, tail int) {
	if o.live != nil {
		return 2 * liveTail, liveTail
	}
	return keepWhole, keepTail
}

// lastLines returns the end of stderr, or of stdout when there were no errors.
func lastLines(stdout, stderr []byte) []string {
	text := bytes.TrimSpace(stderr)
	if len(text) == 0 {
		text = bytes.TrimSpace(stdout)
	}
	if len(text) == 0 {
		return nil
	}
	lines := strings.Split(string(text), "\n")
	return lines[max(0, len(lines)-tailLines):]
}
