package controlplane

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/endpoints"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/errclass"
)

// Endpoint is the address at which machines reach a control plane.
type Endpoint struct {
	// Host is an IP address or a DNS name.
	Host string `json:"host"`
	// API, Konnectivity and Bundles are the ports of the API server, the konnectivity server and the bundle server.
	API          int `json:"api"`
	Konnectivity int `json:"konnectivity"`
	Bundles      int `json:"bundles"`
	// Others are further addresses of the control plane: the nodes' of a NodePort, the Service's own.
	Others []string `json:"others,omitempty"`
	// Alike are those of Others that lead to the same ports as Host: pods in the cluster reach the API server by them
	// too, so that one host node may go.
	Alike []string `json:"alike,omitempty"`
}

// Address returns host:port of the API server.
func (e Endpoint) Address() string { return net.JoinHostPort(e.Host, strconv.Itoa(e.API)) }

// Server returns the URL of the API server.
func (e Endpoint) Server() string { return "https://" + e.Address() }

// bundlesURL returns the URL of the bundle server.
func (e Endpoint) bundlesURL() string {
	return "https://" + net.JoinHostPort(e.Host, strconv.Itoa(e.Bundles))
}

// Names of the Service's ports.
const (
	portAPI          = "https"
	portKonnectivity = "konnectivity"
	portBundles      = "bundles"
)

// service returns the Service that exposes the control plane, by controlPlane.service.
func (p *Provisioner) service() (*corev1.Service, error) {
	wanted := p.VCluster.ControlPlane.Service
	service := &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{
			Name: p.Names().Service(), Namespace: p.Namespace,
			Labels: merged(wanted.Labels, p.Names().Labels(hosted.ControlPlane)), Annotations: wanted.Annotations,
		},
	}
	if err := over(wanted.Spec, &service.Spec); err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "reading controlPlane.service.spec: %w", err)
	}
	if service.Spec.Type == "" {
		service.Spec.Type = corev1.ServiceTypeClusterIP
	}
	service.Spec.Selector = p.Names().Selector(hosted.ControlPlane)
	service.Spec.Ports = []corev1.ServicePort{
		{
			Name: portAPI, Protocol: corev1.ProtocolTCP, Port: servicePort, TargetPort: intstr.FromInt(p.apiPort()),
			NodePort: int32(wanted.HTTPSNodePort),
		},
	}
	if p.konnectivity() {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{
			Name:     portKonnectivity,
			Protocol: corev1.ProtocolTCP, Port: konnectivityPort, TargetPort: intstr.FromInt(konnectivityPort),
		})
	}
	if p.servesBundles() {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{
			Name:     portBundles,
			Protocol: corev1.ProtocolTCP, Port: bundlesPort, TargetPort: intstr.FromInt(bundlesPort),
		})
	}
	return service, nil
}

// peers returns the headless Service that gives the control plane's pods names.
func (p *Provisioner) peers() *corev1.Service {
	return &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{
			Name: p.Names().ControlPlane(), Namespace: p.Namespace,
			Labels: p.Names().Labels(hosted.ControlPlane),
		},
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone,
			Selector:  p.Names().Selector(hosted.ControlPlane),
			Ports: []corev1.ServicePort{{
				Name: portAPI, Protocol: corev1.ProtocolTCP, Port: int32(p.apiPort()),
				TargetPort: intstr.FromInt(p.apiPort()),
			}},
		},
	}
}

// expose sets the Service and waits until it has an address.
func (p *Provisioner) expose(ctx context.Context, report func(string)) (Endpoint, []apply.Change, error) {
	service, err := p.service()
	if err != nil {
		return Endpoint{}, nil, err
	}
	changes, err := p.set(ctx, service, p.peers())
	if err != nil {
		return Endpoint{}, changes, fmt.Errorf("exposing the control plane: %w", err)
	}
	var endpoint Endpoint
	unmet := fmt.Sprintf("Service %q without an address", service.Name)
	err = p.Wait(ctx, unmet, report, func(ctx context.Context) (string, error) {
		held, err := p.Host.CoreV1().Services(p.Namespace).Get(ctx, service.Name, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("reading Service %q: %w", service.Name, apply.Classify(err))
		}
		var reason string
		endpoint, reason, err = p.endpointOf(ctx, held)
		return reason, err
	})
	if err != nil {
		return endpoint, changes, err
	}
	return endpoint, changes, p.checkOutside(endpoint)
}

