package release

import (
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/bundle/assemble"
	"argosy.dev/argosy/pkg/bundle/components"
	"argosy.dev/argosy/pkg/errclass"
)

// Servers of the releases.
const (
	kubernetesPrograms = "https://dl.k8s.io/release/v{number}/bin/linux/{arch}/"
	github             = "https://github.com/"
)

// published is a file or image that a project publishes for each of its versions. In its strings {number} stands for
// the version without a "v", {arch} for Go's name of the architecture, and {url} for the address itself.
type published struct {
	// name in the list of contents; component is whose version it has.
	name, component string
	part            assemble.Part
	// url of a program or of a tar.gz; sums of the file that holds its checksum.
	url, sums string
	// image is the reference of a component that is published only as an image; the registry has its digest.
	image string
	// take maps paths in the archive or image to files of the directory of binaries. A program is taken whole, from
	// "".
	take map[string]string
	// purl is the release as a package URL.
	purl string
}

// catalogue has all components of bundles and of the control plane's image, and at its end programs that are in
// neither.
var catalogue = []published{
	program("kubeadm", assemble.Node),
	program("kubelet", assemble.Node),
	program("kubectl", assemble.Node),
	{
		// The static build runs on every distribution; the other one needs the C library of Ubuntu 22.04.
		name: "containerd", component: components.Containerd, part: assemble.Node,
		url: github + "containerd/containerd/releases/download/v{number}/" +
			"containerd-static-{number}-linux-{arch}.tar.gz",
		sums: "{url}.sha256sum",
		take: map[string]string{
			"bin/containerd":              "containerd",
			"bin/containerd-shim-runc-v2": "containerd-shim-runc-v2",
			"bin/ctr":                     "ctr",
		},
		purl: "pkg:github/containerd/containerd@v{number}",
	},
	{
		name: "runc", component: components.Runc, part: assemble.Node,
		url:  github + "opencontainers/runc/releases/download/v{number}/runc.{arch}",
		sums: github + "opencontainers/runc/releases/download/v{number}/runc.sha256sum",
		take: map[string]string{"": "runc"},
		purl: "pkg:github/opencontainers/runc@v{number}",
	},
	{
		name: "cni-plugins", component: components.CNIPlugins, part: assemble.Node,
		url:  github + "containernetworking/plugins/releases/download/v{number}/cni-plugins-linux-{arch}-v{number}.tgz",
		sums: "{url}.sha256",
		take: map[string]string{
			"loopback": "cni/bin/loopback", "portmap": "cni/bin/portmap", "bandwidth": "cni/bin/bandwidth",
			"bridge": "cni/bin/bridge", "firewall": "cni/bin/firewall", "host-local": "cni/bin/host-local",
		},
		purl: "pkg:github/containernetworking/plugins@v{number}",
	},
	{
		name: "crictl", component: components.Crictl, part: assemble.Node,
		url:  github + "kubernetes-sigs/cri-tools/releases/download/v{number}/crictl-v{number}-linux-{arch}.tar.gz",
		sums: "{url}.sha256",
		take: map[string]string{"crictl": "crictl"},
		purl: "pkg:github/kubernetes-sigs/cri-tools@v{number}",
	},
	{
		name: "pause", component: components.Pause, part: assemble.Node,
		image: "registry.k8s.io/pause:{number}",
	},

	program("kube-apiserver", assemble.ControlPlane),
	program("kube-controller-manager", assemble.ControlPlane),
	program("kube-scheduler", assemble.ControlPlane),
	{
		name: "etcd", component: components.Etcd, part: assemble.ControlPlane,
		url:  github + "etcd-io/etcd/releases/download/v{number}/etcd-v{number}-linux-{arch}.tar.gz",
		sums: github + "etcd-io/etcd/releases/download/v{number}/SHA256SUMS",
		take: map[string]string{
			"etcd-v{number}-linux-{arch}/etcd":    "etcd",
			"etcd-v{number}-linux-{arch}/etcdctl": "etcdctl",
			"etcd-v{number}-linux-{arch}/etcdutl": "etcdutl",
		},
		purl: "pkg:github/etcd-io/etcd@v{number}",
	},
	{
		name: "kine", component: components.Kine, part: assemble.ControlPlane,
		url:  github + "k3s-io/kine/releases/download/v{number}/kine-{arch}",
		sums: github + "k3s-io/kine/releases/download/v{number}/sha256sum-{arch}.txt",
		take: map[string]string{"": "kine"},
		purl: "pkg:github/k3s-io/kine@v{number}",
	},
	{
		name: "konnectivity-server", component: components.Konnectivity, part: assemble.ControlPlane,
		image: "registry.k8s.io/kas-network-proxy/proxy-server:v{number}",
		take:  map[string]string{"proxy-server": "konnectivity-server"},
		purl:  "pkg:github/kubernetes-sigs/apiserver-network-proxy@v{number}",
	},

	// Programs that run in clusters, which FetchPrograms fetches for the lab.
	program("kube-proxy", ""),
	{
		name:  "konnectivity-agent",
		image: "registry.k8s.io/kas-network-proxy/proxy-agent:v{number}",
		take:  map[string]string{"proxy-agent": "proxy-agent"},
	},
	{
		name:  "flannel",
		image: "ghcr.io/flannel-io/flannel:v{number}",
		take:  map[string]string{"opt/bin/flanneld": "flanneld"},
	},
	{
		name: "coredns",
		url:  github + "coredns/coredns/releases/download/v{number}/coredns_{number}_linux_{arch}.tgz",
		sums: "{url}.sha256",
		take: map[string]string{"coredns": "coredns"},
	},
	argo("workflow-controller", "workflow-controller"),
	argo("argoexec", "argoexec"),
	argo("argocli", "argo"),
}

