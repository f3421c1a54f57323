package controlplane

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/endpoints"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
)

// Groups that kubeadm's roles are bound to.
const (
	nodesGroup    = "system:nodes"
	anonymousUser = "system:anonymous"
)

// clusterObjects returns the objects that `kubeadm join` and `kubeadm upgrade node` read in the cluster, their
// permissions, and the endpoints by which its pods reach the API server, which is at addresses.
func (p *Provisioner) clusterObjects(k *certificates.Keys, endpoint Endpoint, addresses []netip.Addr) ([]runtime.Object,
	error,
) {
	kubeadm, err := p.kubeadmConfig(endpoint)
	if err != nil {
		return nil, err
	}
	kubelet, err := p.kubeletConfig()
	if err != nil {
		return nil, err
	}
	info, err := clusterInfo(endpoint, k.Cluster.Cert)
	if err != nil {
		return nil, err
	}
	objects := []runtime.Object{info, kubeadm, kubelet}
	objects = append(objects, endpoints.Objects(addresses, endpoint.API)...)
	if p.followsEndpoint(endpoint) {
		objects = append(objects, endpointRoles()...)
	}
	return append(objects, roles(p.konnectivity())...), nil
}

func configMap(namespace, name, key, text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Data:       map[string]string{key: text},
	}
}

const clusterInfoName = "cluster-info"

// clusterInfo returns the ConfigMap by which a machine discovers the cluster; a controller signs it for each bootstrap
// token.
func clusterInfo(endpoint Endpoint, caCert []byte) (*corev1.ConfigMap, error) {
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config",
		"clusters": []any{map[string]any{"name": "", "cluster": map[string]any{
			"server":                     endpoint.Server(),
			"certificate-authority-data": caCert,
		}}},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding cluster-info: %w", err)
	}
	return configMap(metav1.NamespacePublic, clusterInfoName, "kubeconfig", string(text)), nil
}

// readClusterInfo returns the cluster that its store's cluster-info leads machines to; nil when there is none, or none
// that a machine can read. It is set last, so after an interrupted run the next one still finds the earlier address.
func readClusterInfo(ctx context.Context, client kubernetes.Interface) (*clientcmdapi.Cluster, error) {
	info, err := client.CoreV1().ConfigMaps(metav1.NamespacePublic).Get(ctx, clusterInfoName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading ConfigMap %q: %w", clusterInfoName, apply.Classify(err))
	}
	held, err := clientcmd.Load([]byte(info.Data["kubeconfig"]))
	if err != nil {
		return nil, nil
	}
	return held.Clusters[""], nil
}

// checkOwnState refuses a store with the state of another cluster, e.g. the database of an earlier one: its nodes and
// accounts trust another authority.
func checkOwnState(held *clientcmdapi.Cluster, caCert []byte) error {
	if held == nil || bytes.Equal(held.CertificateAuthorityData, caCert) {
		return nil
	}
	return errclass.Errorf(errclass.Configuration, "the store holds the state of another cluster, whose authority is "+
		"not this one's (its API server was %s): empty the database, or give the cluster another one; to have that "+
		"cluster again, deprovision and restore it", held.Server)
}

// machinesKnow returns host:port by which the machines of a cluster know its API server, where that is not endpoint; ""
// while it has no machines.
func machinesKnow(ctx context.Context, client kubernetes.Interface, held *clientcmdapi.Cluster,
	endpoint Endpoint,
) (string, error) {
	if held == nil || held.Server == endpoint.Server() {
		return "", nil
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return "", fmt.Errorf("listing the cluster's nodes: %w", apply.Classify(err))
	}
	if len(nodes.Items) == 0 {
		return "", nil
	}
	return addressOf(held.Server), nil
}

// kubeadmConfig returns kubeadm's ClusterConfiguration, as far as it concerns machines that join.
func (p *Provisioner) kubeadmConfig(endpoint Endpoint) (*corev1.ConfigMap, error) {
	networking := p.VCluster.Networking
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "ClusterConfiguration",
		"certificatesDir":      "/etc/kubernetes/pki",
		"clusterName":          p.Name,
		"controlPlaneEndpoint": endpoint.Address(),
		"kubernetesVersion":    p.KubernetesVersion(),
		"networking": map[string]any{
			"dnsDomain": networking.Advanced.ClusterDomain, "podSubnet": networking.PodCIDR,
			"serviceSubnet": networking.ServiceCIDR,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding kubeadm-config: %w", err)
	}
	return configMap(metav1.NamespaceSystem, "kubeadm-config", "ClusterConfiguration", string(text)), nil
}

// kubeletConfig returns the configuration of every kubelet of the cluster: kubeadm's defaults, requests for serving
// certificates, and over them the user's settings of privateNodes.kubelet, whose keys pkg/config has checked: a kubelet
// exits on an unknown one.
func (p *Provisioner) kubeletConfig() (*corev1.ConfigMap, error) {
	wanted := map[string]any{
		"apiVersion": kubeletv1beta1.SchemeGroupVersion.String(), "kind": "KubeletConfiguration",
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true, "cacheTTL": "0s"},
			"x509":      map[string]any{"clientCAFile": p.VCluster.PrivateNodes.JoinNode.CACertPath},
		},
		"authorization":      map[string]any{"mode": "Webhook"},
		"cgroupDriver":       "systemd",
		"clusterDNS":         []any{p.ClusterDNS().String()},
		"clusterDomain":      p.VCluster.Networking.Advanced.ClusterDomain,
		"healthzBindAddress": "127.0.0.1",
		"healthzPort":        10248,
		"rotateCertificates": true,
		"serverTLSBootstrap": p.KubeletsRequestCertificates(),
		"staticPodPath":      "/etc/kubernetes/manifests",
	}
	overlay(wanted, p.VCluster.PrivateNodes.Kubelet.Config)
	if driver := p.CgroupDriver(); driver != "" {
		wanted["cgroupDriver"] = driver
	}
	text, err := yaml.Marshal(wanted)
	if err != nil {
		return nil, fmt.Errorf("encoding kubelet-config: %w", err)
	}
	return configMap(metav1.NamespaceSystem, "kubelet-config", "kubelet", string(text)), nil
}

