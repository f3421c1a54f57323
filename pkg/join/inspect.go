package join

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// architectures that bundles are looked for; a machine of another one is told so by its preflight.
var architectures = []string{"amd64", "arm64"}

// Inspection is a machine as it was found, and the operation that it was inspected for: one that wants of the machine
// what a join does.
type Inspection struct {
	operation.Inspection
	machine config.Machine
	remote  Machine
	// url of the bundle, kept when the operation itself carries none.
	url string
}

// BundleSize returns the size of the bundle that the operation wants, in bytes; 0 when it is not known.
func (i Inspection) BundleSize() int64 { return i.Operation.Join.Bundle.Size }

// Inspect asks the machine, in one exec, for its facts and for the plan of an operation of kind at the Joiner's
// version: a join, a stage, an upgrade or a rollback.
func (j *Joiner) Inspect(ctx context.Context, machine config.Machine, kind spec.Kind) (Inspection, error) {
	return j.inspect(ctx, machine, kind, func(ctx context.Context, ask func(context.Context) error) error {
		return ask(ctx)
	})
}

// inspectStarting inspects a machine for a join, and waits up to timeout for one that may still be booting.
func (j *Joiner) inspectStarting(ctx context.Context, machine config.Machine, timeout time.Duration,
	progress operation.Progress,
) (Inspection, error) {
	return j.inspect(ctx, machine, spec.KindJoin, func(ctx context.Context, ask func(context.Context) error) error {
		return j.startup.Wait(ctx, machine, timeout, progress, ask)
	})
}

// startupTimeout returns how long to wait for a machine that has never answered; 0 for one whose node is in the
// cluster, or where that cannot be told.
func (j *Joiner) startupTimeout(ctx context.Context, machine config.Machine) time.Duration {
	timeout := j.Cluster.SSHFor(machine).Startup()
	if timeout <= 0 {
		return 0
	}
	_, err := j.Target.Client.CoreV1().Nodes().Get(ctx, machine.NodeName, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return 0
	}
	return timeout
}

// inspect asks the machine by calling reach with the request, which it may repeat.
func (j *Joiner) inspect(ctx context.Context, machine config.Machine, kind spec.Kind,
	reach func(context.Context, func(context.Context) error) error,
) (Inspection, error) {
	question, unavailable, err := j.question(ctx, machine, kind)
	if err != nil {
		return Inspection{}, err
	}
	found := Inspection{machine: machine, remote: j.Machine(machine)}
	if err := reach(ctx, func(ctx context.Context) (err error) {
		found.Facts, err = found.remote.Inspect(ctx, question)
		return err
	}); err != nil {
		return Inspection{}, err // names the machine, its address and what was tried
	}
	if err := unavailable[found.Facts.Arch]; err != nil {
		return Inspection{}, err
	}
	op, ok := question.Operations[found.Facts.Arch]
	if !ok || found.Facts.Plan == nil {
		return Inspection{}, errclass.Errorf(errclass.Configuration,
			"machine %q has architecture %q, for which %s offers no bundle of %s", machine.Name, found.Facts.Arch,
			j.Repository.URL, j.Version)
	}
	found.Operation, found.url = op, op.Join.Bundle.URL
	return found, nil
}

// question asks for the operation by architecture. An architecture that an image lacks has an error instead.
func (j *Joiner) question(ctx context.Context, machine config.Machine, kind spec.Kind) (spec.Question,
	map[string]error, error,
) {
	bundles, err := j.bundles.get(ctx, j)
	if err != nil {
		return spec.Question{}, nil, err
	}
	logins, err := j.logins(machine)
	if err != nil {
		return spec.Question{}, nil, err
	}
	question, unavailable := spec.Question{Operations: map[string]spec.Operation{}}, map[string]error{}
	for arch, bundle := range bundles {
		imports, err := j.imports(ctx, machine, arch)
		if images.OnlyPlatforms(err) {
			unavailable[arch] = err
			continue
		}
		if err != nil {
			return spec.Question{}, nil, err
		}
		bundle.CACert, bundle.Authenticated = j.Cluster.Fleet.Bundles.CACert, !j.Repository.Token.Empty()
		op, err := operationFor(kind, j.Cluster, j.Target, machine, j.Version, bundle, imports)
		if err != nil {
			return spec.Question{}, nil, err
		}
		op.Secrets.Registries = logins
		question.Operations[arch] = op
		if j.Cluster.Fleet.Bundles.Delivery == config.DeliveryAuto {
			question.Reach, question.ReachCA = bundle.URL, j.Cluster.Fleet.Bundles.CACert
		}
	}
	return question, unavailable, nil
}

// imports are the machine's importImages.
func (j *Joiner) imports(ctx context.Context, machine config.Machine, arch string) ([]spec.ImageSource, error) {
	items := j.Cluster.Settings(machine).Containerd.ImportImages
	if len(items) == 0 {
		return nil, nil
	}
	return j.Images.Resolve(ctx, items, arch)
}

// pulls reports whether the machine fetches the bundle itself.
func (j *Joiner) pulls(found Inspection) bool {
	switch j.Cluster.Fleet.Bundles.Delivery {
	case config.DeliveryPull:
		return true
	case config.DeliveryPush:
		return false
	default:
		return found.Facts.Reached != nil && *found.Facts.Reached
	}
}

// bundleCache finds the bundles once for all machines of a Joiner.
type bundleCache struct {
	mu    sync.Mutex
	found map[string]spec.Bundle
}

// get returns the bundles by architecture. One missing architecture is normal; none at all is the first one's error.
func (b *bundleCache) get(ctx context.Context, joiner *Joiner) (map[string]spec.Bundle, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.found != nil {
		return b.found, nil
	}
	found := map[string]spec.Bundle{}
	var first error
	for _, arch := range architectures {
		bundle, err := joiner.Repository.Locate(ctx, joiner.Version, arch)
		if errclass.IsTransient(err) {
			return nil, fmt.Errorf("looking for the bundle of %s for %s: %w", joiner.Version, arch, err)
		}
		if err != nil {
			if first == nil {
				first = fmt.Errorf("looking for the bundle of %s for %s: %w", joiner.Version, arch, err)
			}
			continue
		}
		found[arch] = bundle
	}
	if len(found) == 0 {
		return nil, first
	}
	b.found = found
	return found, nil
}
