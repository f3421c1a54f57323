package images

import (
	"context"
	"errors"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// architectures that machines may have; one of another is told so.
var architectures = []string{"amd64", "arm64"}

// sight is what one look at a machine showed: its facts, and the operation that fits it.
type sight struct {
	machine config.Machine
	remote  Machine
	facts   spec.Facts
	op      spec.Operation
}

// running says whether the machine works on this very operation now.
func (s sight) running() bool { return s.facts.Working == s.op.ID }

// look asks the machine, in one exec, what it is and what it lacks.
func (c *Conductor) look(ctx context.Context, machine config.Machine, items []string) (sight, error) {
	operations, unavailable, err := c.operations(ctx, machine, items)
	if err != nil {
		return sight{}, err
	}
	seen := sight{machine: machine, remote: c.Machine(machine)}
	if seen.facts, err = seen.remote.Inspect(ctx, spec.Question{Operations: operations}); err != nil {
		return seen, err // names the machine, its address and what was tried
	}
	if err := unavailable[seen.facts.Arch]; err != nil {
		return seen, err
	}
	if seen.facts.Plan == nil {
		return seen, errclass.Errorf(errclass.Configuration,
			"machine %q has architecture %q, which Argosy does not know", machine.Name, seen.facts.Arch)
	}
	seen.op = operations[seen.facts.Arch]
	return seen, nil
}

// operations are what the machine should do, by architecture, and why it can't where an image is not there for one.
func (c *Conductor) operations(ctx context.Context, machine config.Machine, items []string) (map[string]spec.Operation,
	map[string]error, error) {
	uid, err := c.who(ctx)
	if err != nil {
		return nil, nil, err
	}
	settings := c.Cluster.Settings(machine)
	if len(items) == 0 {
		items = settings.Containerd.ImportImages
	}
	operations, unavailable := map[string]spec.Operation{}, map[string]error{}
	for _, arch := range architectures {
		sources, err := c.Supply.Resolve(ctx, items, arch)
		if OnlyPlatforms(err) {
			unavailable[arch] = err
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		op := spec.Operation{
			Kind: spec.KindImages, Cluster: c.Cluster.Name, Machine: machine.Name,
			Timeout: spec.Duration(c.Cluster.Fleet.Limits.MachineTimeout.Duration),
			Images: &spec.Images{
				Sources: sources, BinariesPath: settings.BinariesPath, CRISocket: settings.NodeRegistration.CRISocket,
				ClusterUID: uid,
			},
		}
		if op.ID, err = operation.Identify(op); err != nil {
			return nil, nil, err
		}
		operations[arch] = op
	}
	return operations, unavailable, nil
}

// OnlyPlatforms says whether nothing else is wrong than that images are not there for one architecture.
func OnlyPlatforms(err error) bool {
	if err == nil {
		return false
	}
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range several.Unwrap() {
			if !OnlyPlatforms(one) {
				return false
			}
		}
		return true
	}
	if _, ok := err.(*PlatformError); ok {
		return true
	}
	return OnlyPlatforms(errors.Unwrap(err))
}

// who asks the cluster once for its UID; an error is not remembered.
func (c *Conductor) who(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.uid == "" {
		uid, err := c.UID(ctx)
		if err != nil {
			return "", err
		}
		c.uid = uid
	}
	return c.uid, nil
}
