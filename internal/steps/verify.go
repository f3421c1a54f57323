package steps

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/join"
)

// verifyStep checks the cluster after a join and fails unless every machine is a Ready node as wanted.
type verifyStep struct{ env *Env }

func (verifyStep) Name() string      { return "verify" }
func (verifyStep) Outputs() []string { return []string{"table", "report"} }

func (s verifyStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		Cluster  string `json:"cluster"`
		Machines string `json:"machines"`
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	return plugin.Execution{Run: func(ctx context.Context, _ func(string)) (plugin.Result, error) {
		joiner, err := s.env.joiner(ctx, call, in.Cluster)
		if err != nil {
			return plugin.Result{}, err
		}
		machines, err := joiner.Cluster.Select(in.Machines)
		if err != nil {
			return plugin.Result{}, err
		}
		findings, err := joiner.Verify(ctx, machines)
		if err != nil {
			return plugin.Result{}, err
		}
		s.env.observeFindings(call, joiner, findings)
		return verifyResult(findings), nil
	}}, nil
}

func verifyResult(findings []join.Finding) plugin.Result {
	slices.SortStableFunc(findings, func(a, b join.Finding) int {
		return cmp.Compare(len(b.Problems), len(a.Problems))
	})
	result := plugin.Result{
		Phase:   plugin.Succeeded,
		Message: fmt.Sprintf("%d of %d machines are Ready nodes as wanted", len(findings), len(findings)),
		Outputs: map[string]string{"table": boundTable(join.FindingsTable(findings)), "report": encodeReport(findings)},
	}
	unsound := join.Unsound(findings)
	if len(unsound) == 0 {
		return result
	}
	lines := []string{fmt.Sprintf("%d of %d machines are not as wanted:", len(unsound), len(findings))}
	for _, finding := range unsound {
		lines = append(lines, machineLine(finding.Machine, finding.Problems))
	}
	result.Phase, result.Message = plugin.Failed, strings.Join(lines, "\n")
	return result
}
