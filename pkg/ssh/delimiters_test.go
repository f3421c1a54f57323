package ssh

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// FuzzLoginShellsPassWordsAndOutputUnchanged checks that the line holds nothing that csh or fish read within
// single quotes, and that sh makes the words of it.
func FuzzLoginShellsPassWordsAndOutputUnchanged(f *testing.F) {
	for _, seed := range []string{"", "it's", "!x\n", `\`, "[argosy ends", strings.Repeat("'!\n", maxWord)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if strings.ContainsRune(word, 0) || len(word) > 6<<10 {
			t.Skip()
		}
		out, errs := newDelimiters(), newDelimiters()
		line, err := commandLine([]string{"printf", "%s", word}, out, errs)
		assert.NilError(t, err)
		assert.Assert(t, !strings.ContainsAny(line, "!\n\x00"), line)
		assert.Assert(t, !strings.Contains(line, `\'`) && !strings.Contains(line, `\\`), line)
		for _, mark := range []string{out.begin, out.end, errs.begin, errs.end} {
			assert.Assert(t, !strings.Contains(line, mark), line)
		}
		for _, part := range strings.Split(line, " '") {
			assert.Assert(t, len(part) <= maxWord+1, "csh refuses a word of %d bytes", len(part))
		}

		output, err := exec.Command("/bin/sh", "-c", line).Output()
		assert.NilError(t, err)
		// Whatever the pieces are in which it comes, the same is passed on.
		for _, size := range []int{1, 7, len(output)} {
			var got bytes.Buffer
			b := &outputFilter{delimiters: out, next: &got}
			for rest := append([]byte("hello\n"), append(output, "bye"...)...); len(rest) > 0; {
				piece := rest[:min(size, len(rest))]
				_, err := b.Write(piece)
				assert.NilError(t, err)
				rest = rest[len(piece):]
			}
			b.flush()
			begun, ended, code, noise := b.state()
			assert.Assert(t, begun && ended && code == 0)
			assert.Equal(t, got.String(), word)
			assert.Equal(t, noise, "hello\nbye")
		}
	})
}

func TestAnEndMarkWithoutAnExitCodeIsNoSuccess(t *testing.T) {
	for _, text := range []string{" 0x]", " ]", " 12345"} {
		b := &outputFilter{delimiters: newDelimiters(), next: &bytes.Buffer{}}
		_, err := b.Write([]byte(b.delimiters.begin + "output" + b.delimiters.end + text))
		_, ended, _, _ := b.state()
		assert.Assert(t, err != nil && !ended, "%q", text)
	}
}
