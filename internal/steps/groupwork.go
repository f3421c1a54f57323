package steps

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
)

// machineWork works on one machine, and answers as the step of that machine alone would.
type machineWork func(ctx context.Context, machine config.Machine, report func(string)) (plugin.Result, error)

// eachMachine calls do with the index of each machine of a group. See groupWork.each.
type eachMachine func(ctx context.Context, g group, do func(i int)) error

// groupResult is how one machine of a group ended: a machineResult, and the report of its step.
type groupResult struct {
	machineResult
	Report json.RawMessage `json:"report,omitempty"`
}

// groupWork is the step of a group of machines.
type groupWork struct {
	call plugin.Call
	// step has the outputs, which are the same for each machine.
	step    plugin.Step
	cluster *config.Cluster
	// each calls do for each of the group's machines, and returns when all calls have; the error of ctx where that
	// ended before all had begun. It bounds how many machines of the workflow are inspected, wait or are at work.
	each eachMachine
	do   machineWork
	// report shows a line of progress.
	report func(string)

	mu      sync.Mutex
	results []groupResult
	answers []map[string]string
	failed  int
	done    int
}

// inspectAhead is how many machines of a workflow are inspected, or wait for the limiter, beside those at work. An
// inspection costs one SSH login and one exec.
const inspectAhead = 32

// runGroup works on each machine of g and answers for all: a line for each of the first that failed in the message, a
// table of all as output "table", and the reports of all in a ConfigMap, whose name is output "report". A machine that
// fails lets the others go on.
func (e *Env) runGroup(ctx context.Context, g group, w *groupWork) (plugin.Result, error) {
	w.results, w.answers = make([]groupResult, len(g)), make([]map[string]string, len(g))
	err := w.each(ctx, g, func(i int) {
		machine, err := findMachine(w.cluster, g[i])
		var result plugin.Result
		if err == nil {
			result, err = e.workSafely(ctx, w, machine)
		}
		w.end(i, g[i], result, err)
	})
	if err != nil && ctx.Err() == nil {
		return plugin.Result{}, err
	}
	if ctx.Err() != nil && w.done < len(g) || ctx.Err() != nil && w.failed > 0 {
		return plugin.Result{}, context.Cause(ctx)
	}
	return e.groupAnswer(ctx, w), nil
}

// inLimiter is groupWork.each for machines that have a place in ahead until they end.
func inLimiter(ahead *operation.Limiter) eachMachine {
	return func(ctx context.Context, g group, do func(i int)) error {
		var working sync.WaitGroup
		defer working.Wait()
		for i := range g {
			leave, err := ahead.Enter(ctx, func(int) {})
			if err != nil {
				return fmt.Errorf("waiting for its turn: %w", err)
			}
			working.Go(func() {
				defer leave()
				do(i)
			})
		}
		return nil
	}
}

// workSafely is do, where a panic fails this machine alone.
func (e *Env) workSafely(ctx context.Context, w *groupWork, machine config.Machine) (result plugin.Result, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			e.log.Error("step panicked", "machine", machine.Name, "panic", fmt.Sprint(cause), "stack",
				string(debug.Stack()))
			err = fmt.Errorf("the argosy plugin has a bug and panicked: %v", cause)
		}
	}()
	work := func(ctx context.Context) (plugin.Result, error) {
		return w.do(ctx, machine, func(text string) { w.tell(machine.Name, text) })
	}
	if e.State == nil {
		return work(ctx)
	}
	return recordedStep{w.step, e}.onMachine(ctx, w.call, w.cluster.Name, machine.Name, work)
}

// tell shows the newest progress of a machine beside that of the group.
func (w *groupWork) tell(machine, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report(fmt.Sprintf("%s; %s: %s", w.progress(), machine, text))
}

// progress is that of the group; the caller holds the lock.
func (w *groupWork) progress() string {
	text := fmt.Sprintf("%d of %d machines done", w.done-w.failed, len(w.results))
	if w.failed > 0 {
		text += fmt.Sprintf(", %d failed", w.failed)
	}
	return text
}

