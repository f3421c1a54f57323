package controlplane

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"argosy.dev/argosy/internal/addons"
	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/errclass"
)

// AddonsOutcome describes the addons after a run.
type AddonsOutcome struct {
	// Addons lists those that are on, as "flannel v0.26.7".
	Addons  []string       `json:"addons"`
	Changes []apply.Change `json:"-"`
	Seconds float64        `json:"seconds"`
}

// String returns one line for people.
func (o AddonsOutcome) String() string {
	return fmt.Sprintf("%s after %.1f s: %s", strings.Join(o.Addons, ", "), o.Seconds, apply.Summary(o.Changes))
}

// inventory returns the name of the ConfigMap that lists an addon's objects in the cluster.
func inventory(addon string) types.NamespacedName {
	return types.NamespacedName{Namespace: metav1.NamespaceSystem, Name: "argosy-addon-" + addon}
}

// SetAddons brings the addons to the documents: those that are on are set, objects of those that are off are removed.
// Fields that users changed stay theirs.
func (p *Provisioner) SetAddons(ctx context.Context, report func(string)) (AddonsOutcome, error) {
	started := time.Now()
	outcome, err := p.setAddons(ctx, report)
	outcome.Seconds = time.Since(started).Seconds()
	if err != nil {
		return outcome, fmt.Errorf("setting the addons of cluster %q: %w", p.Name, err)
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
		report(fmt.Sprintf("[%d/%d %s] setting %s", i+1, len(wanted), addon.Name,
			count.Of(len(addon.Objects), "object")))
		objects := addon.Objects
		if !addon.Enabled {
			objects = nil
		} else {
			outcome.Addons = append(outcome.Addons, strings.TrimSpace(addon.Name+" "+addon.Version))
		}
		changes, err := cluster.Objects.Sync(ctx, inventory(addon.Name), objects, apply.Options{})
		outcome.Changes = append(outcome.Changes, changes...)
		if err != nil {
			return outcome, fmt.Errorf("setting addon %q: %w", addon.Name, err)
		}
	}
	return outcome, nil
}

// wantedAddons connects to the cluster and returns the addons that should run in it.
func (p *Provisioner) wantedAddons(ctx context.Context, report func(string)) (*hosted.Connection, []addons.Addon,
	error,
) {
	cluster, err := p.Connect(ctx, report)
	if err != nil {
		return nil, nil, err
	}
	endpoint, k, err := p.Standing(ctx)
	if err != nil {
		return nil, nil, err
	}
	facts := p.facts(endpoint, k.Cluster.Cert)
	if facts.VerifiesKubelets, err = p.kubeletsVerified(ctx); err != nil {
		return nil, nil, err
	}
	wanted, err := addons.Wanted(p.Cluster.Cluster, facts)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the addons of the documents: %w", err)
	}
	return cluster, wanted, nil
}

// Standing returns the endpoint of the control plane that was provisioned, and its keys.
func (p *Provisioner) Standing(ctx context.Context) (Endpoint, *certificates.Keys, error) {
	k, _, err := p.loadKeys(ctx)
	if err != nil {
		return Endpoint{}, nil, err
	}
	if k == nil {
		return Endpoint{}, nil, errclass.Errorf(errclass.Configuration,
			"cluster %q has no control plane yet: submit workflow provision first", p.Name)
	}
	service, err := p.Host.CoreV1().Services(p.Namespace).Get(ctx, p.Names().Service(), metav1.GetOptions{})
	if err != nil {
		return Endpoint{}, nil, fmt.Errorf("reading Service %q of the control plane: %w", p.Names().Service(),
			apply.Classify(err))
	}
	endpoint, reason, err := p.endpointOf(ctx, service)
	if err == nil && reason != "" {
		err = errclass.Errorf(errclass.Transient, "finding the control plane: %s", reason)
	}
	return endpoint, k, err
}
