package controlplane

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/internal/pki"
	"argosy.dev/argosy/pkg/errclass"

	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
)

// kubeconfigOf is the Secret that a run left when the control plane was at server.
func kubeconfigOf(t *testing.T, p *Provisioner, server string) runtime.Object {
	t.Helper()
	text, err := certificates.WriteKubeconfig("team-a", server, "admin", nil,
		pki.Pair{Cert: []byte("cert"), Key: []byte("key")})
	assert.NilError(t, err)
	return &corev1.Secret{
		ObjectMeta: controlplanetest.Meta(p.Cluster, "team-a-kubeconfig", hosted.ControlPlane),
		Data:       map[string][]byte{certificates.KubeconfigKey: text},
	}
}

func TestANodePortKeepsTheNodeThatMachinesKnow(t *testing.T) {
	service := &corev1.Service{Spec: corev1.ServiceSpec{
		Type:  corev1.ServiceTypeNodePort,
		Ports: []corev1.ServicePort{{Name: portAPI, NodePort: 30443}},
	}}
	for _, tt := range []struct{ name, server, archived, ready, want string }{
		{"nobody knows any", "", "", "ab", "192.0.2.21"},
		{"the second node", "https://192.0.2.22:30443", "", "ab", "192.0.2.22"},
		{"a node that is gone", "https://192.0.2.29:30443", "", "ab", "192.0.2.21"},
		{"the second node, by the archive", "", "192.0.2.22:30443", "ab", "192.0.2.22"},
		{"a node that is not Ready", "https://192.0.2.22:30443", "", "a", "192.0.2.21"},
		{"the first node is not Ready", "", "", "b", "192.0.2.22"},
		{"no node is Ready", "https://192.0.2.22:30443", "", "", "192.0.2.22"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			second, first := controlplanetest.Node("b", "192.0.2.22"), controlplanetest.Node("a", "192.0.2.21")
			for _, node := range []*corev1.Node{second, first} {
				if strings.Contains(tt.ready, node.Name) {
					node.Status.Conditions = []corev1.NodeCondition{
						{Type: corev1.NodeReady, Status: corev1.ConditionTrue},
					}
				}
			}
			p := provisioner(t, controlplanetest.SQLite, second, first)
			p.archived = tt.archived
			if tt.server != "" {
				controlplanetest.Add(t, p.Cluster, kubeconfigOf(t, p, tt.server))
			}
			endpoint, why, err := p.endpointOf(t.Context(), service)
			assert.NilError(t, err)
			assert.Equal(t, why, "")
			assert.Equal(t, endpoint.Host, tt.want)
		})
	}
}

func TestALoadBalancerKeepsTheAddressThatMachinesKnow(t *testing.T) {
	for _, tt := range []struct {
		name, server, want string
		addresses          []string
	}{
		{"no machine yet", "", "192.0.2.10", []string{"192.0.2.10", "192.0.2.20"}},
		{"a further one in front", "https://192.0.2.20:443", "192.0.2.20", []string{"192.0.2.10", "192.0.2.20"}},
		{"a further one behind", "https://192.0.2.20:443", "192.0.2.20", []string{"192.0.2.20", "192.0.2.21"}},
		{"it is gone", "https://192.0.2.20:443", "192.0.2.10", []string{"192.0.2.10", "192.0.2.11"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			service := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}
			for _, address := range tt.addresses {
				service.Status.LoadBalancer.Ingress = append(service.Status.LoadBalancer.Ingress,
					corev1.LoadBalancerIngress{IP: address})
			}
			p := provisioner(t, controlplanetest.SQLite)
			if tt.server != "" {
				controlplanetest.Add(t, p.Cluster, kubeconfigOf(t, p, tt.server))
			}
			endpoint, _, err := p.endpointOf(t.Context(), service)
			assert.NilError(t, err)
			assert.Equal(t, endpoint.Host, tt.want)
			assert.DeepEqual(t, endpoint.Alike, tt.addresses)
			found, err := p.lookUp(t.Context(), endpoint, func(string) {})
			assert.NilError(t, err)
			assert.Equal(t, len(found), 2, "pods use both")
		})
	}
}

