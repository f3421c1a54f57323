package reset

import (
	"context"
	"fmt"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// defaultVolumes is where the local-path-provisioner addon makes volumes by default.
const defaultVolumes = "/opt/local-path-provisioner"

// inspection is a machine as it was found, and the operation that it was inspected for.
type inspection struct {
	operation.Inspection
	machine config.Machine
	remote  operation.Machine
	// target is the cluster; nil when it is gone.
	target *join.Target
	// phases of the reset, those that empty the node included.
	phases operation.Phases
}

// nodeName returns the name of the machine's node, by its own record or else by the documents.
func (i inspection) nodeName() string {
	if record := i.Facts.Record; record != nil {
		return record.NodeName
	}
	return i.machine.NodeName
}

// clusterGoneHint adds the way out to an error of the connection to the cluster.
const clusterGoneHint = "%w; if the cluster is gone for good, reset with clusterGone (argosy reset --cluster-gone)"

// inspect asks the machine, in one exec, for its facts and for the plan of the reset.
func (r *Resetter) inspect(ctx context.Context, machine config.Machine, options Options) (inspection, error) {
	found := inspection{machine: machine, remote: r.Machine(machine), phases: options.phases()}
	var err error
	if !options.ClusterGone {
		if found.target, err = r.Target(ctx); err != nil {
			return found, fmt.Errorf(clusterGoneHint, err)
		}
	}
	if found.Operation, err = r.operation(machine, found.target, options); err != nil {
		return found, err
	}
	question := spec.Question{Operations: map[string]spec.Operation{
		"amd64": found.Operation,
		"arm64": found.Operation,
	}}
	if found.Facts, err = found.remote.Inspect(ctx, question); err != nil {
		return found, err // names the machine, its address and what was tried
	}
	if found.Facts.Plan == nil {
		return found, errclass.Errorf(errclass.Configuration,
			"inspecting machine %q: its architecture is %q; Argosy supports amd64 and arm64", machine.Name,
			found.Facts.Arch)
	}
	return found, nil
}

// Target opens the cluster, once for all machines; an error is not remembered.
func (r *Resetter) Target(ctx context.Context) (*join.Target, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.target == nil {
		target, err := r.Connect(ctx)
		if err != nil {
			return nil, err
		}
		r.target = target
	}
	return r.target, nil
}

// operation returns the reset of machine. Its ID depends on the wanted state alone.
func (r *Resetter) operation(machine config.Machine, target *join.Target, options Options) (spec.Operation, error) {
	settings := r.Cluster.Settings(machine)
	wanted := &spec.Reset{
		BinariesPath:    settings.BinariesPath,
		CNIBinariesPath: settings.CNIBinariesPath,
		CACertPath:      settings.CACertPath,
		VolumesPath:     r.Cluster.VCluster.Deploy.LocalPathProvisioner.NodePath,
		RemoveVolumes:   options.RemoveVolumes,
	}
	if wanted.VolumesPath == "" {
		wanted.VolumesPath = defaultVolumes
	}
	if target != nil {
		wanted.ClusterUID, wanted.CACert = target.UID, target.CACert
	}
	op := spec.Operation{
		Kind: spec.KindReset, Cluster: r.Cluster.Name, Machine: machine.Name,
		Timeout: spec.Duration(r.Cluster.Fleet.Limits.MachineTimeout.Duration), Reset: wanted,
	}
	var err error
	op.ID, err = operation.Identify(op)
	return op, err
}
