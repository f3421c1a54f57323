package steps

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/packer"

	"argosy.dev/argosy/internal/offload"
	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/remove"
)

// Workflows reads a Workflow of the plugin's own namespace.
type Workflows interface {
	Workflow(ctx context.Context, namespace, name string) (*wfv1.Workflow, error)
}

// summaryStep reports at the end of a workflow how each machine ended. It reads the Workflow itself, so it also knows
// the results of an earlier agent pod, and it never fails a workflow that did its work.
type summaryStep struct{ env *Env }

func (summaryStep) Name() string      { return "summary" }
func (summaryStep) Outputs() []string { return []string{"table", "report"} }

func (s summaryStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	if err := call.Decode(&struct {
		Cluster  string `json:"cluster"`
		Machines string `json:"machines"`
		Status   string `json:"status"`
	}{}); err != nil {
		return plugin.Execution{}, err
	}
	return plugin.Execution{Run: func(ctx context.Context, _ func(string)) (plugin.Result, error) {
		workflow, err := s.env.workflows.Workflow(ctx, call.Workflow.Namespace, call.Workflow.Name)
		if err != nil {
			return plugin.Result{}, fmt.Errorf("reading workflow %q: %w", call.Workflow.Name, err)
		}
		if workflow.Status.IsOffloadNodeStatus() {
			return plugin.Result{Phase: plugin.Succeeded, Message: offloadedNodes(workflow)}, nil
		}
		if err := packer.DecompressWorkflow(workflow); err != nil {
			return plugin.Result{}, fmt.Errorf("decompressing the node status of workflow %q: %w", workflow.Name, err)
		}
		kept := s.env.keepReport(ctx, call, workflow, call.Input("status"))
		machines := s.env.withMembers(ctx, call, machineResults(workflow.Status.Nodes))
		s.env.observeSummary(call, workflow.Labels[workflowLabel], machines)
		message := summaryMessage(workflow.Labels[workflowLabel], machines)
		s.env.traceRun(ctx, call, workflow, message)
		return plugin.Result{
			Phase: plugin.Succeeded, Message: message,
			Outputs: map[string]string{
				"table": boundTable(summaryTable(machines)), "report": encodeReportIn(machines, kept),
			},
		}, nil
	}}, nil
}

// offloadedNodes tells that the results are in the database of Argo's controller, which the plugin has no access to.
func offloadedNodes(workflow *wfv1.Workflow) string {
	return fmt.Sprintf("the node status of this workflow is offloaded to a database (nodeStatusOffLoad of Argo's "+
		"persistence), which this step cannot read: see how each machine ended in Argo's UI, or with "+
		"`argo get -n %s %s`",
		workflow.Namespace, workflow.Name)
}

// machineResult is how one machine's step ended.
type machineResult struct {
	Machine string         `json:"machine"`
	Phase   wfv1.NodePhase `json:"phase"`
	// Message of the step: of a failure the machine's phase, the reason and the last lines.
	Message string `json:"message"`

	// reports is the ConfigMap with the results of a group's machines; empty where there is none.
	reports string
	// started is when the step began, in Unix nanoseconds.
	started int64
}

// machineResults finds the steps of machines by the inputs of their templates, failed ones first, then in the order of
// the machines' names. A step that was retried counts with its last attempt.
func machineResults(nodes wfv1.Nodes) []machineResult {
	var all []machineResult
	for _, node := range nodes {
		machine := machineOf(node)
		if machine == "" {
			continue
		}
		all = append(all, machineResult{
			Machine: machine, Phase: node.Phase, Message: node.Message, reports: reportsOf(node),
			started: node.StartedAt.UnixNano(),
		})
	}
	return lastOf(all)
}

// lastOf returns the last result of each machine, in the order of sortResults.
func lastOf(all []machineResult) []machineResult {
	byMachine := map[string]machineResult{}
	for _, result := range all {
		if last, found := byMachine[result.Machine]; !found || result.after(last) {
			byMachine[result.Machine] = result
		}
	}
	results := slices.Collect(maps.Values(byMachine))
	sortResults(results)
	return results
}

// sortResults puts failed machines first, and orders the others by name.
func sortResults(results []machineResult) {
	slices.SortFunc(results, func(a, b machineResult) int {
		switch {
		case a.failed() == b.failed():
			return strings.Compare(a.Machine, b.Machine)
		case a.failed():
			return -1
		}
		return 1
	})
}

