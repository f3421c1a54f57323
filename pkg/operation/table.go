package operation

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Table is a table of machines for people.
type Table struct {
	text  strings.Builder
	lines *tabwriter.Writer
	// beneath is as many empty columns as stand before the last one.
	beneath string
}

// NewTable makes a table with these columns.
func NewTable(columns ...string) *Table {
	t := &Table{beneath: strings.Repeat("\t", len(columns)-1)}
	t.lines = tabwriter.NewWriter(&t.text, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t.lines, strings.Join(columns, "\t"))
	return t
}

// Add adds a machine's line: its cells, and in the last column the first text, with the other texts beneath.
// Nothing said is no line.
func (t *Table) Add(said []string, cells ...string) {
	before := strings.Join(cells, "\t") + "\t"
	for _, what := range said {
		_, _ = fmt.Fprintln(t.lines, before+what)
		before = t.beneath
	}
}

// String is the table's text.
func (t *Table) String() string {
	_ = t.lines.Flush()
	return t.text.String()
}
