package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/errclass"
)

// Endpoint is where a control plane is reached by its machines.
type Endpoint struct {
	// Host is an IP address or a DNS name.
	Host string `json:"host"`
	// API, Konnectivity and Bundles are the ports of the API server, the konnectivity server and the bundle server.
	API          int `json:"api"`
	Konnectivity int `json:"konnectivity"`
	Bundles      int `json:"bundles"`
	// Others are further addresses that lead here, beyond Host: the nodes' of a NodePort, the Service's own.
	Others []string `json:"others,omitempty"`
}

// Address is host:port of the API server.
func (e Endpoint) Address() string { return net.JoinHostPort(e.Host, strconv.Itoa(e.API)) }

// Server is the URL of the API server.
func (e Endpoint) Server() string { return "https://" + e.Address() }

// BundlesURL is where the node bundles are.
func (e Endpoint) BundlesURL() string {
	return "https://" + net.JoinHostPort(e.Host, strconv.Itoa(e.Bundles))
}

// Names of the Service's ports.
const (
	portAPI          = "https"
	portKonnectivity = "konnectivity"
	portBundles      = "bundles"
)

// service exposes the control plane as controlPlane.service says.
func (p *Provisioner) service() (*corev1.Service, error) {
	wanted := p.Cluster.VCluster.ControlPlane.Service
	service := &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{
			Name: p.names().service(), Namespace: p.namespace(),
			Labels: merged(wanted.Labels, p.names().labels(componentControlPlane)), Annotations: wanted.Annotations,
		},
	}
	if err := into(wanted.Spec, &service.Spec); err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "reading controlPlane.service.spec: %w", err)
	}
	if service.Spec.Type == "" {
		service.Spec.Type = corev1.ServiceTypeClusterIP
	}
	service.Spec.Selector = p.names().selector(componentControlPlane)
	service.Spec.Ports = []corev1.ServicePort{
		{Name: portAPI, Protocol: corev1.ProtocolTCP, Port: servicePort, TargetPort: intstr.FromInt(p.apiPort()),
			NodePort: int32(wanted.HTTPSNodePort)},
	}
	if p.konnectivity() {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Name: portKonnectivity,
			Protocol: corev1.ProtocolTCP, Port: KonnectivityPort, TargetPort: intstr.FromInt(KonnectivityPort)})
	}
	if p.servesBundles() {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Name: portBundles,
			Protocol: corev1.ProtocolTCP, Port: BundlesPort, TargetPort: intstr.FromInt(BundlesPort)})
	}
	return service, nil
}

// peers is the headless Service that gives the control plane's pods names.
func (p *Provisioner) peers() *corev1.Service {
	return &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Name: p.names().controlPlane(), Namespace: p.namespace(),
			Labels: p.names().labels(componentControlPlane)},
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone,
			Selector:  p.names().selector(componentControlPlane),
			Ports: []corev1.ServicePort{{Name: portAPI, Protocol: corev1.ProtocolTCP, Port: int32(p.apiPort()),
				TargetPort: intstr.FromInt(p.apiPort())}},
		},
	}
}

// expose sets the Service and waits until it leads somewhere.
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
	err = p.wait(ctx, report, func(ctx context.Context) (string, error) {
		held, err := p.Host.CoreV1().Services(p.namespace()).Get(ctx, service.Name, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("reading Service %q: %w", service.Name, apply.Classify(err))
		}
		var why string
		endpoint, why, err = p.endpointOf(ctx, held)
		return why, err
	})
	if err != nil {
		return endpoint, changes, err
	}
	return endpoint, changes, p.checkOutside(endpoint)
}

