package build

import (
	"context"
	"fmt"
	"path"
	"path/filepath"

	"argosy.dev/argosy/pkg/bundle/components"
)

// addon is an image of something that runs in a provisioned cluster.
type addon struct {
	ref string
	// program is where it lies in the image, under the name that it has in the folder that build gives.
	program string
	build   func(context.Context) (string, error)
	// base is the tree beneath and user the one that the program runs as, both empty where the program is all there is.
	base, user string
	// optional images belong to addons that are off by default.
	optional bool
}

// AddonImages returns the archives of the images that the addons of a cluster of the version run: flannel with its CNI
// plugin, kube-proxy, CoreDNS, the konnectivity agent, local-path-provisioner with its helper, and where optional is
// set MetalLB and metrics-server.
//
// Names are those that Argosy asks for by default, and tags have the versions of its table. Three have another version
// than their tag, since that one is not to be had as a Go module or Debian package: flannel-cni-plugin has the plugin
// of the CNI plugins v0.9.1, local-path-provisioner v0.0.30, and busybox 1.35.
func (b *Builder) AddonImages(ctx context.Context, version string, optional bool) ([]string, error) {
	agent, err := agentTag(version)
	if err != nil {
		return nil, err
	}
	network, err := b.networkTree(ctx)
	if err != nil {
		return nil, err
	}
	busybox, err := b.busyboxTree(ctx)
	if err != nil {
		return nil, err
	}
	var archives []string
	for _, addon := range b.addons(version, agent, network, busybox) {
		if addon.optional && !optional {
			continue
		}
		archive, err := b.addonImage(ctx, addon)
		if err != nil {
			return nil, fmt.Errorf("making image %q: %w", addon.ref, err)
		}
		archives = append(archives, archive)
	}
	return archives, nil
}

// addons are all images; network and busybox are the trees beneath those that need more than their program.
func (b *Builder) addons(version, agent, network, busybox string) []addon {
	kubernetes := func(ctx context.Context) (string, error) { return b.Kubernetes(ctx, version) }
	tag := components.AddonVersion
	const nonroot, nobody = "65532:65532", "65534:65534"
	return []addon{
		{
			"ghcr.io/flannel-io/flannel:v" + tag(components.Flannel), "/opt/bin/flanneld", b.buildFlannel,
			network, "", false,
		},
		{
			"ghcr.io/flannel-io/flannel-cni-plugin:v" + tag(components.FlannelCNIPlugin), "/flannel", b.buildFlannelCNI,
			busybox, "", false,
		},
		{"registry.k8s.io/kube-proxy:" + version, "/usr/local/bin/kube-proxy", kubernetes, network, "", false},
		{
			"docker.io/coredns/coredns:" + tag(components.CoreDNS), "/coredns", b.buildCoreDNS,
			"", nonroot, false,
		},
		{
			"registry.k8s.io/kas-network-proxy/proxy-agent:" + agent, "/proxy-agent", b.buildKonnectivity,
			"", nonroot, false,
		},
		{
			"docker.io/rancher/local-path-provisioner:v" + tag(components.LocalPathProvisioner),
			"/usr/bin/local-path-provisioner", b.buildLocalPathProvisioner,
			"", "", false,
		},
		{"docker.io/library/busybox:" + tag(components.Busybox), "", nil, busybox, "", false},
		{"quay.io/metallb/controller:v" + tag(components.MetalLB), "/controller", b.buildMetalLB, "", "", true},
		{"quay.io/metallb/speaker:v" + tag(components.MetalLB), "/speaker", b.buildMetalLB, "", "", true},
		{
			"registry.k8s.io/metrics-server/metrics-server:v" + tag(components.MetricsServer), "/metrics-server",
			b.buildMetricsServer, "", nobody, true,
		},
		// No addon: the tests run it in pods.
		{"lab.argosy.dev/web:v1", "/web", b.web, busybox, "", false},
	}
}

// agentTag is the tag of the konnectivity agent's image that goes with the Kubernetes version.
func agentTag(version string) (string, error) {
	released, err := components.Versions(version, nil)
	if err != nil {
		return "", err
	}
	return "v" + released["konnectivity"], nil
}

// addonImage makes the archive of an image. One without a program runs the shell of its tree.
func (b *Builder) addonImage(ctx context.Context, a addon) (string, error) {
	spec := ImageSpec{Ref: a.ref, Base: a.base, User: a.user}
	if a.program == "" {
		spec.Cmd = []string{"sh"}
		return b.Image(ctx, spec)
	}
	folder, err := a.build(ctx)
	if err != nil {
		return "", err
	}
	spec.Files = map[string]string{a.program: filepath.Join(folder, path.Base(a.program))}
	spec.Entrypoint = []string{a.program}
	return b.Image(ctx, spec)
}

// networkTree returns the tree beneath programs that set up packet filters: iptables in both its kinds, where the plain
// names are the kind on nftables as on a Debian machine, nft, conntrack, ipset and busybox' shell and commands.
func (b *Builder) networkTree(ctx context.Context) (string, error) {
	links := map[string]string{}
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			links["usr/sbin/"+name+suffix] = "xtables-nft-multi"
		}
	}
	return b.debianTree(ctx, "network-tools", []string{"busybox-static", "conntrack", "ipset", "iptables", "nftables"},
		links)
}

// busyboxTree returns a tree with busybox' shell and commands alone.
func (b *Builder) busyboxTree(ctx context.Context) (string, error) {
	return b.debianTree(ctx, "busybox", []string{"busybox-static"}, nil)
}
