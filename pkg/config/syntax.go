package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	goccy "github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"
	"go.yaml.in/yaml/v3"
)

// parse returns the mapping at the top of the text, or adds the problem why there is none.
func (d *document) parse(text []byte) *yaml.Node {
	if len(text) > maxBytes {
		d.addAt(0, 0, "", fmt.Sprintf("holds %d bytes; a ConfigMap holds %d at most", len(text), maxBytes), "")
		return nil
	}
	if line, column, wrong := unreadable(text); wrong != "" {
		d.addAt(line, column, "", wrong, "save the file as text in UTF-8")
		return nil
	}
	text = withoutMinor(text)
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var top, second yaml.Node
	if err := decoder.Decode(&top); errors.Is(err, io.EOF) {
		d.addAt(0, 0, "", "is empty", "")
		return nil
	} else if err != nil {
		d.syntax(text, err)
		return nil
	}
	if err := decoder.Decode(&second); err == nil {
		d.addAt(second.Line, second.Column, "", "holds more than one YAML document",
			`remove the line "---" and what belongs to the other document`)
		return nil
	} else if !errors.Is(err, io.EOF) {
		d.syntax(text, err)
		return nil
	}
	content := top.Content[0]
	switch {
	case content.Kind == yaml.ScalarNode && content.ShortTag() == nullTag:
		d.addAt(0, 0, "", "is empty", "")
		return nil
	case content.Kind != yaml.MappingNode:
		d.addAt(content.Line, content.Column, "", "must be a mapping of keys to values", "")
		return nil
	}
	return content
}

// unreadable returns the position of the first byte that a YAML document cannot hold, and the reason.
func unreadable(text []byte) (line, column int, wrong string) {
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return 1, 1, "is in UTF-16, not in UTF-8"
	}
	line, column = 1, 1
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		control := r < ' ' && r != '\t' && r != '\n' && r != '\r'
		switch {
		case r == utf8.RuneError && size == 1:
			return line, column, fmt.Sprintf("holds a byte that is no text: %#02x is not UTF-8", text[i])
		case control || r == 0x7f:
			return line, column, fmt.Sprintf("holds a byte that is no text: %#02x is a control character", text[i])
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
		i += size
	}
	return 0, 0, ""
}

// The parser reads YAML 1.2 and refuses the directive that names it. Both versions are written in as many bytes, so
// that positions stay.
var directive = regexp.MustCompile(`^(\x{feff}?(?:[ \t]*(?:#[^\n]*)?\n)*)%YAML 1\.2([ \t\r]*(?:#[^\n]*)?\n)`)

// withoutMinor returns a text whose directive names a version that the parser accepts.
func withoutMinor(text []byte) []byte {
	if !bytes.Contains(text[:min(len(text), maxAskedBytes)], []byte("%YAML 1.2")) {
		return text
	}
	return directive.ReplaceAll(text, []byte("${1}%YAML 1.1${2}"))
}

var (
	lineOfError    = regexp.MustCompile(`^line (\d+): `)
	unknownAnchor  = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
	tabAtLineStart = regexp.MustCompile(`^ *\t`)
)

// syntax adds the problem why the text is no YAML, with its position.
func (d *document) syntax(text []byte, err error) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1 // the parser leaves the first line out
	if match := lineOfError.FindStringSubmatch(message); match != nil {
		line, _ = strconv.Atoi(match[1])
		message = message[len(match[0]):]
	}
	column := 0
	if match := unknownAnchor.FindStringSubmatch(message); match != nil {
		line, column = locate(text, "*"+match[1])
		d.addAt(line, column, "", fmt.Sprintf("refers to the anchor %s, which is not defined above it",
			shown(match[1])), "")
		return
	}
	if exactLine, exactColumn, exact := syntaxPosition(text); exact != "" {
		line, column, message = exactLine, exactColumn, exact
	}
	suggestion := ""
	if tabLine := tabIndentation(text, line); tabLine > 0 {
		line, column, message = tabLine, strings.IndexByte(lineOf(text, tabLine), '\t')+1, "is indented with a tab"
		suggestion = "indent with spaces"
	}
	if odd := lookalike(strings.TrimLeft(lineOf(text, line), " ")); odd != "" && suggestion == "" {
		suggestion = "the line holds " + odd + "; type a plain one"
	}
	if suggestion == "" {
		suggestion = quotesNeeded(lineOf(text, line))
	}
	d.addAt(line, column, "", "is not YAML: "+message, suggestion)
}

