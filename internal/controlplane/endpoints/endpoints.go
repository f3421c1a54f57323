// Package endpoints has Service default/kubernetes of a cluster lead to its control plane: it renders the objects that
// a provision sets, and follows the addresses of the control plane while the cluster runs. It sets nothing else.
package endpoints

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Name is the name of the Service, of its Endpoints and of its EndpointSlice, in namespace default.
const Name = "kubernetes"

// Objects returns the Endpoints and the EndpointSlice by which the cluster's pods reach the API server at the address
// of the machines. The API server would write them itself, if it knew that address. All addresses are of one family.
func Objects(addresses []netip.Addr, port int) []runtime.Object {
	family := discoveryv1.AddressTypeIPv4
	var texts []string
	for _, address := range addresses {
		if address.Is6() {
			family = discoveryv1.AddressTypeIPv6
		}
		texts = append(texts, address.String())
	}
	ready, name, number, protocol := true, "https", int32(port), corev1.ProtocolTCP
	meta := metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: Name}
	slice := &discoveryv1.EndpointSlice{
		TypeMeta:    metav1.TypeMeta{APIVersion: discoveryv1.SchemeGroupVersion.String(), Kind: "EndpointSlice"},
		ObjectMeta:  meta,
		AddressType: family,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses:  texts,
			Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		}},
		Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &number, Protocol: &protocol}},
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: meta.Name}
	older := endpointsOf(meta, texts, corev1.EndpointPort{Name: name, Port: number, Protocol: protocol})
	return []runtime.Object{older, slice}
}

// endpointsOf returns the older form of an EndpointSlice, for clients that know no other. A label keeps the controller
// from copying it into a slice.
func endpointsOf(meta metav1.ObjectMeta, addresses []string, port corev1.EndpointPort) runtime.Object {
	meta.Labels = map[string]string{discoveryv1.LabelSkipMirror: "true"}
	//lint:ignore SA1019 clients that know no slices still read it
	subsets := []corev1.EndpointSubset{{Ports: []corev1.EndpointPort{port}}}
	for _, address := range addresses {
		subsets[0].Addresses = append(subsets[0].Addresses, corev1.EndpointAddress{IP: address})
	}
	//lint:ignore SA1019 as above
	return &corev1.Endpoints{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Endpoints"}, ObjectMeta: meta,
		Subsets: subsets,
	}
}

// lookUpTimeout bounds one query to DNS.
const lookUpTimeout = 5 * time.Second

// Resolve returns the addresses of a host, sorted.
func Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if address, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{address}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err // it names the host
	}
	return sorted(addresses), nil
}

// OfFamily returns the addresses of one family, IPv4 addresses in their own form: a Service of one family can't lead to
// an address of the other.
func OfFamily(addresses []netip.Addr, is4 bool) []netip.Addr {
	var kept []netip.Addr
	for _, address := range addresses {
		if address = address.Unmap(); address.Is4() == is4 {
			kept = append(kept, address)
		}
	}
	return kept
}

func sorted(addresses []netip.Addr) []netip.Addr {
	slices.SortFunc(addresses, netip.Addr.Compare)
	return slices.Compact(addresses)
}
