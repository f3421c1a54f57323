package build

import "context"

// hostedModule is the nested module of what hosted control planes run beside Kubernetes and etcd, of CoreDNS and
// flannel. They share Kubernetes' libraries: in one module, with one set of tags, these are compiled once.
const hostedModule = "hosted"

// buildKine returns the folder with kine, which keeps Kubernetes' objects in SQLite, PostgreSQL or MySQL.
func (b *Builder) buildKine(ctx context.Context) (string, error) {
	const module = "github.com/k3s-io/kine"
	version, err := b.required(ctx, hostedModule, module)
	if err != nil {
		return "", err
	}
	return b.programs(ctx, recipe{
		Component: "kine",
		Module:    hostedModule,
		Version:   version,
		Programs:  map[string]string{"kine": module},
		Official:  []string{"kine"},
		Tags:      append(addonsTags(), "sqlite_omit_load_extension"),
		LinkFlags: []string{
			"-X", module + "/pkg/version.Version=" + version, "-X",
			module + "/pkg/version.GitCommit=release",
			"-extldflags", "-static",
		},
		Cgo: true,
		// kine asks the table dbstat how large the database is, which SQLite leaves out unless told otherwise.
		CFlags:   []string{"-DSQLITE_ENABLE_DBSTAT_VTAB=1"},
		Packages: []string{"gcc", "libc6-dev"},
		Versions: []versionCheck{{Call: []string{"kine", "--version"}, Holds: "version " + version}},
	}, nil)
}

// buildKonnectivity returns the folder with konnectivity-server, for the control plane, and proxy-agent, for the
// machines.
func (b *Builder) buildKonnectivity(ctx context.Context) (string, error) {
	const module = "sigs.k8s.io/apiserver-network-proxy"
	version, err := b.required(ctx, hostedModule, module)
	if err != nil {
		return "", err
	}
	return b.programs(ctx, recipe{
		Component: "konnectivity",
		Module:    hostedModule,
		Version:   version,
		Programs: map[string]string{
			"konnectivity-server": module + "/cmd/server",
			"proxy-agent":         module + "/cmd/agent",
		},
		Official: []string{"konnectivity-server", "konnectivity-agent"},
		Tags:     addonsTags(),
		// Neither tells its version, but both tell their flags.
		Versions: []versionCheck{
			{Call: []string{"konnectivity-server", "--help"}, Holds: "--uds-name"},
			{Call: []string{"proxy-agent", "--help"}, Holds: "--proxy-server-host"},
		},
	}, nil)
}
