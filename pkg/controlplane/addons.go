package controlplane

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"argosy.dev/argosy/pkg/addons"
	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/errclass"
)

// AddonsOutcome is what a run made of the addons.
type AddonsOutcome struct {
	// Addons that are on, as "flannel v0.26.7".
	Addons  []string       `json:"addons"`
	Changes []apply.Change `json:"-"`
	Seconds float64        `json:"seconds"`
}

// String is one line for people.
func (o AddonsOutcome) String() string {
	return fmt.Sprintf("%s after %.1f s: %s", strings.Join(o.Addons, ", "), o.Seconds, apply.Summary(o.Changes))
}

// inventory names the ConfigMap that lists an addon's objects in the cluster.
func inventory(addon string) types.NamespacedName {
	return types.NamespacedName{Namespace: metav1.NamespaceSystem, Name: "argosy-addon-" + addon}
}

// SetAddons brings the addons to what the documents say: those that are on are set, what those that are off left is
// removed. What users changed in them stays as they want it.
func (p *Provisioner) SetAddons(ctx context.Context, report func(string)) (AddonsOutcome, error) {
	started := time.Now()
	outcome, err := p.setAddons(ctx, report)
	outcome.Seconds = time.Since(started).Seconds()
	if err != nil {
		return outcome, fmt.Errorf("setting the addons of cluster %q: %w", p.Cluster.Name, err)
	}
	return outcome, nil
}

func (p *Provisioner) setAddons(ctx context.Context, report func(string)) (AddonsOutcome, error) {
	var outcome AddonsOutcome
	cluster, wanted, err := p.wantedAddons(ctx, report)
	if err != nil {
		return outcome, err
	}
	for i, addon := range wanted {
		report(fmt.Sprintf("[%d/%d %s] setting %d objects", i+1, len(wanted), addon.Name, len(addon.Objects)))
		objects := addon.Objects
		if !addon.Enabled {
			objects = nil
		} else {
			outcome.Addons = append(outcome.Addons, strings.TrimSpace(addon.Name+" "+addon.Version))
		}
		changes, err := cluster.objects.Sync(ctx, inventory(addon.Name), objects, apply.Options{})
		outcome.Changes = append(outcome.Changes, changes...)
		if err != nil {
			return outcome, fmt.Errorf("setting addon %q: %w", addon.Name, err)
		}
	}
	return outcome, nil
}

// wantedAddons connects to the cluster and says what should run in it.
func (p *Provisioner) wantedAddons(ctx context.Context, report func(string)) (*connection, []addons.Addon, error) {
	cluster, err := p.connect(ctx, report)
	if err != nil {
		return nil, nil, err
	}
	endpoint, k, err := p.standing(ctx)
	if err != nil {
		return nil, nil, err
	}
	wanted, err := addons.Wanted(p.Cluster, p.facts(endpoint, k.cluster.Cert))
	if err != nil {
		return nil, nil, fmt.Errorf("reading what the documents say about addons: %w", err)
	}
	return cluster, wanted, nil
}

// standing is where the control plane that was provisioned is, and its keys.
func (p *Provisioner) standing(ctx context.Context) (Endpoint, *keys, error) {
	k, _, err := p.loadKeys(ctx)
	if err != nil {
		return Endpoint{}, nil, err
	}
	if k == nil {
		return Endpoint{}, nil, errclass.Errorf(errclass.Configuration,
			"cluster %q has no control plane yet: submit workflow provision first", p.Cluster.Name)
	}
	service, err := p.Host.CoreV1().Services(p.namespace()).Get(ctx, p.names().service(), metav1.GetOptions{})
	if err != nil {
		return Endpoint{}, nil, fmt.Errorf("reading Service %q of the control plane: %w", p.names().service(),
			apply.Classify(err))
	}
	endpoint, why, err := p.endpointOf(ctx, service)
	if err == nil && why != "" {
		err = errclass.Errorf(errclass.Transient, "finding the control plane: %s", why)
	}
	return endpoint, k, err
}