// checkOutside refuses an address in one of the cluster's own networks. What the documents write out was compared when
// they were read; what a Service got is known only now.
func (p *Provisioner) checkOutside(endpoint Endpoint) error {
	address, err := netip.ParseAddr(endpoint.Host)
	if err != nil {
		return nil // a name
	}
	key, network := p.Cluster.NetworkWith(address)
	if key == "" {
		return nil
	}
	return errclass.Errorf(errclass.Configuration, "the control plane's address %s lies in %s, which is %s: machines "+
		"would take it for the cluster's own; give it another one (controlPlane.service, controlPlane.endpoint), or, "+
		"where the cluster never ran, submit deprovision with force=true and finalBackup=false and begin anew in "+
		"another network",
		address, key, network)
}

// endpointOf says where a Service leads, or why it does not yet. controlPlane.endpoint wins over what the Service says.
func (p *Provisioner) endpointOf(ctx context.Context, service *corev1.Service) (Endpoint, string, error) {
	endpoint := Endpoint{API: servicePort, Konnectivity: KonnectivityPort, Bundles: BundlesPort}
	if service.Spec.ClusterIP != "" {
		endpoint.Others = append(endpoint.Others, service.Spec.ClusterIP)
	}
	switch service.Spec.Type {
	case corev1.ServiceTypeLoadBalancer:
		hosts := loadBalancerHosts(service)
		if len(hosts) == 0 && p.Cluster.VCluster.ControlPlane.Endpoint == "" {
			return endpoint, fmt.Sprintf("Service %s has no address yet: no load balancer of the host cluster gave "+
				"it one (is there a controller for type LoadBalancer?)", service.Name), nil
		}
		endpoint.Others = append(endpoint.Others, hosts...)
		if len(hosts) > 0 {
			endpoint.Host = hosts[0]
		}
	case corev1.ServiceTypeNodePort:
		addresses, err := p.nodeAddresses(ctx)
		if err != nil {
			return endpoint, "", err
		}
		endpoint.Others = append(endpoint.Others, addresses...)
		if endpoint.Host, err = p.hostAmong(ctx, addresses); err != nil {
			return endpoint, "", err
		}
		endpoint.useNodePorts(service)
	default:
		endpoint.Host = service.Spec.ClusterIP
	}
	if front := p.Cluster.VCluster.ControlPlane.Endpoint; front != "" {
		host, port, err := net.SplitHostPort(front)
		if err != nil {
			return endpoint, "", errclass.Errorf(errclass.Configuration, "reading controlPlane.endpoint %q: %w", front,
				err)
		}
		endpoint.Host = host
		endpoint.API, _ = strconv.Atoi(port)
	}
	if endpoint.Host == "" {
		return endpoint, fmt.Sprintf("Service %s has no address yet", service.Name), nil
	}
	return endpoint, "", nil
}

// hostAmong chooses the address that machines know already, as long as it is one of the nodes': which node is first by
// name changes as the host cluster grows, and machines that joined before would be cut off.
func (p *Provisioner) hostAmong(ctx context.Context, addresses []string) (string, error) {
	known, err := p.knownHost(ctx)
	switch {
	case err != nil:
		return "", err
	case slices.Contains(addresses, known):
		return known, nil
	case len(addresses) > 0:
		return addresses[0], nil
	}
	return "", nil
}

// knownHost is where the control plane was when it was provisioned or backed up last; "" when it never was.
func (p *Provisioner) knownHost(ctx context.Context) (string, error) {
	name := p.Cluster.KubeconfigSecret()
	held, err := p.Host.CoreV1().Secrets(p.namespace()).Get(ctx, name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("reading Secret %q: %w", name, apply.Classify(err))
	}
	address := p.archived
	if err == nil {
		_, server := readKubeconfig(held.Data[kubeconfigDataKey])
		address = addressOf(server)
	}
	host, _, _ := net.SplitHostPort(address)
	return host, nil
}

// addressOf is host:port of an API server's URL; "" of what is none.
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

