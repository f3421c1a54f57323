package addons

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"argosy.dev/argosy/pkg/bundle/components"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// table holds every image that Argosy brings into a cluster, by the name that manifests use. {kubernetes}, {coredns},
// {konnectivity} and {pause} depend on the version of Kubernetes; the latter two come from the table of its release, so
// that the agent has the server's version and the pause image is the node bundle's.
var table = map[string]string{
	"flannel":                "ghcr.io/flannel-io/flannel:v0.26.7",
	"flannel-cni-plugin":     "ghcr.io/flannel-io/flannel-cni-plugin:v1.6.2-flannel1",
	"kube-proxy":             "registry.k8s.io/kube-proxy:{kubernetes}",
	"coredns":                "docker.io/coredns/coredns:{coredns}",
	"konnectivity-agent":     "registry.k8s.io/kas-network-proxy/proxy-agent:v{konnectivity}",
	"local-path-provisioner": "docker.io/rancher/local-path-provisioner:v0.0.31",
	"local-path-helper":      "docker.io/library/busybox:1.36.1",
	"metallb-controller":     "quay.io/metallb/controller:v0.14.9",
	"metallb-speaker":        "quay.io/metallb/speaker:v0.14.9",
	"metrics-server":         "registry.k8s.io/metrics-server/metrics-server:v0.8.0",
	"pause":                  "registry.k8s.io/pause:{pause}",
}

// since is a version that is used from a minor version of Kubernetes on, until the next entry.
type since struct {
	minor   uint
	version string
}

// coreDNSVersions are those that kubeadm of the same Kubernetes would take.
var coreDNSVersions = []since{{30, "1.11.3"}, {33, "1.12.0"}, {34, "1.12.1"}, {35, "1.14.1"}, {36, "1.14.2"}}

// images finds the reference of an image by its name in the table.
type images struct{ versions *strings.Replacer }

// imagesOf returns the images for a version of Kubernetes, e.g. "v1.34.4".
func imagesOf(kubernetes string) (images, error) {
	parsed, err := version.ParseSemantic(kubernetes)
	if err != nil {
		return images{}, errclass.Errorf(errclass.Configuration,
			"reading the version of Kubernetes %q: %w; set controlPlane.distro.k8s.version, e.g. v1.34.4", kubernetes,
			err)
	}
	return images{strings.NewReplacer(
		"{kubernetes}", "v"+parsed.String(),
		"{coredns}", at(coreDNSVersions, parsed.Minor()),
		"{konnectivity}", components.KonnectivityVersion(parsed.Minor()),
		"{pause}", components.PauseVersion(parsed.Minor()),
	)}, nil
}

// at returns the version for a minor version of Kubernetes; the first for all that are older.
func at(versions []since, minor uint) string {
	found := versions[0].version
	for _, entry := range versions {
		if minor >= entry.minor {
			found = entry.version
		}
	}
	return found
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

// tagOf returns the tag of an image, "" when it has none. Digests and ports are no tags.
func tagOf(reference string) string {
	reference, _, _ = strings.Cut(reference, "@")
	last := reference[strings.LastIndex(reference, "/")+1:]
	_, tag, _ := strings.Cut(last, ":")
	return tag
}
