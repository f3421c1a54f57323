package ssh

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// delimiters enclose a command's own output on one of its streams, on a machine whose login shell prints as well: an
// echo in .bashrc, a message of the day, a wrapper with a farewell. They are random, so that no other output can be
// taken for them, and each stream has its own: some wrappers send both streams down one.
type delimiters struct{ begin, end string }

func newDelimiters() delimiters {
	return delimiters{begin: "[argosy begins " + rand.Text() + "]", end: "[argosy ends " + rand.Text()}
}

// decodeScript runs its arguments as one script, after printf has decoded and joined them.
const decodeScript = `eval "$(printf %b "$@")"`

// commandLine returns text that each login shell in use (POSIX, csh, tcsh, fish) hands to sh, and that prints the marks
// around the command's output, the second one with the command's exit code. It needs neither exec nor a path, which
// restricted shells (rbash) refuse. Standard input is the command's alone.
func commandLine(argv []string, out, errs delimiters) (string, error) {
	command, err := Quote(argv)
	if err != nil {
		return "", err
	}
	begin := func(m delimiters) string { return "printf %s '" + m.begin + "'" }
	end := func(m delimiters) string { return "printf '%s %s]' '" + m.end + `' "$c"` }
	script := begin(errs) + " >&2; " + begin(out) + "\n" + command + "\nc=$?\n" +
		end(out) + "\n" + end(errs) + " >&2\nexit $c"
	return "sh -c '" + decodeScript + "' argosy" + encode(script), nil
}

// safeCharacters mean themselves within single quotes in every shell, and in printf's %b. Left out are those that csh
// (! and the newline) and fish (the backslash) read there, and the bracket: a shell that shows its commands on standard
// error (set -x) must not print a delimiter.
const safeCharacters = `abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _@%+=:,./"$&|;<>(){}*#-`

// maxWord in bytes; csh takes no words beyond some KiB.
const maxWord = 1000

// encode writes a script in harmless characters and the octal escapes of printf's %b, as words within single quotes.
func encode(script string) string {
	var text strings.Builder
	room := 0
	for i := range len(script) {
		if room < len(`\0000`) {
			text.WriteString(strings.Repeat("'", min(i, 1)) + " '")
			room = maxWord
		}
		before := text.Len()
		if strings.IndexByte(safeCharacters, script[i]) >= 0 {
			text.WriteByte(script[i])
		} else {
			fmt.Fprintf(&text, `\0%03o`, script[i])
		}
		room -= text.Len() - before
	}
	return text.String() + "'"
}

const (
	// maxNoise is how many bytes a login shell may print around a command's output, on each of the two streams.
	maxNoise = 1 << 20
	// keptNoise is how much of it is kept for a message.
	keptNoise = 4 << 10
	// maxCode is the longest end of an end mark: a space, an exit code, a bracket.
	maxCode = len(" 255]")
)

// outputFilter passes on the bytes between the delimiters on one stream, and counts the others.
type outputFilter struct {
	delimiters delimiters
	next       io.Writer

	mu         sync.Mutex
	held       []byte // may be the beginning of a mark
	begun      bool
	ended      bool
	code       int // after the end: the command's exit code
	noise      []byte
	noiseBytes int
}

func (b *outputFilter) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = append(b.held, p...)
	if !b.begun {
		before, after, found := bytes.Cut(b.held, []byte(b.delimiters.begin))
		if !found {
			return len(p), b.skip(len(b.held) - prefixAtEnd(b.held, b.delimiters.begin))
		}
		b.held, b.begun = after, true
		if err := b.count(before); err != nil {
			return len(p), err
		}
	}
	if !b.ended {
		if err := b.pass(); err != nil {
			return len(p), err
		}
	}
	if b.ended {
		return len(p), b.skip(len(b.held))
	}
	return len(p), nil
}

// pass passes on the bytes that are certain to come before the end mark.
func (b *outputFilter) pass() error {
	own, after, found := bytes.Cut(b.held, []byte(b.delimiters.end))
	if !found {
		own = b.held[:len(b.held)-prefixAtEnd(b.held, b.delimiters.end)]
	}
	if len(own) > 0 {
		if _, err := b.next.Write(own); err != nil {
			return err
		}
		b.held = b.held[len(own):]
	}
	if !found {
		return nil
	}
	text, rest, whole := bytes.Cut(after, []byte("]"))
	if !whole && len(after) < maxCode {
		return nil // the rest of the mark is under way
	}
	code, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || !whole {
		return fmt.Errorf("reading the exit code in the end mark: %q is none", quotable(string(text)))
	}
	b.ended, b.held, b.code = true, rest, code
	return nil
}

// skip counts the first n bytes that are held as noise.
func (b *outputFilter) skip(n int) error {
	noise := b.held[:n]
	b.held = b.held[n:]
	return b.count(noise)
}

func (b *outputFilter) count(noise []byte) error {
	b.noiseBytes += len(noise)
	b.noise = append(b.noise, noise...)
	b.noise = b.noise[max(0, len(b.noise)-keptNoise):]
	if b.noiseBytes > maxNoise {
		return Flood("around the command's output, by the login shell", maxNoise)
	}
	return nil
}

// prefixAtEnd returns the length of the longest end of text that mark may begin with.
func prefixAtEnd(text []byte, mark string) int {
	for n := min(len(text), len(mark)-1); n > 0; n-- {
		if bytes.HasSuffix(text, []byte(mark[:n])) {
			return n
		}
	}
	return 0
}

// flush passes on the bytes that were held back for an end mark that did not come.
func (b *outputFilter) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.begun && !b.ended && len(b.held) > 0 {
		_, _ = b.next.Write(b.held) // nothing follows it
		b.held = nil
	}
}

// state returns whether the command began and ended, with which exit code, and the last that was printed around it.
func (b *outputFilter) state() (begun, ended bool, code int, noise string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	noise = string(b.noise)
	if !b.begun {
		noise += string(b.held)
	}
	return b.begun, b.ended, b.code, noise
}

// exitOf returns the exit of a code as /bin/sh reports it.
func exitOf(code int) exit {
	names := map[syscall.Signal]string{
		syscall.SIGHUP: "HUP", syscall.SIGINT: "INT", syscall.SIGQUIT: "QUIT", syscall.SIGABRT: "ABRT",
		syscall.SIGKILL: "KILL", syscall.SIGSEGV: "SEGV", syscall.SIGPIPE: "PIPE", syscall.SIGALRM: "ALRM",
		syscall.SIGTERM: "TERM",
	}
	return exit{code: code, signal: names[syscall.Signal(code-128)]}
}
