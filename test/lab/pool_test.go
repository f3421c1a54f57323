package lab

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func smallPool() addressPool {
	return addressPool{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.3")}
}

// balancedService is a Service of type LoadBalancer, made age seconds after the first.
func balancedService(name string, age int, addresses ...string) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "n", Name: name,
			CreationTimestamp: metav1.NewTime(time.Unix(int64(age), 0)),
		},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
	}
	for _, a := range addresses {
		s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a})
	}
	return s
}

func TestServicesGetAddressesOldestFirstAndKeepThem(t *testing.T) {
	class := "example.org/other"
	deleted := metav1.Now()
	withClass, clusterIP, leaving := balancedService("class", 0), balancedService("plain", 0, "10.0.0.1"),
		balancedService("leaving", 0, "10.0.0.1")
	withClass.Spec.LoadBalancerClass = &class
	clusterIP.Spec.Type = corev1.ServiceTypeClusterIP
	leaving.DeletionTimestamp = &deleted

	for name, c := range map[string]struct {
		services []*corev1.Service
		want     map[string]string
	}{
		"the oldest gets the lowest": {
			[]*corev1.Service{balancedService("b", 2), balancedService("a", 1)},
			map[string]string{"a": "10.0.0.1", "b": "10.0.0.2"},
		},
		"of two made in one second the name decides": {
			[]*corev1.Service{balancedService("b", 1), balancedService("a", 1)},
			map[string]string{"a": "10.0.0.1", "b": "10.0.0.2"},
		},
		"an address once given stays": {
			[]*corev1.Service{balancedService("a", 1), balancedService("b", 2, "10.0.0.1")},
			map[string]string{"a": "10.0.0.2", "b": "10.0.0.1"},
		},
		"of two with the same address the older keeps it": {
			[]*corev1.Service{balancedService("b", 2, "10.0.0.3"), balancedService("a", 1, "10.0.0.3")},
			map[string]string{"a": "10.0.0.3", "b": "10.0.0.1"},
		},
		"an address from elsewhere does not count": {
			[]*corev1.Service{balancedService("a", 1, "192.0.2.1", "not an address")},
			map[string]string{"a": "10.0.0.1"},
		},
		"the youngest goes without when the pool is used up": {
			[]*corev1.Service{
				balancedService("d", 4), balancedService("c", 3), balancedService("b", 2),
				balancedService("a", 1),
			},
			map[string]string{"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"},
		},
		"those of a class, of another type and those that go are not ours": {
			[]*corev1.Service{withClass, clusterIP, leaving, balancedService("a", 1)},
			map[string]string{"a": "10.0.0.1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := slices.Clone(c.services)
			got := map[string]string{}
			for key, a := range smallPool().assign(c.services) {
				got[key.name] = a.String()
			}
			assert.DeepEqual(t, got, c.want)
			assert.Assert(t, slices.Equal(before, c.services), "the lister's own list was reordered")
		})
	}
}
