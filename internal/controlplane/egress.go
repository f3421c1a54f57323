package controlplane

import (
	"encoding/json"
	"slices"

	"argosy.dev/argosy/pkg/config"
)

// outsideArguments are the API server's arguments that name servers of the cluster's operator: it calls them as
// "controlplane", like webhooks with a URL.
func outsideArguments() []string {
	return []string{
		"audit-webhook-config-file", "authentication-config", "authentication-token-webhook-config-file",
		"authorization-config", "authorization-webhook-config-file", "oidc-issuer-url", "peer-ca-file",
		"tracing-config-file",
	}
}

// egressConfig returns the API server's EgressSelectorConfiguration. It calls kubelets, pods and Services ("cluster")
// through konnectivity, and webhooks with a URL ("controlplane") as well: a tenant makes those, and would reach the
// host cluster's network through them. They leave the pod directly where the operator has named servers of their own,
// which the machines may not reach.
func (p *Provisioner) egressConfig() string {
	konnectivity := map[string]any{
		"proxyProtocol": "GRPC", "transport": map[string]any{"uds": map[string]any{"udsName": konnectivitySocket}},
	}
	selections := []any{map[string]any{"name": "cluster", "connection": konnectivity}}
	extra := p.VCluster.ControlPlane.Distro.K8s.APIServer.ExtraArgs
	if !slices.ContainsFunc(outsideArguments(), func(name string) bool { return config.HasArgument(extra, name) }) {
		selections = append(selections, map[string]any{"name": "controlplane", "connection": konnectivity})
	}
	text, err := json.Marshal(map[string]any{
		"apiVersion": "apiserver.k8s.io/v1beta1", "kind": "EgressSelectorConfiguration", "egressSelections": selections,
	})
	if err != nil {
		panic(err) // it is made of texts
	}
	return string(text)
}