// checkOutside refuses an address in one of the cluster's own networks. Addresses in the documents were checked when
// they were read; the address that a Service got is known only now.
func (p *Provisioner) checkOutside(endpoint Endpoint) error {
	address, err := netip.ParseAddr(endpoint.Host)
	if err != nil {
		return nil // a name
	}
	key, network := p.NetworkWith(address)
	if key == "" {
		return nil
	}
	return errclass.Errorf(errclass.Configuration, "the control plane's address %s lies in %s, which is %s: machines "+
		"would route it into the cluster; give the control plane another one (controlPlane.service, "+
		"controlPlane.endpoint), or, where the cluster never ran, submit deprovision with force=true and "+
		"finalBackup=false and start again in another network",
		address, key, network)
}

// endpointOf returns the endpoint of a Service, or the reason why it has none yet. controlPlane.endpoint comes before
// the address of the Service.
func (p *Provisioner) endpointOf(ctx context.Context, service *corev1.Service) (Endpoint, string, error) {
	endpoint := Endpoint{API: servicePort, Konnectivity: konnectivityPort, Bundles: bundlesPort}
	if service.Spec.ClusterIP != "" {
		endpoint.Others = append(endpoint.Others, service.Spec.ClusterIP)
	}
	switch service.Spec.Type {
	case corev1.ServiceTypeLoadBalancer:
		hosts := loadBalancerHosts(service)
		if len(hosts) == 0 && p.VCluster.ControlPlane.Endpoint == "" {
			return endpoint, fmt.Sprintf("Service %s has no address yet: no load balancer of the host cluster gave "+
				"it one (is there a controller for type LoadBalancer?)", service.Name), nil
		}
		endpoint.Others, endpoint.Alike = append(endpoint.Others, hosts...), hosts
		var err error
		if endpoint.Host, err = p.hostAmong(ctx, hosts, hosts); err != nil {
			return endpoint, "", err
		}
	case corev1.ServiceTypeNodePort:
		addresses, ready, err := p.nodeAddresses(ctx)
		if err != nil {
			return endpoint, "", err
		}
		endpoint.Others, endpoint.Alike = append(endpoint.Others, addresses...), addresses
		if endpoint.Host, err = p.hostAmong(ctx, addresses, ready); err != nil {
			return endpoint, "", err
		}
		endpoint.useNodePorts(service)
	default:
		endpoint.Host = service.Spec.ClusterIP
	}
	if front := p.VCluster.ControlPlane.Endpoint; front != "" {
		host, port, err := net.SplitHostPort(front)
		if err != nil {
			return endpoint, "", errclass.Errorf(errclass.Configuration, "reading controlPlane.endpoint %q: %w", front,
				err)
		}
		endpoint.Host, endpoint.Alike = host, nil
		endpoint.API, _ = strconv.Atoi(port)
	}
	if endpoint.Host == "" {
		return endpoint, fmt.Sprintf("Service %s has no address yet", service.Name), nil
	}
	return endpoint, "", nil
}

// hostAmong returns the address that machines know already, as long as it is one of the Service's that are ready, else
// the first of these: the first one changes as the host cluster grows or a load balancer gets further addresses, and
// machines that joined before would have to be moved. Where none is ready, all may be soon.
func (p *Provisioner) hostAmong(ctx context.Context, addresses, ready []string) (string, error) {
	known, err := p.knownHost(ctx)
	if len(ready) == 0 {
		ready = addresses
	}
	switch {
	case err != nil:
		return "", err
	case slices.Contains(ready, known):
		return known, nil
	case len(ready) > 0:
		return ready[0], nil
	}
	return "", nil
}

// knownHost returns the control plane's host when it was provisioned or backed up last; "" when it never was.
func (p *Provisioner) knownHost(ctx context.Context) (string, error) {
	name := p.KubeconfigSecret()
	held, err := p.Host.CoreV1().Secrets(p.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("reading Secret %q: %w", name, apply.Classify(err))
	}
	address := p.archived
	if err == nil {
		_, server := certificates.ReadKubeconfig(held.Data[certificates.KubeconfigKey])
		address = addressOf(server)
	}
	host, _, _ := net.SplitHostPort(address)
	return host, nil
}

// addressOf returns host:port of an API server's URL; "" of text that is no URL.
func addressOf(server string) string {
	parsed, err := url.Parse(server)
	if err != nil {
		return ""
	}
	return parsed.Host
}

func (e *Endpoint) useNodePorts(service *corev1.Service) {
	for _, port := range service.Spec.Ports {
		switch port.Name {
		case portAPI:
			e.API = int(port.NodePort)
		case portKonnectivity:
			e.Konnectivity = int(port.NodePort)
		case portBundles:
			e.Bundles = int(port.NodePort)
		}
	}
}

