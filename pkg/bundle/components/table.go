package components

import "slices"

// Names of the addons: they run in a cluster and are in no bundle.
const (
	CoreDNS              = "coredns"
	Flannel              = "flannel"
	FlannelCNIPlugin     = "flannel-cni-plugin"
	LocalPathProvisioner = "local-path-provisioner"
	Busybox              = "busybox"
	MetalLB              = "metallb"
	MetricsServer        = "metrics-server"
)

// Row is a minor version of Kubernetes with the components that go with it. Days are like "2026-08-26".
type Row struct {
	// Minor is like "1.37", Newest the newest patch that was known when the row was last changed, like "1.37.2".
	Minor, Newest string
	// Released is the day of the first release, Ends the last day on which the project maintains the minor version.
	Released, Ends string
	// Components are the versions by component, without a "v".
	Components map[string]string
}

// Project is where the facts on a component come from.
type Project struct {
	Name string
	// Maintenance is the page with the time that a series is maintained, Advisories the one with its vulnerabilities.
	Maintenance, Advisories string
	// Releases are those that the table takes, by version.
	Releases []Release
}

// Release is one version of a component.
type Release struct {
	Version string
	// Date is the day of the release; empty where the project publishes none.
	Date string
	// Ends is the last day on which the version's series is maintained; empty where that depends on later releases,
	// which is so for all projects that maintain their newest series without a date.
	Ends string
}

// Rows returns the table, oldest minor version first.
func Rows() []Row { return slices.Clone(table) }

// Projects returns the sources of the table, in the order in which people read it.
func Projects() []Project { return slices.Clone(projects) }

// table has every minor version of Kubernetes that Argosy supports: those that are maintained, and those that ended
// less than half a year ago, since upgrades begin there. Kubernetes' dates are of https://kubernetes.io/releases/.
//
// Versions of pause are those of kubeadm of the same minor version (cmd/kubeadm/app/constants), and so are the series
// of etcd, each at its newest release: 1.37 lists by RangeStream, which etcd has since 3.7 and kine since 0.17.1, and
// falls back to pages without it. crictl has Kubernetes' minor version. Of containerd all have the series with
// long-term support, which speaks the CRI v1 of all of them; 2.0 has an end of its own, and 1.7, 2.1 and 2.2 have
// ended. Konnectivity is the one that 1.37 is built with; server and agent are of one version. runc and kine are at
// their newest, since kine mends nothing older and runc only the worst; the CNI plugins are those that Kubernetes
// 1.36 and 1.37 are tested with.
var table = []Row{
	row("1.34", "1.34.12", "2025-08-27", "2026-10-27", "3.6.16", "1.34.0", "3.10.1"),
	row("1.35", "1.35.8", "2025-12-17", "2027-02-28", "3.6.16", "1.35.0", "3.10.1"),
	row("1.36", "1.36.5", "2026-04-22", "2027-06-28", "3.6.16", "1.36.0", "3.10.2"),
	row("1.37", "1.37.2", "2026-08-26", "2027-10-28", "3.7.3", "1.37.0", "3.10.2"),
}

// row returns a row with the components that all minor versions share.
func row(minor, newest, released, ends, etcd, crictl, pause string) Row {
	return Row{Minor: minor, Newest: newest, Released: released, Ends: ends, Components: map[string]string{
		Containerd: "2.3.7", Runc: "1.5.3", CNIPlugins: "1.9.1", Crictl: crictl,
		Etcd: etcd, Kine: "0.17.5", Konnectivity: "0.36.0", Pause: pause,
	}}
}

// addons are the versions of the addons, the same ones for all minor versions of Kubernetes: the newest, since none of
// the projects mends an older series, but for MetalLB. CoreDNS is newer than kubeadm 1.37's, which has known flaws.
var addons = map[string]string{
	CoreDNS:              "1.15.0",
	Flannel:              "0.28.10",
	FlannelCNIPlugin:     "1.9.1-flannel3",
	LocalPathProvisioner: "0.0.37",
	Busybox:              "1.36.1",
	MetalLB:              "0.14.9",
	MetricsServer:        "0.9.0",
}

// AddonVersion returns the version of an addon, without a "v"; "" for an unknown name.
func AddonVersion(name string) string { return addons[name] }

