package controlplane

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"

	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/endpoints"
)

func provisioner(t *testing.T, vcluster string, objects ...runtime.Object) *Provisioner {
	t.Helper()
	return &Provisioner{
		Cluster: controlplanetest.New(t, vcluster, objects...),
		Image:   "ghcr.io/argosy-dev/executor-plugin:v0.1.0",

		endpoint: endpoint,
	}
}

// allowed grants every permission that is asked for.
func allowed(p *Provisioner) *Provisioner {
	controlplanetest.AllowAll(p.Cluster)
	return p
}

func TestTheControlPlanesPods(t *testing.T) {
	for name, vcluster := range map[string]string{
		"sqlite": controlplanetest.SQLite,
		"etcd": controlplanetest.With("controlPlane:\n  backingStore: {etcd: {deploy: {enabled: true, " +
			"statefulSet: {highAvailability: {replicas: 3}}}}}\n" +
			"  statefulSet: {highAvailability: {replicas: 3}}"),
		"external": controlplanetest.With("controlPlane:\n  backingStore: {database: {external: " +
			"{enabled: true, connector: team-a-database}}}"),
		"custom": controlplanetest.With(controlplanetest.CustomSection),
	} {
		t.Run(name, func(t *testing.T) {
			p := provisioner(t, vcluster)
			set, err := p.controlPlane("digest")
			assert.NilError(t, err)
			text, err := yaml.Marshal(set)
			assert.NilError(t, err)
			golden.Assert(t, string(text), "control-plane-"+name+".yaml")
			if p.Cluster.Store().Kind == config.StoreEtcd {
				etcd, err := p.etcd("digest", keptOfEtcd{})
				assert.NilError(t, err)
				text, err := yaml.Marshal(etcd)
				assert.NilError(t, err)
				golden.Assert(t, string(text), "etcd.yaml")
			}
		})
	}
}

func TestServingCertificateCoversExactlyTheReachableNames(t *testing.T) {
	p := provisioner(t, controlplanetest.With("controlPlane:\n  proxy: {extraSANs: [api.example.com]}"))
	hosts := p.servingHosts(Endpoint{Host: "192.0.2.10", Others: []string{"10.96.3.4", "192.0.2.10", "None"}})
	assert.DeepEqual(t, hosts, []string{
		"10.128.0.1", "10.96.3.4", "127.0.0.1", "192.0.2.10", "::1", "api.example.com", "kubernetes",
		"kubernetes.default",
		"kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost", "team-a", "team-a.tenant",
		"team-a.tenant.svc",
	})
}

func TestEndpointOfEachKindOfService(t *testing.T) {
	ports := []corev1.ServicePort{
		{Name: portAPI, NodePort: 30443},
		{Name: portKonnectivity, NodePort: 30132},
		{Name: portBundles, NodePort: 30444},
	}
	service := func(kind corev1.ServiceType, ingress ...corev1.LoadBalancerIngress) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "team-a"},
			Spec:       corev1.ServiceSpec{Type: kind, ClusterIP: "10.96.3.4", Ports: ports},
			Status:     corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: ingress}},
		}
	}
	for _, tt := range []struct {
		name     string
		front    string
		service  *corev1.Service
		server   string
		bundles  string
		waitsFor string
	}{
		{
			"load balancer", "", service(corev1.ServiceTypeLoadBalancer, corev1.LoadBalancerIngress{IP: "192.0.2.10"}),
			"https://192.0.2.10:443", "https://192.0.2.10:8444", "",
		},
		{
			"load balancer with a name", "", service(corev1.ServiceTypeLoadBalancer,
				corev1.LoadBalancerIngress{Hostname: "lb.example.com"}), "https://lb.example.com:443",
			"https://lb.example.com:8444", "",
		},
		{
			"load balancer that gives nothing", "", service(corev1.ServiceTypeLoadBalancer), "", "",
			"no load balancer of the host cluster gave it one",
		},
		{
			"node port", "", service(corev1.ServiceTypeNodePort),
			"https://192.0.2.21:30443", "https://192.0.2.21:30444",
			"",
		},
		{
			"cluster address", "", service(corev1.ServiceTypeClusterIP),
			"https://10.96.3.4:443", "https://10.96.3.4:8444",
			"",
		},
		{
			"something in front", "api.example.com:6443", service(corev1.ServiceTypeClusterIP),
			"https://api.example.com:6443", "https://api.example.com:8444", "",
		},
		{
			"something in front of a load balancer that gives nothing", "api.example.com:6443",
			service(corev1.ServiceTypeLoadBalancer), "https://api.example.com:6443", "https://api.example.com:8444",
			"",
		},
		{
			"something in front of node ports", "api.example.com:6443", service(corev1.ServiceTypeNodePort),
			"https://api.example.com:6443", "https://api.example.com:30444", "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			vcluster := controlplanetest.SQLite
			if tt.front != "" {
				vcluster = controlplanetest.With("controlPlane:\n  endpoint: " + tt.front)
			}
			p := provisioner(t, vcluster, controlplanetest.Node("b", "192.0.2.22"),
				controlplanetest.Node("a", "192.0.2.21"))
			endpoint, why, err := p.endpointOf(t.Context(), tt.service)
			assert.NilError(t, err)
			if tt.waitsFor != "" {
				assert.Assert(t, strings.Contains(why, tt.waitsFor), why)
				return
			}
			assert.Equal(t, endpoint.Server(), tt.server)
			assert.Equal(t, endpoint.bundlesURL(), tt.bundles)
			assert.Assert(t, slices.Contains(p.servingHosts(endpoint), "10.96.3.4"))
		})
	}
}

