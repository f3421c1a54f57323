package ssh

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// plainWord needs no quotes in any shell. An equals sign is left out, since NAME=value before a command is an
// assignment.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+:,./-]+$`)

// reserved words begin a shell construct where a command is expected.
var reserved = []string{
	"case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in",
	"select", "then", "time", "until", "while",
}

// Quote writes an argv as text that a POSIX shell reads back as the same argv, whatever is in it. It is the only place
// where words become shell text. An empty command and a NUL byte, which no argv can hold, are errors.
func Quote(argv []string) (string, error) {
	if len(argv) == 0 || argv[0] == "" {
		return "", errors.New("quoting a command: it has no name")
	}
	words := make([]string, len(argv))
	for i, word := range argv {
		if strings.ContainsRune(word, 0) {
			return "", fmt.Errorf("quoting word %d of command %q: it holds a NUL byte", i, argv[0])
		}
		if plainWord.MatchString(word) && (i > 0 || !slices.Contains(reserved, word)) {
			words[i] = word
			continue
		}
		words[i] = `'` + strings.ReplaceAll(word, `'`, `'\''`) + `'`
	}
	return strings.Join(words, " "), nil
}
