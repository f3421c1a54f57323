package steps

import (
	"context"
	"encoding/json"
	"errors"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// timedWork works on one machine and reports its progress.
type timedWork func(ctx context.Context, machine config.Machine, progress operation.Progress) (plugin.Result, error)

// timed returns the work with the times of its phases in output "report", beside the fields that do puts there. Where
// do fails, the failure on the machine is in that output too.
func (e *Env) timed(call plugin.Call, cluster string, do timedWork) machineWork {
	return func(ctx context.Context, machine config.Machine, report func(string)) (plugin.Result, error) {
		recorder := operation.NewRecorder(operation.Timed(ctx, operation.AsText(report)))
		result, err := do(ctx, machine, recorder)
		timeline := recorder.Timeline()
		e.traceMachine(ctx, call, cluster, machine, timeline, err)
		if result.Outputs == nil {
			result.Outputs = map[string]string{}
		}
		result.Outputs["report"] = withTimes(result.Outputs["report"], timeline, err)
		return result, err
	}
}

// withTimes adds the timeline and the failure on the machine, if that is the cause of err, to a report.
func withTimes(report string, timeline operation.Timeline, err error) string {
	fields := map[string]json.RawMessage{}
	if json.Unmarshal([]byte(report), &fields) != nil {
		fields = map[string]json.RawMessage{}
	}
	fields["timeline"] = json.RawMessage(encode(timeline))
	var failure *operation.Failure
	if errors.As(err, &failure) && failure.Status.Error != nil {
		fields["failure"] = json.RawMessage(encode(bounded(*failure.Status.Error)))
	}
	return encode(fields)
}

// Bounds of a failure in a report, in lines and in bytes of each: it is kept in the Workflow.
const (
	maxFailureLines = 20
	maxFailureText  = 1 << 10
	maxFailureLine  = 200
)

// bounded keeps the beginning of a failure's message and problems, and the end of its last lines.
func bounded(failure spec.Error) spec.Error {
	failure.Message, failure.Hint = cut(failure.Message, maxFailureText), cut(failure.Hint, maxFailureText)
	failure.Command = cut(failure.Command, maxFailureText)
	failure.Problems = lines(failure.Problems[:min(len(failure.Problems), maxFailureLines)])
	failure.Tail = lines(failure.Tail[max(len(failure.Tail)-maxFailureLines, 0):])
	return failure
}

func lines(from []string) []string {
	var cuts []string
	for _, line := range from {
		cuts = append(cuts, cut(line, maxFailureLine))
	}
	return cuts
}
