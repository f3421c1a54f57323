package steps

import (
	"context"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/remove"
	"argosy.dev/argosy/pkg/reset"
)

// removeVerifyStep inspects machines and cluster after a removal, and fails unless every machine is clean and has no
// node.
type removeVerifyStep struct{ env *Env }

func (removeVerifyStep) Name() string      { return "remove-verify" }
func (removeVerifyStep) Outputs() []string { return []string{"table", "report"} }

func (s removeVerifyStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		Cluster       string `json:"cluster"`
		Machines      string `json:"machines"`
		Unreachable   string `json:"unreachable"`
		RemoveVolumes string `json:"removeVolumes"`
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	asked, err := removeParams{Unreachable: in.Unreachable, RemoveVolumes: in.RemoveVolumes}.parse()
	if err != nil {
		return plugin.Execution{}, err
	}
	return verifyExecution(s.env, call, in.Cluster, in.Machines,
		func(ctx context.Context, resetter *reset.Resetter, machines []config.Machine) ([]reset.Finding, error) {
			return (&remove.Remover{Resetter: resetter}).Verify(ctx, machines, asked.options)
		}), nil
}