// quotesNeeded returns the suggestion for a line whose text has a meaning to YAML unless it is in quotes: it begins
// with a character of YAML's own, goes on after closing quotes or brackets, or holds ": ".
func quotesNeeded(line string) string {
	value := valueOf.ReplaceAllString(line, "")
	switch {
	case value == "" || value == line:
	case strings.ContainsRune("@`%|>*&!", rune(value[0])):
		return fmt.Sprintf("a text that begins with %q needs quotes", value[:1])
	case afterClosing.MatchString(value):
		return "put the whole text in quotes"
	case !strings.ContainsRune(`"'[{`, rune(value[0])) && strings.Contains(value, ": "):
		return `a text that holds ": " needs quotes`
	}
	return ""
}

var (
	// valueOf matches everything before a value: dashes of lists and a key.
	valueOf = regexp.MustCompile(`^[ ]*(- +)*([A-Za-z0-9_.-]+: +)?`)
	// afterClosing matches a text in quotes or brackets with more behind it.
	afterClosing = regexp.MustCompile(`^("[^"]*"|'[^']*'|\[[^\]]*\]|\{[^}]*\}) *[^ ,#:\]}]`)
)

// Two parsers, because neither is enough. yaml/v3 alone gives a missing quote and a stray colon no column and a missing
// bracket the line of the block; goccy/go-yaml alone needs more than two minutes for a megabyte of "[" (its time grows
// with the square of the nesting, and it recurses without a limit) and panics on some broken input. So all documents
// are read by the former, and the latter gets those that are broken and within these bounds. Documents that people
// write stay far below them.
const (
	maxAskedBytes    = 64 << 10
	maxAskedBrackets = 500
	maxAskedPerLine  = 100
)

// withinBounds reports whether a text is within the bounds of the second parser.
func withinBounds(text []byte) bool {
	if len(text) > maxAskedBytes || bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) > maxAskedBrackets {
		return false
	}
	inLine := 0
	for _, c := range text {
		switch c {
		case '\n', '\r':
			inLine = 0
		case '-', '?', ':', '!', '&', '*', '|', '>', '"', '\'':
			if inLine++; inLine > maxAskedPerLine {
				return false
			}
		}
	}
	return true
}

// syntaxPosition returns the position of the error that the second parser finds; its message is empty when it finds
// none. That parser has a history of panics on broken input, which must end neither the plugin nor the listing of
// problems.
func syntaxPosition(text []byte) (line, column int, message string) {
	if !withinBounds(text) {
		return 0, 0, ""
	}
	defer func() {
		if recover() != nil {
			line, column, message = 0, 0, ""
		}
	}()
	_, err := parser.ParseBytes(text, 0)
	var syntax *goccy.SyntaxError
	if errors.As(err, &syntax) && syntax.Token != nil && syntax.Token.Position != nil {
		return syntax.Token.Position.Line, syntax.Token.Position.Column, syntax.Message
	}
	return 0, 0, ""
}

// tabIndentation returns the line next to the error that is indented with a tab, or 0.
func tabIndentation(text []byte, line int) int {
	for _, candidate := range []int{line, line + 1} {
		if tabAtLineStart.MatchString(lineOf(text, candidate)) {
			return candidate
		}
	}
	return 0
}

func lineOf(text []byte, line int) string {
	lines := strings.Split(string(text), "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	return lines[line-1]
}

// locate returns the position of the first part in text, or zeros.
func locate(text []byte, part string) (line, column int) {
	before, _, found := strings.Cut(string(text), part)
	if !found {
		return 0, 0
	}
	return strings.Count(before, "\n") + 1, len(before) - strings.LastIndex(before, "\n")
}
