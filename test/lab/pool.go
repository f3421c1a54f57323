package lab

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// addressPool is a range of addresses, both ends included.
type addressPool struct{ first, last netip.Addr }

// balancerPool has the addresses that Services of type LoadBalancer on the host cluster get.
func balancerPool() addressPool {
	return addressPool{netip.MustParseAddr("10.117.0.200"), netip.MustParseAddr("10.117.0.239")}
}

func (p addressPool) contains(a netip.Addr) bool {
	return a.IsValid() && p.first.Compare(a) <= 0 && a.Compare(p.last) <= 0
}

// serviceKey names a Service in the host cluster.
type serviceKey struct{ namespace, name string }

func keyOf(s *corev1.Service) serviceKey { return serviceKey{s.Namespace, s.Name} }

// assign returns the address of each Service. A Service keeps the one in its status; of two with the same the older one
// does. The others get the lowest free ones, oldest first, until the pool is used up.
func (p addressPool) assign(services []*corev1.Service) map[serviceKey]netip.Addr {
	ours := slices.DeleteFunc(slices.Clone(services), func(s *corev1.Service) bool { return !balanced(s) })
	slices.SortFunc(ours, func(a, b *corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.Name, b.Name))
	})
	granted := map[serviceKey]netip.Addr{}
	taken := map[netip.Addr]bool{}
	for _, s := range ours {
		if has := p.statusAddress(s); has.IsValid() && !taken[has] {
			granted[keyOf(s)], taken[has] = has, true
		}
	}
	next := p.first
	for _, s := range ours {
		if granted[keyOf(s)].IsValid() {
			continue
		}
		for taken[next] {
			next = next.Next()
		}
		if !p.contains(next) {
			break
		}
		granted[keyOf(s)], taken[next] = next, true
	}
	return granted
}

// balanced reports whether the lab gives the Service an address. One with a class belongs to another controller.
func balanced(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.LoadBalancerClass == nil &&
		s.DeletionTimestamp == nil
}

// statusAddress is the address of the pool in a Service's status, if any.
func (p addressPool) statusAddress(s *corev1.Service) netip.Addr {
	for _, ingress := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(ingress.IP); err == nil && p.contains(a) {
			return a
		}
	}
	return netip.Addr{}
}
