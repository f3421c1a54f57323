package addons

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"argosy.dev/argosy/pkg/bundle/components"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// table holds every image that Argosy brings into a cluster, by the name that manifests use. The versions come from
// pkg/bundle/components. {kubernetes}, {konnectivity} and {pause} depend on the version of Kubernetes, so that the
// agent has the server's version and the pause image is the node bundle's.
var table = map[string]string{
	"flannel":                "ghcr.io/flannel-io/flannel:v{flannel}",
	"flannel-cni-plugin":     "ghcr.io/flannel-io/flannel-cni-plugin:v{flannel-cni-plugin}",
	"kube-proxy":             "registry.k8s.io/kube-proxy:{kubernetes}",
	"coredns":                "docker.io/coredns/coredns:{coredns}",
	"konnectivity-agent":     "registry.k8s.io/kas-network-proxy/proxy-agent:v{konnectivity}",
	"local-path-provisioner": "docker.io/rancher/local-path-provisioner:v{local-path-provisioner}",
	"local-path-helper":      "docker.io/library/busybox:{busybox}",
	"metallb-controller":     "quay.io/metallb/controller:v{metallb}",
	"metallb-speaker":        "quay.io/metallb/speaker:v{metallb}",
	"metrics-server":         "registry.k8s.io/metrics-server/metrics-server:v{metrics-server}",
	"pause":                  "registry.k8s.io/pause:{pause}",
}

// images finds the reference of an image by its name in the table.
type images struct{ versions *strings.Replacer }

// imagesOf returns the images for a version of Kubernetes, e.g. "v1.37.2".
func imagesOf(kubernetes string) (images, error) {
	parsed, err := version.ParseSemantic(kubernetes)
	if err != nil {
		return images{}, errclass.Errorf(errclass.Configuration,
			"reading the version of Kubernetes %q: %w; set controlPlane.distro.k8s.version, e.g. v1.37.2", kubernetes,
			err)
	}
	versions := []string{
		"{kubernetes}", "v" + parsed.String(),
		"{konnectivity}", components.KonnectivityVersion(parsed.Minor()),
		"{pause}", components.PauseVersion(parsed.Minor()),
	}
	for _, name := range []string{
		components.CoreDNS, components.Flannel, components.FlannelCNIPlugin, components.LocalPathProvisioner,
		components.Busybox, components.MetalLB, components.MetricsServer,
	} {
		versions = append(versions, "{"+name+"}", components.AddonVersion(name))
	}
	return images{strings.NewReplacer(versions...)}, nil
}

// reference returns an image as cluster's machines pull it: chosen if the documents name one, that of the table
// otherwise.
func (i images) reference(cluster *config.Cluster, name, chosen string) (string, error) {
	known, ok := table[name]
	if !ok {
		return "", fmt.Errorf("image %q is not in the table of images", name)
	}
	if chosen == "" {
		chosen = i.versions.Replace(known)
	}
	return cluster.ImageRef(chosen), nil
}