func loadBalancerHosts(service *corev1.Service) []string {
	var hosts []string
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		if ingress.IP != "" {
			hosts = append(hosts, ingress.IP)
		}
		if ingress.Hostname != "" {
			hosts = append(hosts, ingress.Hostname)
		}
	}
	return hosts
}

// nodeAddresses returns the internal addresses of the host cluster's nodes, by node name, and of them those of nodes
// that are Ready. All of them serve a NodePort.
func (p *Provisioner) nodeAddresses(ctx context.Context) (all, ready []string, err error) {
	nodes, err := p.Host.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) && p.VCluster.ControlPlane.Endpoint != "" {
		return nil, nil, nil
	}
	if apierrors.IsForbidden(err) {
		return nil, nil, errclass.Errorf(errclass.Configuration,
			"listing the host cluster's nodes, through which a NodePort is reached: %w; bind ClusterRole "+
				"argosy-node-reader of install/rbac/node-port, or set controlPlane.endpoint and "+
				"controlPlane.proxy.extraSANs", err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("listing the host cluster's nodes: %w", apply.Classify(err))
	}
	slices.SortFunc(nodes.Items, func(a, b corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	for _, node := range nodes.Items {
		i := slices.IndexFunc(node.Status.Addresses,
			func(a corev1.NodeAddress) bool { return a.Type == corev1.NodeInternalIP && a.Address != "" })
		if i < 0 {
			continue
		}
		all = append(all, node.Status.Addresses[i].Address)
		if slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}) {
			ready = append(ready, node.Status.Addresses[i].Address)
		}
	}
	return all, ready, nil
}

// servingHosts returns the names and addresses of the serving certificate: those at which clients reach the API server,
// and no others.
func (p *Provisioner) servingHosts(endpoint Endpoint) []string {
	domain := p.VCluster.Networking.Advanced.ClusterDomain
	service, namespace := p.Names().Service(), p.Namespace
	hosts := []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + domain,
		"localhost", "127.0.0.1", "::1",
		p.APIServiceIP().String(),
		service, service + "." + namespace, service + "." + namespace + ".svc",
		endpoint.Host,
	}
	hosts = append(hosts, endpoint.Others...)
	hosts = append(hosts, p.VCluster.ControlPlane.Proxy.ExtraSANs...)
	slices.Sort(hosts)
	return slices.DeleteFunc(slices.Compact(hosts),
		func(host string) bool { return host == "" || host == corev1.ClusterIPNone })
}

// lookUp resolves the endpoint's host, and those that lead to the same port, to the addresses of Service
// default/kubernetes in the cluster. It waits for a name that DNS does not have yet, as that of a new load balancer.
func (p *Provisioner) lookUp(ctx context.Context, endpoint Endpoint, report func(string)) ([]netip.Addr, error) {
	host := endpoint.Host
	var found []netip.Addr
	unmet := fmt.Sprintf("endpoint %q not resolved", host)
	err := p.Wait(ctx, unmet, report, func(ctx context.Context) (string, error) {
		var err error
		if found, err = endpoints.Resolve(ctx, host); err != nil {
			return fmt.Sprintf("the control plane's endpoint %s does not resolve: %v", host, err), nil
		}
		return "", nil
	})
	if err != nil {
		return nil, err
	}
	for _, other := range endpoint.Alike {
		addresses, err := endpoints.Resolve(ctx, other)
		if err != nil {
			continue // the host itself leads there
		}
		found = append(found, addresses...)
	}
	slices.SortFunc(found, netip.Addr.Compare)
	return p.ofServices(host, slices.Compact(found))
}

// ofServices returns the addresses of the service network's family: a Service of one family can't lead to an address of
// the other.
func (p *Provisioner) ofServices(host string, found []netip.Addr) ([]netip.Addr, error) {
	kept := endpoints.OfFamily(found, p.APIServiceIP().Is4())
	if len(kept) == 0 {
		return nil, errclass.Errorf(errclass.Configuration,
			"the control plane's endpoint %s has the addresses %v, none of them of the family of "+
				"networking.serviceCIDR %s: pods in the cluster would not reach it; choose networks of the other "+
				"family, or an endpoint with such an address", host, found, p.VCluster.Networking.ServiceCIDR)
	}
	return kept, nil
}

// merged returns a map with all entries of those given; later ones win.
func merged(all ...map[string]string) map[string]string {
	result := map[string]string{}
	for _, one := range all {
		maps.Copy(result, one)
	}
	return result
}
