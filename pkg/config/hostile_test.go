package config_test

import (
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"
)

// Documents of the largest size that a ConfigMap holds, made to exhaust a parser. Each ends in a problem; a parser that
// recursed or went quadratic would end the test by its stack or its timeout.
func TestHostileDocumentsAreReportedAsProblems(t *testing.T) {
	const full = 1<<20 - 1
	fill := func(part string) string { return strings.Repeat(part, full/len(part)) }
	var keys strings.Builder
	for i := 0; keys.Len() < full-40; i++ {
		fmt.Fprintf(&keys, "k%d:\n", i)
	}
	for name, test := range map[string]struct{ text, want string }{
		"brackets":         {fill("["), "exceeded max depth"},
		"braces":           {fill("{"), "exceeded max depth"},
		"both":             {fill("[a: {"), "exceeded max depth"},
		"dashes":           {fill("- "), "exceeded max depth"},
		"question marks":   {fill("? "), "exceeded max depth"},
		"quotes":           {fill(`"`), "is not YAML"},
		"colons":           {fill("a: "), "is not YAML"},
		"anchors":          {fill("&a "), "is not YAML"},
		"aliases":          {fill("*a\n"), "is not defined above it"},
		"tags":             {fill("! "), "is not YAML"},
		"an open list":     {"[" + fill("a,")[:full-1], "is not YAML"},
		"documents":        {fill("---\n"), "more than one YAML document"},
		"comments":         {fill("#\n"), "is empty"},
		"unknown keys":     {keys.String(), "holds more than 100000 values"},
		"a long key":       {fill("k")[:full-4] + ": 1", "is not YAML"},
		"few but in depth": {strings.Repeat("[", 499), "is not YAML"},
		"a staircase":      {staircase(), "is not YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			text := problemsOf(t, test.text, goodFleet).Error()
			assert.Assert(t, cmp.Contains(text, test.want))
			assert.Assert(t, len(text) < 64<<10, "%d bytes of problems", len(text))
		})
	}
}

// staircase nests one level a line.
func staircase() string {
	var text strings.Builder
	for i := range 300 {
		text.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return text.String() + `"`
}