// projects are the sources, with the day of each release as its tag or the Go module proxy tells it.
var projects = []Project{
	{
		Name:        Kubernetes,
		Maintenance: "https://kubernetes.io/releases/",
		Advisories:  "https://kubernetes.io/docs/reference/issues-security/official-cve-feed/",
	},
	{
		Name:        Containerd,
		Maintenance: "https://github.com/containerd/containerd/blob/main/RELEASES.md",
		Advisories:  "https://github.com/containerd/containerd/security/advisories",
		Releases:    []Release{{Version: "2.3.7", Date: "2026-10-13", Ends: "2028-04-30"}},
	},
	{
		Name:        Runc,
		Maintenance: "https://github.com/opencontainers/runc/blob/main/RELEASES.md",
		Advisories:  "https://github.com/opencontainers/runc/security/advisories",
		Releases:    []Release{{Version: "1.5.3", Date: "2026-11-12"}},
	},
	{
		Name:        CNIPlugins,
		Maintenance: "https://github.com/containernetworking/plugins/releases",
		Advisories:  "https://github.com/containernetworking/plugins/security/advisories",
		Releases:    []Release{{Version: "1.9.1", Date: "2026-02-19"}},
	},
	{
		Name:        Crictl,
		Maintenance: "https://github.com/kubernetes-sigs/cri-tools#compatibility-matrix-cri-tools--kubernetes",
		Advisories:  "https://github.com/kubernetes-sigs/cri-tools/security/advisories",
		// A series ends with the same one of Kubernetes.
		Releases: []Release{
			{Version: "1.34.0", Date: "2025-08-21", Ends: "2026-10-27"},
			{Version: "1.35.0", Ends: "2027-02-28"},
			{Version: "1.36.0", Date: "2026-04-24", Ends: "2027-06-28"},
			{Version: "1.37.0", Date: "2026-09-01", Ends: "2027-10-28"},
		},
	},
	{
		Name:        Pause,
		Maintenance: "https://github.com/kubernetes/kubernetes/blob/master/build/pause/CHANGELOG.md",
		Advisories:  "https://kubernetes.io/docs/reference/issues-security/official-cve-feed/",
		Releases:    []Release{{Version: "3.10.1"}, {Version: "3.10.2"}},
	},
	{
		Name:        Etcd,
		Maintenance: "https://etcd.io/docs/latest/op-guide/versioning/",
		Advisories:  "https://github.com/etcd-io/etcd/security/advisories",
		Releases:    []Release{{Version: "3.6.16", Date: "2026-10-22"}, {Version: "3.7.3", Date: "2026-10-22"}},
	},
	{
		Name:        Kine,
		Maintenance: "https://github.com/k3s-io/kine/releases",
		Advisories:  "https://github.com/k3s-io/kine/security/advisories",
		Releases:    []Release{{Version: "0.17.5", Date: "2026-11-05"}},
	},
	{
		Name:        Konnectivity,
		Maintenance: "https://github.com/kubernetes-sigs/apiserver-network-proxy#versioning-and-releases",
		Advisories:  "https://github.com/kubernetes-sigs/apiserver-network-proxy/security/advisories",
		Releases:    []Release{{Version: "0.36.0", Date: "2026-06-03"}},
	},
	{
		Name:        CoreDNS,
		Maintenance: "https://github.com/coredns/coredns/blob/master/.github/SECURITY.md",
		Advisories:  "https://github.com/coredns/coredns/security/advisories",
		Releases:    []Release{{Version: "1.15.0", Date: "2026-10-21"}},
	},
	{
		Name:        Flannel,
		Maintenance: "https://github.com/flannel-io/flannel/releases",
		Advisories:  "https://github.com/flannel-io/flannel/security/advisories",
		Releases:    []Release{{Version: "0.28.10", Date: "2026-10-08"}},
	},
	{
		Name:        FlannelCNIPlugin,
		Maintenance: "https://github.com/flannel-io/cni-plugin/releases",
		Advisories:  "https://github.com/flannel-io/cni-plugin/security/advisories",
		Releases:    []Release{{Version: "1.9.1-flannel3"}},
	},
	{
		Name:        LocalPathProvisioner,
		Maintenance: "https://github.com/rancher/local-path-provisioner/releases",
		Advisories:  "https://github.com/rancher/local-path-provisioner/security/advisories",
		Releases:    []Release{{Version: "0.0.37", Date: "2026-08-05"}},
	},
	{
		Name:        Busybox,
		Maintenance: "https://busybox.net/downloads/",
		Advisories:  "https://security-tracker.debian.org/tracker/source-package/busybox",
		Releases:    []Release{{Version: "1.36.1"}},
	},
	{
		Name:        MetalLB,
		Maintenance: "https://metallb.io/release-notes/",
		Advisories:  "https://github.com/metallb/metallb/security/advisories",
		Releases:    []Release{{Version: "0.14.9", Date: "2024-12-17"}},
	},
	{
		Name:        MetricsServer,
		Maintenance: "https://github.com/kubernetes-sigs/metrics-server#compatibility-matrix",
		Advisories:  "https://github.com/kubernetes-sigs/metrics-server/security/advisories",
		Releases:    []Release{{Version: "0.9.0", Date: "2026-07-13"}},
	},
}
