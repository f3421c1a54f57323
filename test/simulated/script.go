package simulated

import (
	"regexp"
	"strconv"
	"strings"
)

// script is a command with the marks that enclose its output on each stream, as pkg/ssh sends it to login shells.
type script struct{ command, begin, end, beginErrors, endErrors string }

var (
	octal     = regexp.MustCompile(`\\0([0-7]{3})`)
	beginMark = regexp.MustCompile(`\[argosy begins [A-Z0-9]+\]`)
	endMark   = regexp.MustCompile(`\[argosy ends [A-Z0-9]+`)
)

// decodeScript reads a command line as sh would: its words are joined, and octal escapes are characters. A line without
// marks is its own command.
func decodeScript(line string) script {
	text := octal.ReplaceAllStringFunc(strings.ReplaceAll(line, "' '", ""), func(escape string) string {
		code, _ := strconv.ParseUint(escape[2:], 8, 8)
		return string([]byte{byte(code)})
	})
	begin, end := beginMark.FindAllString(text, 2), endMark.FindAllString(text, 2)
	if len(begin) != 2 || len(end) != 2 {
		return script{command: line}
	}
	_, command, _ := strings.Cut(text, "\n")
	if last := strings.LastIndex(command, "\nc=$?\n"); last >= 0 {
		command = command[:last]
	}
	return script{command: command, beginErrors: begin[0], begin: begin[1], end: end[0], endErrors: end[1]}
}
