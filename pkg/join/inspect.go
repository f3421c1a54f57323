package join

import (
	"context"
	"fmt"
	"sync"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/node/spec"
)

// architectures that bundles are looked for; a machine of another one is told so by its preflight.
var architectures = []string{"amd64", "arm64"}

// sight is what one look at a machine showed: its facts, and the operation that fits it.
type sight struct {
	machine   config.Machine
	remote    Machine
	facts     spec.Facts
	operation spec.Operation
	// url of the bundle, kept when the operation itself carries none.
	url string
}

// running says whether the machine works on this very operation now.
func (s sight) running() bool { return s.facts.Working == s.operation.ID }

// look asks the machine, in one exec, what it is and what an operation would do there that wants of it what a join
// does.
func (c *Conductor) look(ctx context.Context, machine config.Machine, kind spec.Kind) (sight, error) {
	question, unavailable, err := c.question(ctx, machine, kind)
	if err != nil {
		return sight{}, err
	}
	remote := c.Machine(machine)
	facts, err := remote.Inspect(ctx, question)
	if err != nil {
		return sight{}, err // names the machine, its address and what was tried
	}
	if err := unavailable[facts.Arch]; err != nil {
		return sight{}, err
	}
	operation, ok := question.Operations[facts.Arch]
	if !ok || facts.Plan == nil {
		return sight{}, errclass.Errorf(errclass.Configuration,
			"machine %q has architecture %q, for which %s offers no bundle of %s", machine.Name, facts.Arch,
			c.Repository.URL, c.Version)
	}
	return sight{machine: machine, remote: remote, facts: facts, operation: operation, url: operation.Join.Bundle.URL},
		nil
}

// question asks for the operation by architecture. Where an image is not there for one, it says so instead.
func (c *Conductor) question(ctx context.Context, machine config.Machine, kind spec.Kind) (spec.Question,
	map[string]error, error) {
	bundles, err := c.bundles.get(ctx, c)
	if err != nil {
		return spec.Question{}, nil, err
	}
	logins, err := c.logins(machine)
	if err != nil {
		return spec.Question{}, nil, err
	}
	question, unavailable := spec.Question{Operations: map[string]spec.Operation{}}, map[string]error{}
	for arch, bundle := range bundles {
		imports, err := c.imports(ctx, machine, arch)
		if images.OnlyPlatforms(err) {
			unavailable[arch] = err
			continue
		}
		if err != nil {
			return spec.Question{}, nil, err
		}
		bundle.CACert, bundle.Authenticated = c.Cluster.Fleet.Bundles.CACert, !c.Repository.Token.Empty()
		operation, err := operationFor(kind, c.Cluster, c.Target, machine, c.Version, bundle, imports)
		if err != nil {
			return spec.Question{}, nil, err
		}
		operation.Secrets.Registries = logins
		question.Operations[arch] = operation
		if c.Cluster.Fleet.Bundles.Delivery == config.DeliveryAuto {
			question.Reach, question.ReachCA = bundle.URL, c.Cluster.Fleet.Bundles.CACert
		}
	}
	return question, unavailable, nil
}

// imports are the machine's importImages.
func (c *Conductor) imports(ctx context.Context, machine config.Machine, arch string) ([]spec.ImageSource, error) {
	items := c.Cluster.Settings(machine).Containerd.ImportImages
	if len(items) == 0 {
		return nil, nil
	}
	return c.Images.Resolve(ctx, items, arch)
}

// pulls says whether the machine fetches the bundle itself.
func (c *Conductor) pulls(seen sight) bool {
	switch c.Cluster.Fleet.Bundles.Delivery {
	case config.DeliveryPull:
		return true
	case config.DeliveryPush:
		return false
	default:
		return seen.facts.Reached != nil && *seen.facts.Reached
	}
}

// bundleCache finds the bundles once for all machines of a conductor.
type bundleCache struct {
	mu    sync.Mutex
	found map[string]spec.Bundle
}

// get returns the bundles by architecture. One missing architecture is normal; none at all is the first one's error.
func (b *bundleCache) get(ctx context.Context, c *Conductor) (map[string]spec.Bundle, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.found != nil {
		return b.found, nil
	}
	found := map[string]spec.Bundle{}
	var first error
	for _, arch := range architectures {
		bundle, err := c.Repository.Locate(ctx, c.Version, arch)
		if errclass.IsTransient(err) {
			return nil, fmt.Errorf("looking for the bundle of %s for %s: %w", c.Version, arch, err)
		}
		if err != nil {
			if first == nil {
				first = fmt.Errorf("looking for the bundle of %s for %s: %w", c.Version, arch, err)
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