// nodeAddresses are the internal addresses of the host cluster's nodes, by node name. All of them serve a NodePort.
func (p *Provisioner) nodeAddresses(ctx context.Context) ([]string, error) {
	nodes, err := p.Host.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) && p.Cluster.VCluster.ControlPlane.Endpoint != "" {
		return nil, nil
	}
	if apierrors.IsForbidden(err) {
		return nil, errclass.Errorf(errclass.Configuration,
			"a NodePort is reached through the host cluster's nodes, and the plugin may not list them: bind "+
				"ClusterRole argosy-node-reader of install/rbac/node-port, or set controlPlane.endpoint and "+
				"controlPlane.proxy.extraSANs: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("listing the host cluster's nodes: %w", apply.Classify(err))
	}
	byNode := map[string]string{}
	for _, node := range nodes.Items {
		for _, address := range node.Status.Addresses {
			if address.Type == corev1.NodeInternalIP && byNode[node.Name] == "" {
				byNode[node.Name] = address.Address
			}
		}
	}
	var addresses []string
	for _, name := range slices.Sorted(maps.Keys(byNode)) {
		addresses = append(addresses, byNode[name])
	}
	return addresses, nil
}

// servingHosts are the names and addresses that the serving certificate covers: what is reachable, and nothing else.
func (p *Provisioner) servingHosts(endpoint Endpoint) []string {
	domain := p.Cluster.VCluster.Networking.Advanced.ClusterDomain
	service, namespace := p.names().service(), p.namespace()
	hosts := []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + domain,
		"localhost", "127.0.0.1", "::1",
		p.Cluster.APIServiceIP().String(),
		service, service + "." + namespace, service + "." + namespace + ".svc",
		endpoint.Host,
	}
	hosts = append(hosts, endpoint.Others...)
	hosts = append(hosts, p.Cluster.VCluster.ControlPlane.Proxy.ExtraSANs...)
	slices.Sort(hosts)
	return slices.DeleteFunc(slices.Compact(hosts), func(host string) bool {
		return host == "" ||
			host == corev1.ClusterIPNone
	})
}

// lookUp turns the endpoint's host into the addresses to which pods in the cluster are led. A name is asked of DNS, and
// waited for: that of a new load balancer takes a while to be known.
func (p *Provisioner) lookUp(ctx context.Context, host string, report func(string)) ([]netip.Addr, error) {
	var found []netip.Addr
	err := p.wait(ctx, report, func(ctx context.Context) (string, error) {
		var err error
		if found, err = resolve(ctx, host); err != nil {
			return fmt.Sprintf("the control plane's endpoint %s does not resolve: %v", host, err), nil
		}
		return "", nil
	})
	if err != nil {
		return nil, err
	}
	return p.ofServices(host, found)
}

// lookUpTimeout bounds one question to DNS.
const lookUpTimeout = 5 * time.Second

// resolve returns the addresses of a host, in their order.
func resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if address, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{address}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	return addresses, nil
}

// ofServices keeps the addresses of the service network's family: Services of one family lead to no address of the
// other.
func (p *Provisioner) ofServices(host string, found []netip.Addr) ([]netip.Addr, error) {
	service := p.Cluster.APIServiceIP()
	var kept []netip.Addr
	for _, address := range found {
		if address = address.Unmap(); address.Is4() == service.Is4() {
			kept = append(kept, address)
		}
	}
	if len(kept) == 0 {
		return nil, errclass.Errorf(errclass.Configuration,
			"the control plane's endpoint %s has the addresses %v, none of them of the family of "+
				"networking.serviceCIDR %s: pods in the cluster would not reach it; choose networks of the other "+
				"family, "+
				"or an endpoint with such an address", host, found, p.Cluster.VCluster.Networking.ServiceCIDR)
	}
	return kept, nil
}

// into decodes a free section of vcluster.yaml as the Kubernetes type that it stands for.
func into[T any](section map[string]any, target *T) error {
	if len(section) == 0 {
		return nil
	}
	text, err := json.Marshal(section)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, target)
}

// merged is a map with all entries of those given; later ones win.
func merged(all ...map[string]string) map[string]string {
	result := map[string]string{}
	for _, one := range all {
		maps.Copy(result, one)
	}
	return result
}
