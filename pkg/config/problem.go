package config

import (
	"fmt"
	"slices"
	"strings"
)

// The documents' names, as keys of the ConfigMap and in problems.
const (
	VClusterDocument = "vcluster.yaml"
	FleetDocument    = "argosy.yaml"
)

// Problem is one thing that is wrong with a document.
type Problem struct {
	// Document is "vcluster.yaml" or "argosy.yaml".
	Document string `json:"document"`
	// Line and Column count from 1; 0 where there is no position, such as for a key that is missing.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Key is the path of the key, e.g. "machines[2].ssh.port".
	Key string `json:"key,omitempty"`
	// Text is the cause. It never holds a secret.
	Text string `json:"text"`
	// Suggestion is the way out; it may be empty.
	Suggestion string `json:"suggestion,omitempty"`
	// beyond is how many problems this one stands for; they are not listed.
	beyond int
}

// String returns one line: "argosy.yaml:12:5: machines[2].adress: unknown key; did you mean "address"?".
func (p Problem) String() string {
	var line strings.Builder
	line.WriteString(p.Document)
	if p.Line > 0 {
		fmt.Fprintf(&line, ":%d", p.Line)
		if p.Column > 0 {
			fmt.Fprintf(&line, ":%d", p.Column)
		}
	}
	line.WriteString(": ")
	if p.Key != "" {
		line.WriteString(p.Key + ": ")
	}
	line.WriteString(p.Text)
	if p.Suggestion != "" {
		line.WriteString("; " + p.Suggestion)
	}
	return line.String()
}

// Problems holds all problems of the documents, vcluster.yaml first, in the order of their lines. Load and
// Parse return it with class errclass.Configuration; errors.As finds it.
type Problems []Problem

// Error lists the problems, one a line.
func (p Problems) Error() string {
	if len(p) == 1 {
		return p[0].String()
	}
	count := 0
	var lines []string
	for _, problem := range p {
		count += max(problem.beyond, 1)
		lines = append(lines, "  "+problem.String())
	}
	return fmt.Sprintf("%d problems:\n", count) + strings.Join(lines, "\n")
}

// sorted orders problems by their position; those without one come last. A problem within an anchor occurs once for
// every use of the anchor; equal ones are listed once.
func (p Problems) sorted() Problems {
	last := func(line int) int {
		if line == 0 {
			return int(^uint(0) >> 1)
		}
		return line
	}
	slices.SortStableFunc(p, func(a, b Problem) int {
		if a.Document != b.Document {
			return -strings.Compare(a.Document, b.Document)
		}
		if a.Line != b.Line {
			return last(a.Line) - last(b.Line)
		}
		return a.Column - b.Column
	})
	return slices.Compact(p)
}
