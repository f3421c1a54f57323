package config

import (
	"fmt"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// lookalike names the first character of a text that looks like a space, a quote or nothing and is not that to YAML:
// editors and web pages put them into texts that are pasted. It returns "" if there is none.
func lookalike(text string) string {
	for i, r := range text {
		name := ""
		switch {
		case r == '\u00a0':
			name = "a no-break space"
		case r == '\u200b' || r == '\ufeff' || r == '\u2060':
			name = "an invisible space"
		case r > utf8.RuneSelf && unicode.Is(unicode.Zs, r):
			name = "a space of another kind"
		case i == 0 && (r == '“' || r == '”' || r == '„' || r == '‘' || r == '’'):
			name = "a typographic quote"
		}
		if name != "" {
			return fmt.Sprintf("%s (U+%04X)", name, r)
		}
	}
	return ""
}

// plainStyle reports whether a scalar was written without quotes.
func plainStyle(n *yaml.Node) bool {
	return n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}
