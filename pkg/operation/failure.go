package operation

import (
	"fmt"
	"strings"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
)

// Failure is an operation that ended on the machine without success.
type Failure struct {
	Machine string
	Status  spec.Status
}

// Error returns the machine, the phase and the failure, the next step, and last the lines that a bounded message loses.
func (f *Failure) Error() string {
	failure := f.Status.Error
	if failure == nil {
		return fmt.Sprintf("machine %s: the operation ended as %s in phase %s", f.Machine, f.Status.State,
			f.Status.Phase)
	}
	var text strings.Builder
	_, _ = fmt.Fprintf(&text, "machine %s: phase %s: %s", f.Machine, failure.Phase, failure.Message)
	if failure.Hint != "" {
		_, _ = fmt.Fprintf(&text, "\n  next: %s", failure.Hint)
	}
	for _, problem := range failure.Problems {
		_, _ = fmt.Fprintf(&text, "\n  - %s", problem)
	}
	if failure.Command != "" {
		_, _ = fmt.Fprintf(&text, "\n  command: %s", failure.Command)
	}
	for _, line := range failure.Tail {
		_, _ = fmt.Fprintf(&text, "\n  | %s", line)
	}
	return text.String()
}

func classOf(status spec.Status) errclass.Class {
	if status.State == spec.Cancelled {
		return errclass.Cancelled
	}
	if status.Error != nil && status.Error.Class != "" {
		return status.Error.Class
	}
	return errclass.Permanent
}
