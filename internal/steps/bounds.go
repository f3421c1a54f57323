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
	// ConfigMap with the complete list, as package offload keeps it; of a summary with report.html and report.json,
	// each compressed. Empty for none.
	ConfigMap string `json:"configMap,omitempty"`
}

// encodeReport keeps as many of items as fit, from the front: callers put the most important first.
func encodeReport[T any](items []T) string { return encodeReportIn(items, "") }

// encodeReportIn is encodeReport for items that are complete in a ConfigMap.
func encodeReportIn[T any](items []T, configMap string) string {
	size, fitting := 0, 0
	for _, item := range items {
		encoded, err := json.Marshal(item)
		if err != nil || size+len(encoded)+1 > maxReport {
			break
		}
		size += len(encoded) + 1
		fitting++
	}
	return encode(report[T]{
		Machines: items[:fitting:fitting], Omitted: len(items) - fitting, ConfigMap: configMap,
	})
}

// boundTable cuts a table of a plan between its lines.
func boundTable(table string) string { return boundText(table, maxReport, "argosy plan") }

// boundText cuts a table between its lines to most bytes, and tells how many lines are missing and where they are.
func boundText(table string, most int, see string) string {
	if len(table) <= most {
		return table
	}
	room := len("… and 100000 more lines; see \n") + len(see) // beside the lines
	end := strings.LastIndexByte(table[:max(most-room, 0)], '\n') + 1
	return table[:end] + "… and " + count.Of(strings.Count(table[end:], "\n"), "more line") + "; see " + see + "\n"
}
