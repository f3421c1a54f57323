package steps

import (
	"encoding/json"
	"strings"

	"argosy.dev/argosy/internal/count"
)

// maxReport bounds a table or a report: outputs live in the Workflow, which etcd bounds at 1.5 MiB for everything, and
// the plugin refuses an output of more than 64 KiB.
const maxReport = 32 << 10

// report is a list of machines as an output, complete unless it would be too long for a Workflow to hold.
type report[T any] struct {
	Machines []T `json:"machines"`
	// Omitted is how many machines there was no room for.
	Omitted int `json:"omitted,omitempty"`
}

// encodeReport keeps as many of items as fit, from the front: callers put the most important first.
func encodeReport[T any](items []T) string {
	size, fitting := 0, 0
	for _, item := range items {
		encoded, err := json.Marshal(item)
		if err != nil || size+len(encoded)+1 > maxReport {
			break
		}
		size += len(encoded) + 1
		fitting++
	}
	return encode(report[T]{Machines: items[:fitting:fitting], Omitted: len(items) - fitting})
}

// boundTable cuts a table between its lines.
func boundTable(table string) string {
	if len(table) <= maxReport {
		return table
	}
	cut := strings.LastIndexByte(table[:maxReport], '\n') + 1
	return table[:cut] + "… and " + count.Of(strings.Count(table[cut:], "\n"), "more line") + "; see argosy plan\n"
}