// argo is a program of Argo Workflows, which has each in an image of its own.
func argo(image, name string) published {
	return published{
		name: image, image: "quay.io/argoproj/" + image + ":v{number}",
		take: map[string]string{"bin/" + name: name},
	}
}

// program is one of Kubernetes' own.
func program(name string, part assemble.Part) published {
	return published{
		name: name, component: components.Kubernetes, part: part,
		url: kubernetesPrograms + name, sums: "{url}.sha256",
		take: map[string]string{"": name},
		purl: "pkg:github/kubernetes/kubernetes@v{number}",
	}
}

// at returns p with all placeholders replaced, for a version and an architecture.
func (p published) at(number, arch string) published {
	p.url = strings.NewReplacer("{number}", number, "{arch}", arch).Replace(p.url)
	fill := strings.NewReplacer("{number}", number, "{arch}", arch, "{url}", p.url)
	p.sums, p.image, p.purl = fill.Replace(p.sums), fill.Replace(p.image), fill.Replace(p.purl)
	take := map[string]string{}
	for from, to := range p.take {
		take[fill.Replace(from)] = to
	}
	p.take = take
	return p
}

// archive reports whether the files have to be unpacked.
func (p published) archive() bool {
	return strings.HasSuffix(p.url, ".tar.gz") || strings.HasSuffix(p.url, ".tgz")
}

// Hosts returns the servers that have the components of these names, sorted. Files of github.com come from another one,
// to which it leads.
func Hosts(names []string) []string {
	var hosts []string
	for _, p := range catalogue {
		if slices.Contains(names, p.name) {
			address := strings.TrimPrefix(p.url+p.image, "https://")
			host, _, _ := strings.Cut(address, "/")
			hosts = append(hosts, host)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(hosts)))
}

// files returns the files of the directory of binaries, sorted.
func (p published) files() []string { return slices.Sorted(maps.Values(p.take)) }

// Mirrors replace the servers of releases, by host: "dl.k8s.io" by "https://mirror.example.org/dl.k8s.io". The path
// of an address, and the rest of an image's name, stay.
type Mirrors map[string]string

// check refuses mirrors that are not URLs of servers.
func (m Mirrors) check() error {
	for _, host := range slices.Sorted(maps.Keys(m)) {
		at, err := url.Parse(m[host])
		if err != nil || at.Host == "" || (at.Scheme != "https" && at.Scheme != "http") || at.RawQuery != "" ||
			at.User != nil {
			return errclass.Errorf(errclass.Configuration, "reading the mirror of %q: %q is not like "+
				"https://mirror.example.org/path", host, m[host])
		}
	}
	return nil
}

// address returns the address from which to read a URL of the catalogue.
func (m Mirrors) address(official string) (string, error) {
	at, err := url.Parse(official)
	if err != nil {
		return "", errclass.Errorf(errclass.Configuration, "reading address %q: %w", official, err)
	}
	mirror, there := m[at.Host]
	if !there {
		return official, nil
	}
	return strings.TrimSuffix(mirror, "/") + at.EscapedPath(), nil
}

// image returns the reference by which to pull an image of the catalogue, and whether to pull it without TLS.
func (m Mirrors) image(official string) (reference string, plain bool) {
	host, rest, _ := strings.Cut(official, "/")
	mirror, there := m[host]
	if !there {
		return official, false
	}
	at, err := url.Parse(mirror)
	if err != nil { // check has refused it
		return official, false
	}
	return path.Join(at.Host, at.Path, rest), at.Scheme == "http"
}
