package steps

import (
	"context"
	"fmt"

	"argosy.dev/argosy/internal/controlplane"
	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/internal/state"
)

// provisionExecution runs one part of a provision. Its key is shared by all workflows of one cluster, so that two that
// meet do the work once.
func provisionExecution(env *Env, call plugin.Call, in provisionInput,
	run func(context.Context, *controlplane.Provisioner, func(string)) (plugin.Result, error),
) plugin.Execution {
	return plugin.Execution{
		Key: call.Workflow.Namespace + "/" + in.Cluster,
		Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
			provisioner, err := env.provisioner(ctx, call, in.Cluster)
			if err == nil {
				provisioner, err = provisioner.To(in.Version)
			}
			if err != nil {
				return plugin.Result{}, err
			}
			return run(ctx, provisioner, report)
		},
	}
}

// provisionPart is provisionExecution of a part that needs only the cluster.
func provisionPart(env *Env, call plugin.Call,
	run func(context.Context, *controlplane.Provisioner, func(string)) (plugin.Result, error),
) (plugin.Execution, error) {
	var in provisionInput
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	return provisionExecution(env, call, in, run), nil
}

// provisionInput holds the inputs of the parts of a provision that need only the cluster.
type provisionInput struct {
	Cluster string `json:"cluster"`
	// Version instead of the documents', where an upgrade asks for one.
	Version string `json:"version"`
}

// provisionValidateStep checks everything before anything is touched.
type provisionValidateStep struct{ env *Env }

func (provisionValidateStep) Name() string      { return "provision-validate" }
func (provisionValidateStep) Outputs() []string { return nil }

func (s provisionValidateStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	return provisionPart(s.env, call, func(ctx context.Context, p *controlplane.Provisioner,
		report func(string),
	) (plugin.Result, error) {
		message, err := p.Validate(ctx, report)
		return plugin.Result{Phase: plugin.Succeeded, Message: message}, err
	})
}

// provisionControlPlaneStep provisions the control plane.
type provisionControlPlaneStep struct{ env *Env }

func (provisionControlPlaneStep) Name() string { return "provision-control-plane" }
func (provisionControlPlaneStep) Outputs() []string {
	return []string{"endpoint", "caHash", "kubeconfigSecret", "version", "report"}
}

func (s provisionControlPlaneStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		provisionInput
		RenewCertificates string `json:"renewCertificates"`
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	renew, err := parseBool("renewCertificates", in.RenewCertificates)
	if err != nil {
		return plugin.Execution{}, err
	}
	return provisionExecution(s.env, call, in.provisionInput,
		func(ctx context.Context, p *controlplane.Provisioner, report func(string)) (plugin.Result, error) {
			outcome, err := p.Provision(ctx, renew, report)
			if err != nil {
				return plugin.Result{}, err
			}
			s.env.record(call, in.Cluster, described(p.Cluster.Cluster, outcome.Version))
			return plugin.Result{Phase: plugin.Succeeded, Message: outcome.String(), Outputs: map[string]string{
				"endpoint": outcome.Endpoint, "caHash": outcome.CAHash, "kubeconfigSecret": outcome.KubeconfigSecret,
				"version": outcome.Version,
				"report":  encode(outcome),
			}}, nil
		}), nil
}

// provisionAddonsStep applies the addons of the cluster.
type provisionAddonsStep struct{ env *Env }

func (provisionAddonsStep) Name() string      { return "provision-addons" }
func (provisionAddonsStep) Outputs() []string { return []string{"report"} }

func (s provisionAddonsStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	return provisionPart(s.env, call, func(ctx context.Context, p *controlplane.Provisioner,
		report func(string),
	) (plugin.Result, error) {
		return reported(p.SetAddons(ctx, report))
	})
}

// provisionVerifyStep checks the whole cluster as its users will see it.
type provisionVerifyStep struct{ env *Env }

func (provisionVerifyStep) Name() string      { return "provision-verify" }
func (provisionVerifyStep) Outputs() []string { return []string{"report"} }

func (s provisionVerifyStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	return provisionPart(s.env, call, func(ctx context.Context, p *controlplane.Provisioner,
		report func(string),
	) (plugin.Result, error) {
		health, err := p.Verify(ctx, report)
		if err == nil {
			s.env.record(call, p.Cluster.Name, described(p.Cluster.Cluster, health.Version),
				state.CertificateEnds(state.CertificateControlPlane, health.CertificatesEnd))
		}
		return reported(health, err)
	})
}

// reported answers a step whose only output is its report.
func reported[T fmt.Stringer](outcome T, err error) (plugin.Result, error) {
	if err != nil {
		return plugin.Result{}, err
	}
	return plugin.Result{
		Phase: plugin.Succeeded, Message: outcome.String(), Outputs: map[string]string{"report": encode(outcome)},
	}, nil
}