// end notes how a machine ended.
func (w *groupWork) end(i int, name string, result plugin.Result, err error) {
	if err != nil {
		result.Phase, result.Message = plugin.Failed, err.Error()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.results[i] = groupResult{machineResult: machineResult{
		Machine: name, Phase: wfv1.NodePhase(result.Phase), Message: result.Message,
	}}
	if text := result.Outputs["report"]; json.Valid([]byte(text)) {
		w.results[i].Report = json.RawMessage(text)
	}
	w.answers[i] = result.Outputs
	w.done++
	if result.Phase == plugin.Failed {
		w.failed++
	}
	w.report(w.progress())
}

// groupAnswer returns the answer of the step once all machines have ended.
func (e *Env) groupAnswer(ctx context.Context, w *groupWork) plugin.Result {
	sorted := make([]machineResult, 0, len(w.results))
	for _, result := range w.results {
		sorted = append(sorted, result.machineResult)
	}
	sortResults(sorted)
	result := plugin.Result{
		Phase: groupPhase(sorted), Message: groupMessage(w.call.Step, sorted), Outputs: map[string]string{},
	}
	for _, output := range w.step.Outputs() {
		result.Outputs[output] = commonOutput(output, w.answers)
	}
	result.Outputs["table"] = groupTable(sorted)
	name, err := e.keep(ctx, w.call, "reports", w.cluster, w.results)
	if err != nil {
		result.Message += "\nthe reports of the machines are lost: " + err.Error()
		name = ""
	}
	result.Outputs["report"] = encode(keptReports{ConfigMap: name})
	return result
}

// keptReports is output "report" of a group's step: the ConfigMap with the reports of its machines, as package offload
// keeps them.
type keptReports struct {
	ConfigMap string `json:"configMap"`
}

// groupPhase returns Failed where a machine failed, and Skipped where all were skipped.
func groupPhase(results []machineResult) plugin.Phase {
	phase := plugin.Skipped
	for _, result := range results {
		if result.failed() {
			return plugin.Failed
		}
		if result.Phase == wfv1.NodePhase(plugin.Succeeded) {
			phase = plugin.Succeeded
		}
	}
	return phase
}

// commonOutput returns the value that all machines have of an output; of "changed" whether one of them was.
func commonOutput(output string, of []map[string]string) string {
	common := of[0][output]
	for _, outputs := range of {
		if output == "changed" && outputs[output] == "true" {
			return "true"
		}
		if outputs[output] != common {
			common = ""
		}
	}
	if output == "changed" {
		return "false"
	}
	return common
}

const (
	// namedFailures and maxLine bound the message of a group, which has 1 KiB in all.
	namedFailures = 4
	maxLine       = 200
	// maxGroupTable bounds the table of a group, in bytes. It is in the Workflow twice, for each of maxGroups groups.
	maxGroupTable = 4 << 10
)

// groupMessage returns one line for a group whose machines all succeeded; otherwise the first that did not, and the
// names of the others.
func groupMessage(step string, results []machineResult) string {
	done := 0
	var others []machineResult
	for _, result := range results {
		if result.Phase == wfv1.NodePhase(plugin.Succeeded) {
			done++
			continue
		}
		others = append(others, result)
	}
	lines := []string{fmt.Sprintf("%d of %d machines %s", done, len(results), pastTense(step))}
	return strings.Join(append(lines, briefly(others)...), "\n")
}

// briefly returns a line for each of the first results, and the names of the others.
func briefly(results []machineResult) []string {
	var lines, names []string
	for i, result := range results {
		if i < namedFailures {
			lines = append(lines, fmt.Sprintf("%s (%s): %s", result.Machine, result.Phase, firstLine(result.Message)))
			continue
		}
		names = append(names, result.Machine)
	}
	if len(names) > 0 {
		lines = append(lines, "and "+count.Of(len(names), "other")+": "+cut(strings.Join(names, ", "), maxLine))
	}
	return lines
}

// groupTable returns a line for each machine, those that failed first.
func groupTable(results []machineResult) string {
	table := operation.NewTable("MACHINE", "RESULT", "MESSAGE")
	longest := 0
	for _, result := range results {
		longest = max(longest, len(result.Machine))
	}
	// Bound of the message in a line of the bounded table, in bytes; the ConfigMap has it in full.
	width := max(maxGroupTable/(len(results)+1)-longest-len("  Succeeded  \n"), minTableMessage)
	for _, result := range results {
		table.Add([]string{cut(firstLine(result.Message), width)}, result.Machine, string(result.Phase))
	}
	return boundText(table.String(), maxGroupTable, "output report")
}

// minTableMessage is how much of a message stands in the table of a group at least, in bytes.
const minTableMessage = 16

func firstLine(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	return cut(first, maxLine)
}

// cut shortens text to most bytes, and marks that.
func cut(text string, most int) string {
	const mark = "…"
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:max(most-len(mark), 0)], "") + mark
}