func TestPodsFollowAnEndpointThatCanChange(t *testing.T) {
	for _, tt := range []struct {
		name     string
		endpoint Endpoint
		hosts    []string
	}{
		{"one address", Endpoint{Host: "192.0.2.10", API: 443, Alike: []string{"192.0.2.10"}}, nil},
		{"a name", Endpoint{Host: "lb.example.com", API: 443}, []string{"--host=lb.example.com"}},
		{
			"two nodes",
			Endpoint{Host: "192.0.2.22", API: 30443, Alike: []string{"192.0.2.21", "192.0.2.22"}},
			[]string{"--host=192.0.2.21", "--host=192.0.2.22"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := provisioner(t, controlplanetest.SQLite)
			p.endpoint = tt.endpoint
			set, err := p.controlPlane("digest")
			assert.NilError(t, err)
			containers := set.Spec.Template.Spec.Containers
			i := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == "endpoint" })
			if tt.hosts == nil {
				assert.Equal(t, i, -1)
				return
			}
			assert.DeepEqual(t, named(containers[i].Args, "host"), tt.hosts)
			assert.DeepEqual(t, named(containers[i].Args, "port"), []string{"--port=" + strconv.Itoa(tt.endpoint.API)})
			keys, err := certificates.NewKeys(p.Now())
			assert.NilError(t, err)
			assert.Assert(t, slices.ContainsFunc(p.controlPlaneCerts(keys, tt.endpoint),
				func(wanted certificates.Wanted) bool { return wanted.File == "endpoint.conf" }))
			objects, err := p.clusterObjects(keys, tt.endpoint, []netip.Addr{netip.MustParseAddr("192.0.2.10")})
			assert.NilError(t, err)
			assert.Assert(t, slices.ContainsFunc(objects, func(object runtime.Object) bool {
				role, is := object.(*rbacv1.RoleBinding)
				return is && role.Name == endpointUser && role.Namespace == metav1.NamespaceDefault
			}))
		})
	}
}

func TestOutcomeNamesTheAddressThatMachinesKnow(t *testing.T) {
	before := Endpoint{Host: "192.0.2.9", API: 443}
	info, err := clusterInfo(before, []byte("ca"))
	assert.NilError(t, err)
	for _, tt := range []struct {
		name    string
		objects []runtime.Object
		now     Endpoint
		known   string
	}{
		{"a new cluster", nil, endpoint, ""},
		{"the same address", []runtime.Object{info, controlplanetest.Node("m1", "192.0.2.1")}, before, ""},
		{"another address, no machine", []runtime.Object{info}, endpoint, ""},
		{
			"another address",
			[]runtime.Object{info, controlplanetest.Node("m1", "192.0.2.1")},
			endpoint,
			"192.0.2.9:443",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := fake.NewClientset(tt.objects...)
			held, err := readClusterInfo(t.Context(), client)
			assert.NilError(t, err)
			known, err := machinesKnow(t.Context(), client, held, tt.now)
			assert.NilError(t, err)
			assert.Equal(t, known, tt.known)
		})
	}
	moved := Outcome{
		Server: endpoint.Server(), Endpoint: endpoint.Address(), Version: "v1.34.4",
		MachinesKnow: "192.0.2.9:443",
	}
	const says = "API server https://192.0.2.10:443 runs v1.34.4 after 0.0 s: nothing to set\n" +
		"the control plane is at 192.0.2.10:443 now, and machines that joined before know it at 192.0.2.9:443: have " +
		"that address lead here " +
		"(controlPlane.service, controlPlane.endpoint) and its host in controlPlane.proxy.extraSANs, or submit " +
		"join, which moves machines that are cut off"
	assert.Equal(t, moved.String(), says)
}

func TestTheStateOfAnotherClusterIsNotTakenOver(t *testing.T) {
	info, err := clusterInfo(endpoint, []byte("ca"))
	assert.NilError(t, err)
	held, err := readClusterInfo(t.Context(), fake.NewClientset(info))
	assert.NilError(t, err)
	assert.NilError(t, checkOwnState(nil, []byte("ca")))
	assert.NilError(t, checkOwnState(held, []byte("ca")))
	err = checkOwnState(held, []byte("another"))
	assert.ErrorContains(t, err, "its API server was https://192.0.2.10:443")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
}
