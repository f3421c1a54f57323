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

// defaultVolumes is where the local-path-provisioner addon makes volumes unless the documents say otherwise.
const defaultVolumes = "/opt/local-path-provisioner"

// sight is what one look at a machine showed: its facts, and the operation that fits it.
type sight struct {
	machine config.Machine
	remote  operation.Machine
	facts   spec.Facts
	op      spec.Operation
	// target is the cluster; nil when it is gone.
	target *join.Target
	// before is how many phases come before the machine's own.
	before int
}

// running says whether the machine works on this very operation now.
func (s sight) running() bool { return s.facts.Working == s.op.ID }

// remember keeps what only a machine that is not reset yet can tell.
func (s sight) remember(outcome *Outcome) {
	if s.facts.Record != nil {
		outcome.Node = s.nodeName()
	}
	outcome.Phases = s.facts.Plan.Phases
}

// nodeName is what the machine's node is called, by its own record or else by the documents.
func (s sight) nodeName() string {
	if record := s.facts.Record; record != nil {
		return record.NodeName
	}
	return s.machine.NodeName
}

// look asks the machine, in one exec, what it is and what the reset would do there.
func (c *Conductor) look(ctx context.Context, machine config.Machine, options Options) (sight, error) {
	seen := sight{machine: machine, remote: c.Machine(machine), before: options.Vacate.phases()}
	var err error
	if !options.ClusterGone {
		if seen.target, err = c.Target(ctx); err != nil {
			return seen, fmt.Errorf("%w; if the cluster is gone for good, say so", err)
		}
	}
	if seen.op, err = c.operation(machine, seen.target, options); err != nil {
		return seen, err
	}
	question := spec.Question{Operations: map[string]spec.Operation{"amd64": seen.op, "arm64": seen.op}}
	if seen.facts, err = seen.remote.Inspect(ctx, question); err != nil {
		return seen, err // names the machine, its address and what was tried
	}
	if seen.facts.Plan == nil {
		return seen, errclass.Errorf(errclass.Configuration,
			"machine %q has architecture %q, which Argosy does not know", machine.Name, seen.facts.Arch)
	}
	return seen, nil
}

// Target opens the cluster, once for all machines; an error is not remembered.
func (c *Conductor) Target(ctx context.Context) (*join.Target, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.target == nil {
		target, err := c.Connect(ctx)
		if err != nil {
			return nil, err
		}
		c.target = target
	}
	return c.target, nil
}

// operation is what machine should be rid of. Its ID depends on that alone.
func (c *Conductor) operation(machine config.Machine, target *join.Target, options Options) (spec.Operation, error) {
	settings := c.Cluster.Settings(machine)
	wanted := &spec.Reset{
		BinariesPath:    settings.BinariesPath,
		CNIBinariesPath: settings.CNIBinariesPath,
		CACertPath:      settings.CACertPath,
		VolumesPath:     c.Cluster.VCluster.Deploy.LocalPathProvisioner.NodePath,
		RemoveVolumes:   options.RemoveVolumes,
	}
	if wanted.VolumesPath == "" {
		wanted.VolumesPath = defaultVolumes
	}
	if target != nil {
		wanted.ClusterUID, wanted.CACert = target.UID, target.CACert
	}
	op := spec.Operation{
		Kind: spec.KindReset, Cluster: c.Cluster.Name, Machine: machine.Name,
		Timeout: spec.Duration(c.Cluster.Fleet.Limits.MachineTimeout.Duration), Reset: wanted,
	}
	var err error
	op.ID, err = operation.Identify(op)
	return op, err
}
