// Package addons renders the workloads that run in a cluster from the start: the pod network, DNS, kube-proxy, the
// konnectivity agent, volumes, and those that the documents switch on. Its manifests are plain YAML; code
// changes them as the documents ask. It sets nothing in a cluster: see package apply.
package addons

import (
	"fmt"
	"net"
	"net/url"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// Facts are the properties of the control plane that addons need.
type Facts struct {
	// Version of Kubernetes, e.g. v1.34.4.
	Version string
	// Server is the API server's address as the machines see it, "https://host:port".
	Server string
	// CACert is the cluster's certificate authority, PEM.
	CACert string
	// KonnectivityHost and KonnectivityPort are where konnectivity agents call, as the machines see it.
	KonnectivityHost string
	KonnectivityPort int
	// VerifiesKubelets is set where the API server verifies the kubelets' serving certificates.
	VerifiesKubelets bool
}

// Addon is one thing that runs in a cluster.
type Addon struct {
	// Name, e.g. "flannel".
	Name string
	// Version of the program that it runs, e.g. "v0.26.7": the tag of its image. It is empty when users brought
	// manifests of their own.
	Version string
	// Enabled is set when the documents want it. An addon that is off has no objects.
	Enabled bool
	// Objects to set. All have Argosy's labels.
	Objects []*unstructured.Unstructured
	// Images of its pods and of pods that those start.
	Images []string
}

// site is the cluster that an addon is rendered for.
type site struct {
	cluster *config.Cluster
	facts   Facts
	images  images
}

// recipes are the addons in the order in which a cluster needs them.
var recipes = []struct {
	name string
	make func(*site) (Addon, error)
}{
	{"flannel", flannel},
	{"kube-proxy", kubeProxy},
	{"coredns", coreDNS},
	{"konnectivity", konnectivity},
	{"local-path-provisioner", localPathProvisioner},
	{"metallb", metalLB},
	{"metrics-server", metricsServer},
}

// Wanted returns all addons, those that are off as well, so that their objects can be removed. Errors are about
// the documents and have class errclass.Configuration.
func Wanted(cluster *config.Cluster, facts Facts) ([]Addon, error) {
	images, err := imagesOf(facts.Version)
	if err != nil {
		return nil, err
	}
	s := &site{cluster: cluster, facts: facts, images: images}
	addons := make([]Addon, len(recipes))
	for i, recipe := range recipes {
		if addons[i], err = recipe.make(s); err != nil {
			return nil, fmt.Errorf("preparing addon %q: %w", recipe.name, err)
		}
		addons[i].Name = recipe.name
	}
	return addons, nil
}

// apiServer returns host and port of the API server as the machines see it.
func (s *site) apiServer() (host, port string, err error) {
	server, err := url.Parse(s.facts.Server)
	if err != nil || server.Scheme != "https" || server.Hostname() == "" {
		return "", "", errclass.Errorf(errclass.Permanent, "the API server's address %q is not https://host:port",
			s.facts.Server)
	}
	if host, port, err = net.SplitHostPort(server.Host); err != nil {
		return server.Hostname(), "443", nil
	}
	return host, port, nil
}
