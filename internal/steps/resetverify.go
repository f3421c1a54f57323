package steps

import (
	"context"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/reset"
)

// resetVerifyStep inspects machines after a reset, and fails unless every one is clean and has no node.
type resetVerifyStep struct{ env *Env }

func (resetVerifyStep) Name() string      { return "reset-verify" }
func (resetVerifyStep) Outputs() []string { return []string{"table", "report"} }

func (s resetVerifyStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		Cluster  string `json:"cluster"`
		Machines string `json:"machines"`
		resetParams
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	options, err := in.parse()
	if err != nil {
		return plugin.Execution{}, err
	}
	return verifyExecution(s.env, call, in.Cluster, in.Machines,
		func(ctx context.Context, resetter *reset.Resetter, machines []config.Machine) ([]reset.Finding, error) {
			return resetter.Verify(ctx, machines, options)
		}), nil
}