func TestAnAddressInTheClustersOwnNetworksIsRefused(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	for host, says := range map[string]string{
		"10.64.3.4":  "lies in networking.podCIDR, which is 10.64.0.0/16",
		"10.128.3.4": "lies in networking.serviceCIDR, which is 10.128.0.0/16",
		"10.96.3.4":  "", "10.117.0.200": "", "2001:db8::1": "", "api.example.com": "",
	} {
		err := p.checkOutside(Endpoint{Host: host})
		if says == "" {
			assert.NilError(t, err)
			continue
		}
		assert.ErrorContains(t, err, host+" "+says)
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	}
}

func TestKubeletSettingsOfTheDocumentsAreInTheKubeletConfig(t *testing.T) {
	p := provisioner(t, controlplanetest.Replace(controlplanetest.SQLite, "privateNodes: {enabled: true}",
		"privateNodes: {enabled: true, kubelet: {config: {maxPods: 20, authentication: {webhook: {cacheTTL: 1m}}}}}"))
	held, err := p.kubeletConfig()
	assert.NilError(t, err)
	golden.Assert(t, held.Data["kubelet"], "kubelet-config.yaml")
}

func TestClusterObjectsForJoiningMachines(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	k, err := certificates.NewKeys(p.Now())
	assert.NilError(t, err)
	objects, err := p.clusterObjects(k, Endpoint{Host: "192.0.2.10", API: 443},
		[]netip.Addr{netip.MustParseAddr("192.0.2.10")})
	assert.NilError(t, err)
	wanted, err := unstructuredOf(objects)
	assert.NilError(t, err)
	var text []byte
	for _, object := range wanted {
		if object.GetName() == "cluster-info" {
			continue // holds an authority, which is new each time
		}
		encoded, err := yaml.Marshal(object)
		assert.NilError(t, err)
		text = append(append(text, "---\n"...), encoded...)
	}
	golden.Assert(t, string(text), "cluster-objects.yaml")
}

func TestPodsAreLedToAddressesOfTheServicesFamilyOnly(t *testing.T) {
	v4, v6, mapped := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10"),
		netip.MustParseAddr("::ffff:192.0.2.10")
	six := controlplanetest.Replace(controlplanetest.SQLite, "podCIDR: 10.64.0.0/16, serviceCIDR: 10.128.0.0/16",
		"podCIDR: 'fd00:64::/48', serviceCIDR: 'fd00:128::/112'")
	for _, tt := range []struct {
		vcluster string
		found    []netip.Addr
		kept     []netip.Addr
		family   discoveryv1.AddressType
	}{
		{controlplanetest.SQLite, []netip.Addr{v4, v6}, []netip.Addr{v4}, discoveryv1.AddressTypeIPv4},
		{controlplanetest.SQLite, []netip.Addr{mapped}, []netip.Addr{v4}, discoveryv1.AddressTypeIPv4},
		{controlplanetest.SQLite, []netip.Addr{v6}, nil, ""},
		{six, []netip.Addr{v4, v6}, []netip.Addr{v6}, discoveryv1.AddressTypeIPv6},
		{six, []netip.Addr{v4}, nil, ""},
	} {
		kept, err := provisioner(t, tt.vcluster).ofServices("api.example.com", tt.found)
		if tt.kept == nil {
			assert.ErrorContains(t, err, "none of them of the family of networking.serviceCIDR")
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
			continue
		}
		assert.NilError(t, err)
		assert.Assert(t, slices.Equal(kept, tt.kept), "%v", kept)
		for _, object := range endpoints.Objects(kept, 443) {
			if set, is := object.(*discoveryv1.EndpointSlice); is {
				assert.Equal(t, set.AddressType, tt.family)
			}
		}
	}
}

func TestANameThatDoesNotResolveYetIsWaitedFor(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	p.Cluster.Fleet.ControlPlane.Timeout.Duration = 500 * time.Millisecond
	var said []string
	_, err := p.lookUp(t.Context(), Endpoint{Host: "api.invalid"}, func(line string) { said = append(said, line) })
	assert.ErrorContains(t, err, "the control plane's endpoint api.invalid does not resolve")
	assert.ErrorContains(t, err, "submit again")
	assert.Assert(t, len(said) > 0)
	found, err := p.lookUp(t.Context(), Endpoint{Host: "192.0.2.10"}, func(string) {})
	assert.NilError(t, err)
	assert.Equal(t, found[0].String(), "192.0.2.10")
}
