package build

import (
	"context"
	"strings"
)

// addonsModule is the nested module of MetalLB, whose newest version needs older libraries than what runs beside it.
const addonsModule = "addons"

// addonsTags keep the C library's look-ups out of programs with cgo, where they would not work in a static program, and
// make the standard library the same in programs with and without cgo. The last one makes programs smaller.
func addonsTags() []string { return []string{"netgo", "osusergo", "grpcnotrace"} }

// buildFlannel returns the folder with flanneld.
func (b *Builder) buildFlannel(ctx context.Context) (string, error) {
	const module = "github.com/flannel-io/flannel"
	version, err := b.required(ctx, hostedModule, module)
	if err != nil {
		return "", err
	}
	return b.programs(ctx, recipe{
		Component: "flannel",
		Module:    hostedModule,
		Version:   version,
		Programs:  map[string]string{"flanneld": module},
		Official:  []string{"flannel"},
		Tags:      addonsTags(),
		LinkFlags: []string{"-X", module + "/pkg/version.Version=" + version, "-extldflags", "-static"},
		// Its UDP backend is C; without cgo it does not compile on amd64.
		Cgo:      true,
		Packages: []string{"gcc", "libc6-dev"},
		Versions: []versionCheck{{Call: []string{"flanneld", "--version"}, Holds: version}},
	}, nil)
}

// buildFlannelCNI returns the folder with flannel, the CNI plugin that hands a pod's network over to bridge.
func (b *Builder) buildFlannelCNI(ctx context.Context) (string, error) {
	const module = "github.com/containernetworking/plugins"
	version, err := b.required(ctx, "flannel-cni", module)
	if err != nil {
		return "", err
	}
	return b.programs(ctx, recipe{
		Component: "flannel-cni",
		Module:    "flannel-cni",
		Version:   version,
		Programs:  map[string]string{"flannel": module + "/plugins/meta/flannel"},
		LinkFlags: []string{"-X", module + "/pkg/utils/buildversion.BuildVersion=" + version},
		Versions:  []versionCheck{{Call: []string{"flannel"}, Holds: "plugin " + version}},
	}, nil)
}

// buildCoreDNS returns the folder with coredns, whose plugins modules/hosted/coredns tells.
func (b *Builder) buildCoreDNS(ctx context.Context) (string, error) {
	const module = "github.com/coredns/coredns"
	version, err := b.required(ctx, hostedModule, module)
	if err != nil {
		return "", err
	}
	return b.programs(ctx, recipe{
		Component: "coredns",
		Module:    hostedModule,
		Version:   version,
		Programs:  map[string]string{"coredns": "argosy.dev/argosy/test/lab/build/modules/hosted/coredns"},
		Official:  []string{"coredns"},
		Tags:      addonsTags(),
		Versions: []versionCheck{
			{Call: []string{"coredns", "-version"}, Holds: "CoreDNS-" + strings.TrimPrefix(version, "v")},
			{Call: []string{"coredns", "-plugins"}, Holds: "kubernetes"},
		},
	}, nil)
}

// buildLocalPathProvisioner returns the folder with local-path-provisioner.
func (b *Builder) buildLocalPathProvisioner(ctx context.Context) (string, error) {
	const module = "github.com/rancher/local-path-provisioner"
	version, err := b.required(ctx, "local-path-provisioner", module)
	if err != nil {
		return "", err
	}
	return b.programs(ctx, recipe{
		Component: "local-path-provisioner",
		Module:    "local-path-provisioner",
		Version:   version,
		Programs:  map[string]string{"local-path-provisioner": module},
		Tags:      kubernetesTags(),
		LinkFlags: []string{"-X", "main.VERSION=" + version},
		Versions:  []versionCheck{{Call: []string{"local-path-provisioner", "--version"}, Holds: "version " + version}},
	}, nil)
}

// buildMetricsServer returns the folder with metrics-server.
func (b *Builder) buildMetricsServer(ctx context.Context) (string, error) {
	const module = "sigs.k8s.io/metrics-server"
	version, err := b.required(ctx, "metrics-server", module)
	if err != nil {
		return "", err
	}
	return b.programs(ctx, recipe{
		Component: "metrics-server",
		Module:    "metrics-server",
		Version:   version,
		Programs:  map[string]string{"metrics-server": module + "/cmd/metrics-server"},
		Tags:      kubernetesTags(),
		LinkFlags: []string{"-X", "k8s.io/client-go/pkg/version.gitVersion=" + version},
		Versions:  []versionCheck{{Call: []string{"metrics-server", "--version"}, Holds: version}},
	}, nil)
}

// buildMetalLB returns the folder with MetalLB's controller and speaker.
func (b *Builder) buildMetalLB(ctx context.Context) (string, error) {
	const module = "go.universe.tf/metallb"
	version, err := b.required(ctx, addonsModule, module)
	if err != nil {
		return "", err
	}
	return b.programs(ctx, recipe{
		Component: "metallb",
		Module:    addonsModule,
		Version:   version,
		Programs:  map[string]string{"controller": module + "/controller", "speaker": module + "/speaker"},
		Tags:      addonsTags(),
		// Both tell their version only once they run in a cluster.
		Versions: []versionCheck{
			{Call: []string{"controller", "--help"}, Holds: "-lb-class"},
			{Call: []string{"speaker", "--help"}, Holds: "-ml-bindaddr"},
		},
	}, nil)
}
