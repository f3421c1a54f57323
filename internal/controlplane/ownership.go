package controlplane

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// checkOwnership refuses to begin a cluster over objects that Argosy did not make: provisioning would take them over,
// and deprovisioning would remove them.
func (p *Provisioner) checkOwnership(ctx context.Context) error {
	wanted := p.objectNames()
	core, namespace := p.Host.CoreV1(), p.Namespace
	var found []string
	for _, one := range []struct {
		kind  string
		names []string
		get   func(name string) (metav1.Object, error)
	}{
		{"Secret", wanted.secrets, getter(ctx, core.Secrets(namespace))},
		{"ConfigMap", wanted.configs, getter(ctx, core.ConfigMaps(namespace))},
		{"Service", wanted.services, getter(ctx, core.Services(namespace))},
		{"PersistentVolumeClaim", wanted.claims, getter(ctx, core.PersistentVolumeClaims(namespace))},
		{"StatefulSet", wanted.sets, getter(ctx, p.Host.AppsV1().StatefulSets(namespace))},
		{"PodDisruptionBudget", wanted.sets, getter(ctx, p.Host.PolicyV1().PodDisruptionBudgets(namespace))},
		{"NetworkPolicy", wanted.policies, getter(ctx, p.Host.NetworkingV1().NetworkPolicies(namespace))},
	} {
		for _, name := range one.names {
			held, err := one.get(name)
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("reading %s %q: %w", one.kind, name, apply.Classify(err))
			}
			if err == nil && !p.made(held) {
				found = append(found, one.kind+" "+name)
			}
		}
	}
	if len(found) == 0 {
		return nil
	}
	return errclass.Errorf(errclass.Configuration, "%s: Argosy did not make them, and cluster %q would take "+
		"them over; remove them, or give the cluster another name", strings.Join(found, ", "), p.Name)
}

// objectNames are names of objects, by kind.
type objectNames struct{ secrets, configs, services, claims, sets, policies []string }

// objectNames returns the names under which provisioning sets objects. A PodDisruptionBudget and a
// NetworkPolicy have the name of their StatefulSet. The volume with archives is not among them: a site may bring its
// own.
func (p *Provisioner) objectNames() objectNames {
	n := p.Names()
	s := objectNames{
		secrets:  []string{p.KubeconfigSecret(), n.Certs()},
		configs:  []string{n.Config()},
		services: []string{n.Service(), n.ControlPlane()},
		sets:     []string{n.ControlPlane()},
	}
	if p.ownDataSource() != nil {
		s.secrets = append(s.secrets, n.DataSource())
	}
	if p.Persists() {
		s.claims = append(s.claims, n.Data())
	}
	if p.Store().Kind == config.StoreEtcd {
		s.secrets = append(s.secrets, n.EtcdCerts())
		s.configs = append(s.configs, n.Etcd())
		s.services = append(s.services, n.Etcd())
		s.sets = append(s.sets, n.Etcd())
		s.claims = append(s.claims, p.etcdClaims()...)
	}
	if p.VCluster.Policies.NetworkPolicy.Enabled {
		s.policies = s.sets
	}
	return s
}

// made reports whether Argosy made an object for this cluster.
func (p *Provisioner) made(object metav1.Object) bool {
	labels := object.GetLabels()
	return labels[apply.ManagedByLabel] == apply.Manager && labels[hosted.ClusterLabel] == p.Name
}

// getter returns a function that reads objects of one kind by name.
func getter[T metav1.Object](ctx context.Context, client interface {
	Get(ctx context.Context, name string, options metav1.GetOptions) (T, error)
},
) func(string) (metav1.Object, error) {
	return func(name string) (metav1.Object, error) { return client.Get(ctx, name, metav1.GetOptions{}) }
}
