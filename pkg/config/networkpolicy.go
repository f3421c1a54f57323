package config

import (
	networkingv1 "k8s.io/api/networking/v1"
)

// NetworkPolicy lets others reach the ports of the API server, Konnectivity and the bundle server, and nothing else of
// the control plane's pods; and lets these reach DNS and their etcd. The host cluster's network has to carry out
// NetworkPolicies.
type NetworkPolicy struct {
	// Enabled creates it.
	// +at=control plane +effect=none +example=true
	Enabled bool `json:"enabled,omitempty"`
	// Labels of the NetworkPolicies.
	// +at=control plane +effect=none +example={team: a}
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations of the NetworkPolicies.
	// +at=control plane +effect=none +example={example.com/owner: team-a}
	Annotations map[string]string `json:"annotations,omitempty"`
	// ControlPlane has further rules for the control plane's pods.
	ControlPlane NetworkPolicyRules `json:"controlPlane,omitzero"`
	// ExtraControlPlaneRules is the older place of controlPlane.egress. Both hold.
	// +at=control plane +effect=none +example=[]
	ExtraControlPlaneRules []Unstructured `json:"extraControlPlaneRules,omitempty"`
	// FallbackDNS belongs to workloads in the host cluster.
	// +example=8.8.8.8
	FallbackDNS string `json:"fallbackDns,omitempty"`
	// Workload is for workloads in the host cluster, which do not exist with private nodes.
	// +example={}
	Workload Unstructured `json:"workload,omitempty"`
	// OutgoingConnections is the older place of workload.publicEgress.
	// +example={}
	OutgoingConnections Unstructured `json:"outgoingConnections,omitempty"`
	// ExtraWorkloadRules is the older place of workload.egress.
	// +example=[]
	ExtraWorkloadRules []Unstructured `json:"extraWorkloadRules,omitempty"`
}

// NetworkPolicyRules are further rules for the control plane's pods.
type NetworkPolicyRules struct {
	// Ingress lets further ports be reached, each a Kubernetes NetworkPolicyIngressRule.
	// +at=control plane +effect=none +example=[{ports: [{port: 10257}]}]
	Ingress []Unstructured `json:"ingress,omitempty"`
	// Egress lets the pods reach further destinations, each a Kubernetes NetworkPolicyEgressRule.
	// +at=control plane +effect=none +example=[{to: [{ipBlock: {cidr: 192.0.2.5/32}}]}]
	Egress []Unstructured `json:"egress,omitempty"`
}

// FurtherEgress returns the user's egress rules for the control plane's pods.
func (n NetworkPolicy) FurtherEgress() []Unstructured {
	return append(append([]Unstructured{}, n.ControlPlane.Egress...), n.ExtraControlPlaneRules...)
}

// checkNetworkPolicy checks policies.networkPolicy. Where the pods have to reach what the documents do not name, the
// user must: without it they would be cut off from it.
func (d *document) checkNetworkPolicy(v VCluster) {
	const key = "policies.networkPolicy"
	n := v.Policies.NetworkPolicy
	d.metadata(key, n.Labels, n.Annotations)
	fitsEach[networkingv1.NetworkPolicyIngressRule](d, key+".controlPlane.ingress", n.ControlPlane.Ingress)
	fitsEach[networkingv1.NetworkPolicyEgressRule](d, key+".controlPlane.egress", n.ControlPlane.Egress)
	fitsEach[networkingv1.NetworkPolicyEgressRule](d, key+".extraControlPlaneRules", n.ExtraControlPlaneRules)
	if !n.Enabled || len(n.FurtherEgress()) > 0 {
		return
	}
	konnectivity := v.ControlPlane.Advanced.Konnectivity
	switch {
	case v.ControlPlane.BackingStore.Database.External.Enabled:
		d.add(key+".controlPlane.egress", "has no rule that leads to the external database, and the NetworkPolicy "+
			"would cut the control plane off from it", `write e.g. [{to: [{ipBlock: {cidr: 192.0.2.5/32}}]}]`)
	case !konnectivity.Enabled || !konnectivity.Server.Enabled:
		d.add(key+".controlPlane.egress", "has no rule that leads to the machines, and without Konnectivity the API "+
			"server calls their kubelets itself", `write e.g. [{to: [{ipBlock: {cidr: 192.0.2.0/24}}]}]`)
	}
}
