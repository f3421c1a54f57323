package controlplane

import (
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
)

func TestNetworkPoliciesOpenTheThreePortsOnly(t *testing.T) {
	const policy = "\npolicies: {networkPolicy: {enabled: true, labels: {team: a}, controlPlane: {egress: [{to: " +
		"[{ipBlock: {cidr: 192.0.2.5/32}}]}]}}}\n"
	for name, vcluster := range map[string]string{
		"sqlite": controlplanetest.SQLite, "etcd": controlplanetest.With(controlplanetest.EtcdSection),
	} {
		t.Run(name, func(t *testing.T) {
			policies, err := provisioner(t, vcluster+policy).networkPolicies()
			assert.NilError(t, err)
			var text []byte
			for _, each := range policies {
				encoded, err := yaml.Marshal(each)
				assert.NilError(t, err)
				text = append(append(text, "---\n"...), encoded...)
			}
			golden.Assert(t, string(text), "network-policy-"+name+".yaml")
		})
	}
	policies, err := provisioner(t, controlplanetest.SQLite).networkPolicies()
	assert.NilError(t, err)
	assert.Equal(t, len(policies), 0)
}

func TestNetworkPoliciesGoWithTheirSetting(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	controlplanetest.Add(t, p.Cluster,
		&networkingv1.NetworkPolicy{
			ObjectMeta: controlplanetest.Meta(p.Cluster, "team-a-control-plane", hosted.ControlPlane),
		},
		&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "team-a-etcd", Namespace: "tenant"}})
	changes, err := p.dropNetworkPolicies(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, apply.Summary(changes), "1 removed (NetworkPolicy tenant/team-a-control-plane)")
	left, err := p.Host.NetworkingV1().NetworkPolicies("tenant").List(t.Context(), metav1.ListOptions{})
	assert.NilError(t, err)
	assert.Equal(t, len(left.Items), 1)
	assert.Equal(t, left.Items[0].Name, "team-a-etcd", "it is not Argosy's")
}

func TestARoleWithoutNetworkPoliciesSuffices(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	p.Host.(*fake.Clientset).PrependReactor("*", "networkpolicies", func(clienttesting.Action) (bool, runtime.Object,
		error,
	) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "networkpolicies"}, "", nil)
	})
	changes, err := p.dropNetworkPolicies(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(changes), 0)
}