// overlay puts the entries of over into base, deep; a list replaces a list.
func overlay(base, over map[string]any) {
	for name, value := range over {
		inner, isMap := value.(map[string]any)
		held, wasMap := base[name].(map[string]any)
		if isMap && wasMap {
			overlay(held, inner)
			continue
		}
		base[name] = value
	}
}

// roles returns the permissions that kubeadm needs on machines that join, and no others.
func roles(konnectivity bool) []runtime.Object {
	group := func(names ...string) []rbacv1.Subject {
		var subjects []rbacv1.Subject
		for _, name := range names {
			subjects = append(subjects, rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: name})
		}
		return subjects
	}
	user := func(name string) []rbacv1.Subject {
		return []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}}
	}
	objects := []runtime.Object{
		clusterRole("kubeadm:get-nodes", rbacv1.PolicyRule{
			APIGroups: []string{""}, Resources: []string{"nodes"},
			Verbs: []string{"get"},
		}),
		clusterBinding("kubeadm:get-nodes", "kubeadm:get-nodes", group(join.BootstrapGroup)),
		clusterBinding("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", group(join.BootstrapGroup)),
		clusterBinding("kubeadm:node-autoapprove-bootstrap",
			"system:certificates.k8s.io:certificatesigningrequests:nodeclient", group(join.BootstrapGroup)),
		clusterBinding("kubeadm:node-autoapprove-certificate-rotation",
			"system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", group(nodesGroup)),
		clusterBinding(administratorGroup, "cluster-admin", group(administratorGroup)),
		// As kubeadm of 1.37 binds it; before, the API server's certificate carried the administrators' group.
		clusterBinding("kubeadm:apiserver-kubelet-client", "system:kubelet-api-admin", user(kubeletClient)),
	}
	objects = append(objects, readable(metav1.NamespacePublic, "kubeadm:bootstrap-signer-clusterinfo", "cluster-info",
		user(anonymousUser))...)
	objects = append(objects, bundlesAccount())
	objects = append(objects, readable(metav1.NamespaceSystem, "kubeadm:nodes-kubeadm-config", "kubeadm-config",
		append(group(join.BootstrapGroup, nodesGroup), rbacv1.Subject{
			Kind:      rbacv1.ServiceAccountKind,
			Namespace: metav1.NamespaceSystem, Name: BundlesAccount,
		}))...)
	objects = append(objects, readable(metav1.NamespaceSystem, "kubeadm:kubelet-config", "kubelet-config",
		group(join.BootstrapGroup, nodesGroup))...)
	if konnectivity {
		// The server has its agents' tokens reviewed.
		objects = append(objects, clusterBinding("system:konnectivity-server", "system:auth-delegator",
			user("system:konnectivity-server")))
	}
	return objects
}

// endpointUser is the user as whom the container that follows the control plane's addresses calls the API server.
const endpointUser = "argosy:endpoint"

// endpointRoles returns the permissions of endpointUser: the objects of Service default/kubernetes, and no others.
func endpointRoles() []runtime.Object {
	rule := func(verb string, names ...string) []rbacv1.PolicyRule {
		return []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"endpoints"}, Verbs: []string{verb}, ResourceNames: names},
			{
				APIGroups: []string{discoveryv1.GroupName}, Resources: []string{"endpointslices"},
				Verbs: []string{verb}, ResourceNames: names,
			},
		}
	}
	meta := metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: endpointUser}
	return []runtime.Object{
		&rbacv1.Role{
			TypeMeta: metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "Role"}, ObjectMeta: meta,
			Rules: slices.Concat(rule("get", endpoints.Name), rule("patch", endpoints.Name), rule("create")),
		},
		&rbacv1.RoleBinding{
			TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"},
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: endpointUser},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: endpointUser}},
		},
	}
}

// BundlesAccount is the service account in kube-system whose token the plugin shows to the bundle server, which serves
// every caller that may read kubeadm-config.
const BundlesAccount = "argosy-bundles"

func bundlesAccount() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta:                     metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta:                   metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: BundlesAccount},
		AutomountServiceAccountToken: new(bool),
	}
}

// readable returns the Role and the binding that let subjects read one ConfigMap.
func readable(namespace, name, configMap string, subjects []rbacv1.Subject) []runtime.Object {
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
	return []runtime.Object{
		&rbacv1.Role{
			TypeMeta: metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "Role"}, ObjectMeta: meta,
			Rules: []rbacv1.PolicyRule{{
				APIGroups: []string{""}, Resources: []string{"configmaps"},
				ResourceNames: []string{configMap}, Verbs: []string{"get"},
			}},
		},
		&rbacv1.RoleBinding{
			TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"},
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}, Subjects: subjects,
		},
	}
}

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"},
		ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules,
	}
}

func clusterBinding(name, role string, subjects []rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRoleBinding"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}, Subjects: subjects,
	}
}
