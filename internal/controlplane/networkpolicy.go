package controlplane

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

const dnsPort = 53

// networkPolicies returns the NetworkPolicies of policies.networkPolicy; none where it is off. Clients and machines may
// have any address, so that the three ports that they use are open to all. Everything else is closed: the controller
// manager's and the scheduler's ports, and etcd's to all but this cluster's pods. A node's kubelet, which probes, is
// let through by every network.
func (p *Provisioner) networkPolicies() ([]runtime.Object, error) {
	settings := p.VCluster.Policies.NetworkPolicy
	if !settings.Enabled {
		return nil, nil
	}
	ports := []int{p.apiPort()}
	if p.konnectivity() {
		ports = append(ports, konnectivityPort)
	}
	if p.servesBundles() {
		ports = append(ports, bundlesPort)
	}
	ingress := []networkingv1.NetworkPolicyIngressRule{{Ports: tcp(ports...)}}
	egress := []networkingv1.NetworkPolicyEgressRule{dns()}
	var policies []runtime.Object
	if p.Store().Kind == config.StoreEtcd {
		members := p.peersOf(map[string]string{hosted.ComponentLabel: hosted.Etcd})
		egress = append(egress, networkingv1.NetworkPolicyEgressRule{To: members, Ports: tcp(etcdClientPort)})
		policies = append(policies, p.networkPolicy(hosted.Etcd, p.Names().Etcd(),
			[]networkingv1.NetworkPolicyIngressRule{
				{From: p.peersOf(nil), Ports: tcp(etcdClientPort)},
				{From: members, Ports: tcp(etcdPeerPort)},
			},
			[]networkingv1.NetworkPolicyEgressRule{dns(), {To: members, Ports: tcp(etcdClientPort, etcdPeerPort)}}))
	}
	var moreIngress []networkingv1.NetworkPolicyIngressRule
	var moreEgress []networkingv1.NetworkPolicyEgressRule
	err := errors.Join(over(settings.ControlPlane.Ingress, &moreIngress), over(settings.FurtherEgress(), &moreEgress))
	if err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "reading policies.networkPolicy: %w", err)
	}
	return append(policies, p.networkPolicy(hosted.ControlPlane, p.Names().ControlPlane(),
		append(ingress, moreIngress...), append(egress, moreEgress...))), nil
}

// networkPolicy returns the NetworkPolicy of a component's pods.
func (p *Provisioner) networkPolicy(component, name string, ingress []networkingv1.NetworkPolicyIngressRule,
	egress []networkingv1.NetworkPolicyEgressRule,
) *networkingv1.NetworkPolicy {
	settings := p.VCluster.Policies.NetworkPolicy
	return &networkingv1.NetworkPolicy{
		TypeMeta: metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: p.Namespace,
			Labels: merged(settings.Labels, p.Names().Labels(component)), Annotations: settings.Annotations,
		},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: p.Names().Selector(component)},
			Ingress:     ingress, Egress: egress,
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		},
	}
}

// peersOf returns the cluster's pods in its namespace, those with further labels.
func (p *Provisioner) peersOf(further map[string]string) []networkingv1.NetworkPolicyPeer {
	return []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{
		MatchLabels: merged(map[string]string{hosted.ClusterLabel: p.Name}, further),
	}}}
}

// dns allows DNS wherever it is: a cache on the node has no pod that a rule could name.
func dns() networkingv1.NetworkPolicyEgressRule {
	udp, port := corev1.ProtocolUDP, intstr.FromInt(dnsPort)
	return networkingv1.NetworkPolicyEgressRule{
		Ports: append(tcp(dnsPort), networkingv1.NetworkPolicyPort{Protocol: &udp, Port: &port}),
	}
}

func tcp(ports ...int) []networkingv1.NetworkPolicyPort {
	protocol := corev1.ProtocolTCP
	var list []networkingv1.NetworkPolicyPort
	for _, number := range ports {
		port := intstr.FromInt(number)
		list = append(list, networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: &port})
	}
	return list
}

// dropNetworkPolicies removes the NetworkPolicies of an earlier run, where the documents want none any more. Without
// the permission to read them there are none of Argosy's.
func (p *Provisioner) dropNetworkPolicies(ctx context.Context) ([]apply.Change, error) {
	if p.VCluster.Policies.NetworkPolicy.Enabled {
		return nil, nil
	}
	var changes []apply.Change
	client := p.Host.NetworkingV1().NetworkPolicies(p.Namespace)
	for _, name := range []string{p.Names().ControlPlane(), p.Names().Etcd()} {
		held, err := client.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || err == nil && !p.made(held) {
			continue
		}
		if err == nil {
			err = client.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &held.UID}})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return changes, fmt.Errorf("removing NetworkPolicy %q: %w", name, apply.Classify(err))
		}
		changes = append(changes, apply.Change{
			Kind: "NetworkPolicy", Namespace: p.Namespace, Name: name, Outcome: apply.Removed,
		})
	}
	return changes, nil
}
