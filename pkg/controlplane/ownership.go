package controlplane

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// checkNoStrangers refuses to begin a cluster over objects that Argosy did not make: provisioning would take them over,
// and deprovisioning would remove them.
func (p *Provisioner) checkNoStrangers(ctx context.Context) error {
	wanted := p.occupies()
	core, namespace := p.Host.CoreV1(), p.namespace()
	var found []string
	for _, look := range []struct {
		kind  string
		names []string
		get   func(name string) (metav1.Object, error)
	}{
		{kindSecret, wanted.secrets, getter(ctx, core.Secrets(namespace))},
		{"ConfigMap", []string{p.names().config()}, getter(ctx, core.ConfigMaps(namespace))},
		{"Service", wanted.services, getter(ctx, core.Services(namespace))},
		{kindClaim, wanted.claims, getter(ctx, core.PersistentVolumeClaims(namespace))},
		{kindStatefulSet, wanted.sets, getter(ctx, p.Host.AppsV1().StatefulSets(namespace))},
		{"PodDisruptionBudget", wanted.sets, getter(ctx, p.Host.PolicyV1().PodDisruptionBudgets(namespace))},
	} {
		for _, name := range look.names {
			held, err := look.get(name)
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("reading %s %q: %w", look.kind, name, apply.Classify(err))
			}
			if err == nil && !p.made(held) {
				found = append(found, look.kind+" "+name)
			}
		}
	}
	if len(found) == 0 {
		return nil
	}
	return errclass.Errorf(errclass.Configuration, "%s: Argosy did not make them, and a cluster of the name %q would "+
		"take them over; remove them, or give the cluster another name", strings.Join(found, ", "), p.Cluster.Name)
}

// occupied are names of objects, by kind.
type occupied struct{ secrets, services, claims, sets []string }

// occupies says under which names provisioning sets objects. A budget has the name of its StatefulSet. The volume with
// archives is not among them: a site may bring its own.
func (p *Provisioner) occupies() occupied {
	n := p.names()
	s := occupied{
		secrets:  []string{p.Cluster.KubeconfigSecret(), n.certs()},
		services: []string{n.service(), n.controlPlane()},
		sets:     []string{n.controlPlane()},
	}
	if p.ownDataSource() != nil {
		s.secrets = append(s.secrets, n.dataSource())
	}
	if p.persists() {
		s.claims = append(s.claims, n.data())
	}
	if p.Cluster.Store().Kind == config.StoreEtcd {
		s.secrets, s.services, s.sets = append(s.secrets, n.etcdCerts()), append(s.services, n.etcd()),
			append(s.sets, n.etcd())
		for i := range p.Cluster.Store().Replicas {
			// as a StatefulSet names its own
			s.claims = append(s.claims, fmt.Sprintf("%s-%s-%d", volumeData, n.etcd(), i))
		}
	}
	return s
}

// made says whether an object is one that Argosy made of this cluster.
func (p *Provisioner) made(object metav1.Object) bool {
	carried := object.GetLabels()
	return carried[apply.ManagedByLabel] == apply.Manager && carried[ClusterLabel] == p.Cluster.Name
}

// getter reads objects of one kind.
func getter[T metav1.Object](ctx context.Context, client interface {
	Get(ctx context.Context, name string, options metav1.GetOptions) (T, error)
}) func(string) (metav1.Object, error) {
	return func(name string) (metav1.Object, error) { return client.Get(ctx, name, metav1.GetOptions{}) }
}
