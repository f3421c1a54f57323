package images

import (
	"context"
	"errors"
	"strings"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// architectures that machines may have; one of another is told so.
var architectures = []string{"amd64", "arm64"}

// inspection is a machine as it was found, and the operation that it was inspected for.
type inspection struct {
	operation.Inspection
	machine config.Machine
	remote  Machine
}

// inspect asks the machine, in one exec, for its facts and for the items that it lacks.
func (i *Importer) inspect(ctx context.Context, machine config.Machine, items []string) (inspection, error) {
	operations, unavailable, err := i.operations(ctx, machine, items)
	if err != nil {
		return inspection{}, err
	}
	found := inspection{machine: machine, remote: i.Machine(machine)}
	if found.Facts, err = found.remote.Inspect(ctx, spec.Question{Operations: operations}); err != nil {
		return found, err // names the machine, its address and what was tried
	}
	if err := unavailable[found.Facts.Arch]; err != nil {
		return found, err
	}
	if found.Facts.Plan == nil {
		return found, errclass.Errorf(errclass.Configuration,
			"inspecting machine %q: its architecture is %q; Argosy supports %s", machine.Name, found.Facts.Arch,
			strings.Join(architectures, " and "))
	}
	found.Operation = operations[found.Facts.Arch]
	return found, nil
}

// operations returns the import by architecture, and for each architecture that an image lacks, the error.
func (i *Importer) operations(ctx context.Context, machine config.Machine, items []string) (map[string]spec.Operation,
	map[string]error, error,
) {
	uid, err := i.who(ctx)
	if err != nil {
		return nil, nil, err
	}
	settings := i.Cluster.Settings(machine)
	if len(items) == 0 {
		items = settings.Containerd.ImportImages
	}
	operations, unavailable := map[string]spec.Operation{}, map[string]error{}
	for _, arch := range architectures {
		sources, err := i.Supply.Resolve(ctx, items, arch)
		if OnlyPlatforms(err) {
			unavailable[arch] = err
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		op := spec.Operation{
			Kind: spec.KindImages, Cluster: i.Cluster.Name, Machine: machine.Name,
			Timeout: spec.Duration(i.Cluster.Fleet.Limits.MachineTimeout.Duration),
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

// OnlyPlatforms reports whether err has no other cause than images that lack one architecture.
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
	if _, ok := err.(*PlatformError); ok { //nolint:errorlint // errors.As would also find it beside other errors
		return true
	}
	return OnlyPlatforms(errors.Unwrap(err))
}

// who asks the cluster once for its UID; an error is not remembered.
func (i *Importer) who(ctx context.Context) (string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.uid == "" {
		uid, err := i.UID(ctx)
		if err != nil {
			return "", err
		}
		i.uid = uid
	}
	return i.uid, nil
}
