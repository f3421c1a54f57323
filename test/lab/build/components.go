package build

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Stores builds the programs in which control planes of the Kubernetes version keep their objects: etcd and kine.
func (b *Builder) Stores(ctx context.Context, kubernetes string) error {
	if _, err := b.buildEtcd(ctx, kubernetes); err != nil {
		return err
	}
	_, err := b.buildKine(ctx)
	return err
}

// buildEtcd returns the folder with etcd, etcdctl and etcdutl, which restores snapshots, of the series that goes with
// the Kubernetes version.
func (b *Builder) buildEtcd(ctx context.Context, kubernetes string) (string, error) {
	module, err := etcdModule(kubernetes)
	if err != nil {
		return "", err
	}
	version, err := b.required(ctx, module, "go.etcd.io/etcd/server/v3")
	if err != nil {
		return "", err
	}
	number := strings.TrimPrefix(version, "v")
	return b.programs(ctx, recipe{
		Component: "etcd",
		Module:    module,
		Version:   version,
		Programs: map[string]string{
			"etcd":    "go.etcd.io/etcd/server/v3",
			"etcdctl": "go.etcd.io/etcd/etcdctl/v3",
			"etcdutl": "go.etcd.io/etcd/etcdutl/v3",
		},
		Official: []string{"etcd"},
		Versions: []versionCheck{
			{Call: []string{"etcd", "--version"}, Holds: "etcd Version: " + number},
			{Call: []string{"etcdctl", "version"}, Holds: "etcdctl version: " + number},
			{Call: []string{"etcdutl", "version"}, Holds: "etcdutl version: " + number},
		},
	}, nil)
}

// etcdModule returns the module that builds the etcd of a Kubernetes version: 3.7 from 1.37 on, as kubeadm has it.
func etcdModule(kubernetes string) (string, error) {
	_, minor, err := minorVersion(kubernetes)
	if err != nil {
		return "", err
	}
	number, err := strconv.Atoi(minor)
	if err != nil {
		return "", fmt.Errorf("reading version %q: %w", kubernetes, err)
	}
	if number >= 37 {
		return "etcd-3.7", nil
	}
	return "etcd", nil
}

// Containerd returns the folder with containerd, containerd-shim-runc-v2 and ctr, all static.
func (b *Builder) Containerd(ctx context.Context) (string, error) {
	const module = "github.com/containerd/containerd/v2"
	version, err := b.required(ctx, "containerd", module)
	if err != nil {
		return "", err
	}
	r := recipe{
		Component: "containerd",
		Module:    "containerd",
		Version:   version,
		Programs:  map[string]string{},
		Official:  []string{"containerd"},
		LinkFlags: []string{"-X", module + "/version.Version=" + version},
	}
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
		r.Programs[name] = module + "/cmd/" + name
	}
	r.Versions = []versionCheck{
		{Call: []string{"containerd", "--version"}, Holds: version},
		{Call: []string{"containerd-shim-runc-v2", "-v"}, Holds: version},
		{Call: []string{"ctr", "--version"}, Holds: version},
	}
	return b.programs(ctx, r, nil)
}

// Runc returns the folder with runc, static and with seccomp.
func (b *Builder) Runc(ctx context.Context) (string, error) {
	const module = "github.com/opencontainers/runc"
	version, err := b.required(ctx, "runc", module)
	if err != nil {
		return "", err
	}
	return b.programs(ctx, recipe{
		Component: "runc",
		Module:    "runc",
		Version:   version,
		Programs:  map[string]string{"runc": module},
		Official:  []string{"runc"},
		// netgo and osusergo keep the C library's look-ups out, which do not work in a static program.
		Tags:      []string{"seccomp", "netgo", "osusergo", "urfave_cli_no_docs"},
		LinkFlags: []string{"-extldflags", "-static"},
		Cgo:       true,
		Packages:  []string{"gcc", "libc6-dev", "libseccomp-dev", "pkg-config"},
		Versions: []versionCheck{
			{Call: []string{"runc", "--version"}, Holds: "runc version " + strings.TrimPrefix(version, "v")},
			// Without the tag runc still builds and runs, and then refuses every pod with a seccomp profile.
			{Call: []string{"runc", "--version"}, Holds: "libseccomp: "},
		},
	}, nil)
}

// CNI returns the folder with the plugins that a node bundle carries: loopback, portmap, bandwidth, bridge, firewall
// and host-local.
func (b *Builder) CNI(ctx context.Context) (string, error) {
	const module = "github.com/containernetworking/plugins"
	version, err := b.required(ctx, "cni", module)
	if err != nil {
		return "", err
	}
	r := recipe{
		Component: "cni",
		Module:    "cni",
		Version:   version,
		Programs:  map[string]string{"host-local": module + "/plugins/ipam/host-local"},
		Official:  []string{"cni-plugins"},
		LinkFlags: []string{"-X", module + "/pkg/utils/buildversion.BuildVersion=" + version},
	}
	for _, name := range []string{"loopback", "bridge"} {
		r.Programs[name] = module + "/plugins/main/" + name
	}
	for _, name := range []string{"portmap", "bandwidth", "firewall"} {
		r.Programs[name] = module + "/plugins/meta/" + name
	}
	for _, name := range slices.Sorted(maps.Keys(r.Programs)) {
		r.Versions = append(r.Versions, versionCheck{Call: []string{name}, Holds: "plugin " + version})
	}
	return b.programs(ctx, r, nil)
}

// web returns the folder with web, which tests run in pods.
func (b *Builder) web(ctx context.Context) (string, error) {
	return b.programs(ctx, recipe{
		Component: "web",
		Module:    "web",
		Version:   "own",
		Programs:  map[string]string{"web": "argosy.dev/argosy/test/lab/build/modules/web"},
	}, nil)
}

// pause returns the folder with pause, the first process of every pod. Its tag is kubeadm's affair, so it has none
// here.
func (b *Builder) pause(ctx context.Context) (string, error) {
	return b.programs(ctx, recipe{
		Component: "pause",
		Module:    "pause",
		Version:   "own",
		Programs:  map[string]string{"pause": "argosy.dev/argosy/test/lab/build/modules/pause"},
	}, nil)
}
