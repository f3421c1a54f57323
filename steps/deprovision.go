package steps

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"argosy.dev/argosy/pkg/controlplane"
	"argosy.dev/argosy/pkg/plugin"
)

// deprovisionInput is what both parts of a deprovision get, so that the second can look again.
type deprovisionInput struct {
	Cluster     string `json:"cluster"`
	Machines    string `json:"machines"`
	Force       string `json:"force"`
	KeepVolumes string `json:"keepVolumes"`
	FinalBackup string `json:"finalBackup"`
}

func (in deprovisionInput) options() (controlplane.DeprovisionOptions, error) {
	options := controlplane.DeprovisionOptions{Machines: in.Machines}
	if choices := []string{controlplane.RefuseMachines, controlplane.ResetMachines,
		controlplane.KeepMachines}; !slices.Contains(choices, in.Machines) {
		return options, fmt.Errorf("the parameter \"machines\" is %q: give one of %s", in.Machines,
			strings.Join(choices, ", "))
	}
	err := choose(
		choice{"force", in.Force, &options.Force}, choice{"keepVolumes", in.KeepVolumes, &options.KeepVolumes},
		choice{"finalBackup", in.FinalBackup, &options.FinalBackup},
	)
	return options, err
}

// deprovisionExecution runs one part of a deprovision.
func deprovisionExecution(env *Env, call plugin.Call, run func(context.Context, *controlplane.Provisioner,
	controlplane.DeprovisionOptions, func(string)) (plugin.Result, error)) (plugin.Execution, error) {
	var in deprovisionInput
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	options, err := in.options()
	if err != nil {
		return plugin.Execution{}, err
	}
	return provisionExecution(env, call, provisionInput{Cluster: in.Cluster},
		func(ctx context.Context, p *controlplane.Provisioner, report func(string)) (plugin.Result, error) {
			return run(ctx, p, options, report)
		}), nil
}

// deprovisionCheckStep says which machines are to be reset before a cluster goes, or why it may not go.
type deprovisionCheckStep struct{ env *Env }

func (deprovisionCheckStep) Name() string { return "deprovision-check" }
func (deprovisionCheckStep) Outputs() []string {
	return []string{"machines", "clusterGone", "removeVolumes"}
}

func (s deprovisionCheckStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	return deprovisionExecution(s.env, call, func(ctx context.Context, p *controlplane.Provisioner,
		o controlplane.DeprovisionOptions, report func(string)) (plugin.Result, error) {
		joined, err := p.CheckDeprovision(ctx, o, report)
		if err != nil {
			return plugin.Result{}, err
		}
		items := []item{}
		if o.Machines == controlplane.ResetMachines {
			for _, machine := range joined.Machines {
				items = append(items, item{machine})
			}
		}
		return plugin.Result{Phase: plugin.Succeeded, Message: joined.String(), Outputs: map[string]string{
			"machines": encode(items), "clusterGone": strconv.FormatBool(joined.Silent != ""),
			"removeVolumes": strconv.FormatBool(!o.KeepVolumes),
		}}, nil
	})
}

// deprovisionRemoveStep removes a control plane that no machine is joined to any more, or whose machines wait.
type deprovisionRemoveStep struct{ env *Env }

func (deprovisionRemoveStep) Name() string      { return "deprovision-remove" }
func (deprovisionRemoveStep) Outputs() []string { return []string{"archive", "report"} }

func (s deprovisionRemoveStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	return deprovisionExecution(s.env, call, func(ctx context.Context, p *controlplane.Provisioner,
		o controlplane.DeprovisionOptions, report func(string)) (plugin.Result, error) {
		done, err := p.Deprovision(ctx, o, report)
		if err != nil {
			return plugin.Result{}, err
		}
		return plugin.Result{Phase: plugin.Succeeded, Message: done.String(), Outputs: map[string]string{
			"archive": done.Archive, "report": encode(done),
		}}, nil
	})
}
