package ssh_test

import (
	"os/exec"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/ssh"
)

// echo prints its arguments, each followed by a NUL byte, which no argument can hold.
var echo = []string{"/bin/sh", "-c", `for word in "$@"; do printf '%s\0' "$word"; done`, "sh"}

func readBack(t *testing.T, words []string) []string {
	t.Helper()
	line, err := ssh.Quote(append(echo[:len(echo):len(echo)], words...))
	assert.NilError(t, err)
	out, err := exec.Command("/bin/sh", "-c", line).Output()
	assert.NilError(t, err, line)
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

func TestAShellReadsBackWhatWasQuoted(t *testing.T) {
	words := []string{
		"plain", "", " ", "it's", `"`, "$(touch /nowhere)", "`id`", "a\nb", `back\slash`, "*", "~", "-n",
		"A=b", "#c",
		"!x", "é", "\xff\xfe", "''", "{a,b}", "&& true", "\t", "<", "\r",
	}
	assert.DeepEqual(t, readBack(t, words), words)
}

func TestPlainWordsStayReadable(t *testing.T) {
	line, err := ssh.Quote([]string{"systemctl", "status", "kubelet.service", "--output=cat"})
	assert.NilError(t, err)
	assert.Equal(t, line, "systemctl status kubelet.service '--output=cat'")
}

func TestACommandNamedLikeAShellWordIsACommand(t *testing.T) {
	line, err := ssh.Quote([]string{"if", "true"})
	assert.NilError(t, err)
	assert.Equal(t, line, "'if' true")
}

func TestAnEmptyCommandAndANULByteAreRefused(t *testing.T) {
	for name, argv := range map[string][]string{"nothing": nil, "no name": {""}, "NUL": {"echo", "a\x00b"}} {
		_, err := ssh.Quote(argv)
		assert.Assert(t, err != nil, name)
	}
}

func FuzzAShellReadsBackWhatWasQuoted(f *testing.F) {
	for _, seed := range []string{"'", "$(id)", "a\nb", "\\", "\xff", "' \" '"} {
		f.Add(seed, "tail")
	}
	// Linux gives a program no single argument beyond 128 KiB, and quoting makes four bytes of one.
	const longest = 8 << 10
	f.Fuzz(func(t *testing.T, one, two string) {
		if len(one)+len(two) > longest {
			t.Skip()
		}
		if strings.ContainsRune(one+two, 0) {
			_, err := ssh.Quote([]string{"echo", one, two})
			assert.Assert(t, err != nil)
			return
		}
		assert.DeepEqual(t, readBack(t, []string{one, two}), []string{one, two})
	})
}