// reportsOf returns the ConfigMap with the results of the machines of a group's step; "" where it has none.
func reportsOf(node wfv1.NodeStatus) string {
	if node.Outputs == nil {
		return ""
	}
	var kept keptReports
	for _, output := range node.Outputs.Parameters {
		if output.Name == "report" && output.Value != nil {
			_ = json.Unmarshal([]byte(output.Value.String()), &kept) // the report of a machine has no such field
		}
	}
	return kept.ConfigMap
}

// withMembers replaces the results of groups by those of their machines. Where these are not there, since the step was
// stopped or lost, the group stays.
func (e *Env) withMembers(ctx context.Context, call plugin.Call, results []machineResult) []machineResult {
	var all []machineResult
	for _, result := range results {
		members, err := e.reportsIn(ctx, call, result)
		if err != nil || len(members) == 0 {
			all = append(all, result)
			continue
		}
		for _, member := range members {
			member.started = result.started
			all = append(all, member.machineResult)
		}
	}
	return lastOf(all)
}

// reportsIn returns the results of the machines of a group; none for a machine, or where the group has not ended.
func (e *Env) reportsIn(ctx context.Context, call plugin.Call, result machineResult) ([]groupResult, error) {
	if !isGroup(result.Machine) || result.reports == "" {
		return nil, nil
	}
	var members []groupResult
	err := operation.Retrying(ctx, summaryBudget, operation.NoProgress{}, func(ctx context.Context) error {
		return e.records.Read(ctx, offload.Owner(call.Workflow), result.reports, &members)
	})
	return members, err
}

// summaryBudget is how long the summary asks again for the reports of a group.
const summaryBudget = 30 * time.Second

// after reports whether r counts rather than other, of the same machine. Argo stores seconds: of two steps that began
// in the same one, a failure was the end.
func (r machineResult) after(other machineResult) bool {
	if r.started == other.started {
		return r.failed()
	}
	return r.started > other.started
}

func (r machineResult) failed() bool {
	return r.Phase != wfv1.NodeSucceeded && r.Phase != wfv1.NodeSkipped
}

// machineOf is the machine that a plugin node worked on, "" for every other node.
func machineOf(node wfv1.NodeStatus) string {
	if node.Type != wfv1.NodeTypePlugin || node.Inputs == nil {
		return ""
	}
	for _, parameter := range node.Inputs.Parameters {
		if parameter.Name == "machine" && parameter.Value != nil {
			return parameter.Value.String()
		}
	}
	return ""
}

// workflowLabel is the label of our workflows with the name of their template.
const workflowLabel = "argosy.dev/workflow"

// succeeded is the participle for a machine of a workflow that succeeded.
var succeeded = map[string]string{
	"join": "joined", "reconcile": "reconciled", "import-images": "supplied with images", "remove": "removed",
	"reset":   "reset",
	"upgrade": "upgraded", "upgrade-stage": "staged", "rollback": "rolled back",
}

// pastTense returns the participle for a machine on which a step, or a workflow, succeeded.
func pastTense(step string) string { return cmp.Or(succeeded[step], "done") }

func summaryMessage(template string, machines []machineResult) string {
	if len(machines) == 0 {
		return "no machine needed work"
	}
	done, total, lines := 0, 0, []string{""}
	var others []machineResult
	for _, result := range machines {
		total += groupLength(result.Machine)
		if result.Phase == wfv1.NodeSucceeded {
			done += groupLength(result.Machine)
			continue
		}
		others = append(others, result)
	}
	lines[0] = fmt.Sprintf("%d of %d machines %s", done, total, pastTense(template))
	if template == "remove" && done > 0 {
		lines[0] += "; " + remove.Afterwards
	}
	if total > maxOwnSteps {
		return strings.Join(append(lines, briefly(others)...), "\n")
	}
	for _, result := range others {
		lines = append(lines, fmt.Sprintf("%s (%s): %s", result.Machine, result.Phase, result.Message))
	}
	return strings.Join(lines, "\n")
}

func summaryTable(machines []machineResult) string {
	table := operation.NewTable("MACHINE", "RESULT", "MESSAGE")
	for _, result := range machines {
		table.Add(strings.Split(result.Message, "\n"), result.Machine, string(result.Phase))
	}
	return table.String()
}
