package steps

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/packer"

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
type summaryStep struct {
	env       *Env
	workflows Workflows
}

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
		workflow, err := s.workflows.Workflow(ctx, call.Workflow.Namespace, call.Workflow.Name)
		if err != nil {
			return plugin.Result{}, fmt.Errorf("reading workflow %q: %w", call.Workflow.Name, err)
		}
		if workflow.Status.IsOffloadNodeStatus() {
			return plugin.Result{Phase: plugin.Succeeded, Message: offloaded(workflow)}, nil
		}
		if err := packer.DecompressWorkflow(workflow); err != nil {
			return plugin.Result{}, fmt.Errorf("decompressing the node status of workflow %q: %w", workflow.Name, err)
		}
		machines := machineResults(workflow.Status.Nodes)
		s.env.observeSummary(call, workflow.Labels[workflowLabel], machines)
		return plugin.Result{
			Phase: plugin.Succeeded, Message: summaryMessage(workflow.Labels[workflowLabel], machines),
			Outputs: map[string]string{
				"table": boundTable(summaryTable(machines)), "report": encodeReport(machines),
			},
		}, nil
	}}, nil
}

// offloaded tells that the results are in the database of Argo's controller, which the plugin has no access to.
func offloaded(workflow *wfv1.Workflow) string {
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
}

// machineResults finds the steps of machines by the inputs of their templates, failed ones first, then in the order of
// the machines' names. A step that was retried counts with its last attempt.
func machineResults(nodes wfv1.Nodes) []machineResult {
	byMachine := map[string]machineResult{}
	started := map[string]int64{}
	for _, node := range nodes {
		machine := machineOf(node)
		if machine == "" || node.StartedAt.UnixNano() < started[machine] {
			continue
		}
		started[machine] = node.StartedAt.UnixNano()
		byMachine[machine] = machineResult{Machine: machine, Phase: node.Phase, Message: node.Message}
	}
	results := make([]machineResult, 0, len(byMachine))
	for _, result := range byMachine {
		results = append(results, result)
	}
	slices.SortFunc(results, func(a, b machineResult) int {
		switch {
		case a.failed() == b.failed():
			return strings.Compare(a.Machine, b.Machine)
		case a.failed():
			return -1
		}
		return 1
	})
	return results
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
	"upgrade": "upgraded",
}

func summaryMessage(template string, machines []machineResult) string {
	if len(machines) == 0 {
		return "no machine needed work"
	}
	done, lines := 0, []string{""}
	for _, result := range machines {
		if result.Phase == wfv1.NodeSucceeded {
			done++
			continue
		}
		lines = append(lines, fmt.Sprintf("%s (%s): %s", result.Machine, result.Phase, result.Message))
	}
	lines[0] = fmt.Sprintf("%d of %d machines %s", done, len(machines), cmp.Or(succeeded[template], "done"))
	if template == "remove" && done > 0 {
		lines[0] += "; " + remove.Afterwards
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
