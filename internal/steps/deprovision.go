package steps

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"argosy.dev/argosy/internal/controlplane"
	"argosy.dev/argosy/internal/controlplane/backup"
	"argosy.dev/argosy/internal/controlplane/deprovision"
	"argosy.dev/argosy/internal/plugin"
)

// deprovisionInput holds the inputs of both parts of a deprovision, so that the second can check them again.
type deprovisionInput struct {
	Cluster     string `json:"cluster"`
	Machines    string `json:"machines"`
	Force       string `json:"force"`
	KeepVolumes string `json:"keepVolumes"`
	FinalBackup string `json:"finalBackup"`
}

func (in deprovisionInput) options() (deprovision.Options, error) {
	options := deprovision.Options{Machines: in.Machines}
	if choices := []string{
		deprovision.RefuseMachines, deprovision.ResetMachines,
		deprovision.KeepMachines,
	}; !slices.Contains(choices, in.Machines) {
		return options, fmt.Errorf("the parameter \"machines\" is %q: give one of %s", in.Machines,
			strings.Join(choices, ", "))
	}
	// An empty text does not give up a setting that keeps data.
	for _, keeps := range []*string{&in.KeepVolumes, &in.FinalBackup} {
		if *keeps == "" {
			*keeps = "true"
		}
	}
	err := parseBools(
		boolParam{"force", in.Force, &options.Force}, boolParam{"keepVolumes", in.KeepVolumes, &options.KeepVolumes},
		boolParam{"finalBackup", in.FinalBackup, &options.FinalBackup},
	)
	return options, err
}

// deprovisionExecution runs one part of a deprovision.
func deprovisionExecution(env *Env, call plugin.Call, run func(context.Context, *deprovision.Deprovisioner,
	deprovision.Options, func(string)) (plugin.Result, error),
) (plugin.Execution, error) {
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
			deprovisioner := &deprovision.Deprovisioner{Cluster: p.Cluster, FinalBackup: backup.Final(p)}
			return run(ctx, deprovisioner, options, report)
		}), nil
}

// deprovisionCheckStep lists the machines that are to be reset before a cluster is removed, or fails when it may not be
// removed.
type deprovisionCheckStep struct{ env *Env }

func (deprovisionCheckStep) Name() string { return "deprovision-check" }
func (deprovisionCheckStep) Outputs() []string {
	return []string{"machines", "groups", "clusterGone", "removeVolumes"}
}

func (s deprovisionCheckStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	return deprovisionExecution(s.env, call, func(ctx context.Context, d *deprovision.Deprovisioner,
		o deprovision.Options, report func(string),
	) (plugin.Result, error) {
		joined, err := d.Check(ctx, o, report)
		if err != nil {
			return plugin.Result{}, err
		}
		var machines []string
		if o.Machines == deprovision.ResetMachines {
			machines = joined.Machines
		}
		result := plugin.Result{Phase: plugin.Succeeded, Message: joined.String(), Outputs: map[string]string{
			"clusterGone": strconv.FormatBool(joined.Silent != ""), "removeVolumes": strconv.FormatBool(!o.KeepVolumes),
		}}
		return result, s.env.fanOut(ctx, call, d.Cluster.Cluster, machines, result)
	})
}

// deprovisionRemoveStep removes a control plane that no machine is joined to any more, or whose machines wait.
type deprovisionRemoveStep struct{ env *Env }

func (deprovisionRemoveStep) Name() string      { return "deprovision-remove" }
func (deprovisionRemoveStep) Outputs() []string { return []string{"archive", "report"} }

func (s deprovisionRemoveStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	return deprovisionExecution(s.env, call, func(ctx context.Context, d *deprovision.Deprovisioner,
		o deprovision.Options, report func(string),
	) (plugin.Result, error) {
		done, err := d.Run(ctx, o, report)
		if err != nil {
			return plugin.Result{}, err
		}
		s.env.State.Forget(ctx, call.Workflow.Namespace, call.Input("cluster"))
		return plugin.Result{Phase: plugin.Succeeded, Message: done.String(), Outputs: map[string]string{
			"archive": done.Archive, "report": encode(done),
		}}, nil
	})
}
