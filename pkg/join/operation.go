package join

import (
	"cmp"
	"fmt"
	"net"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// operationFor returns the operation that describes the wanted machine. Its ID depends on that alone: the token is
// added later and is not part of it.
func operationFor(kind spec.Kind, cluster *config.Cluster, target *Target, machine config.Machine, version string,
	bundle spec.Bundle, imports []spec.ImageSource,
) (spec.Operation, error) {
	join, err := joinSpec(cluster, target, machine, version, bundle)
	if err != nil {
		return spec.Operation{}, fmt.Errorf("describing the %s of machine %q: %w", kind, machine.Name, err)
	}
	join.ImportImages = imports
	op := spec.Operation{
		Kind:    kind,
		Cluster: cluster.Name,
		Machine: machine.Name,
		Timeout: spec.Duration(cluster.Fleet.Limits.MachineTimeout.Duration),
		Join:    join,
	}
	op.ID, err = identify(op)
	return op, err
}

// identify digests the wanted state; the source of the bundle does not count.
func identify(op spec.Operation) (string, error) {
	wanted := *op.Join
	wanted.Bundle.URL, wanted.Bundle.CACert, wanted.Bundle.Size, wanted.Bundle.Authenticated = "", "", 0, false
	op.Join = &wanted
	return operation.Identify(op)
}

func joinSpec(cluster *config.Cluster, target *Target, machine config.Machine, version string,
	bundle spec.Bundle,
) (*spec.Join, error) {
	if wanted := cluster.CgroupDriver(); wanted != "" && wanted != target.CgroupDriver {
		return nil, errclass.Errorf(errclass.Configuration,
			"vcluster.yaml asks for the cgroup driver %q, and the cluster's kubelet-config gives every kubelet %q: "+
				"make them agree", wanted, target.CgroupDriver)
	}
	policy := cluster.Fleet.Join
	disk, err := resource.ParseQuantity(policy.MinDisk)
	if err != nil {
		return nil, fmt.Errorf("reading join.minDisk %q: %w", policy.MinDisk, err)
	}
	memory, err := resource.ParseQuantity(policy.MinMemory)
	if err != nil {
		return nil, fmt.Errorf("reading join.minMemory %q: %w", policy.MinMemory, err)
	}
	settings := cluster.Settings(machine)
	return &spec.Join{
		KubernetesVersion: version,
		NodeName:          machine.NodeName,
		Server:            target.Server,
		CACert:            target.CACert,
		ClusterUID:        target.UID,
		Bundle:            bundle,
		BinariesPath:      settings.BinariesPath,
		CNIBinariesPath:   settings.CNIBinariesPath,
		Containerd:        containerd(settings.Containerd, target),
		Registration:      registration(cluster, machine),
		KubeletConfig:     target.KubeletConfig,
		Address:           ipOf(machine.Address),
		Flannel:           cluster.Hosted() && cluster.VCluster.Deploy.CNI.Flannel.Enabled,
		VXLANPort:         vxlanPort(cluster),
		PodNetworks:       podNetworks(cluster),
		Requirements: spec.Requirements{
			MinDiskBytes:   disk.Value(),
			MinMemoryBytes: memory.Value(),
			MaxClockSkew:   spec.Duration(policy.MaxClockSkew.Duration),
		},
		Hooks: hooks(settings, policy),
	}, nil
}

// defaultVXLANPort is Linux's own, which flannel takes.
const defaultVXLANPort = 8472

// vxlanPort returns the port of flannel's VXLAN; 0 where there is none, or the documents do not tell.
func vxlanPort(cluster *config.Cluster) int {
	if !cluster.Hosted() || !cluster.VCluster.Deploy.CNI.Flannel.Enabled ||
		cluster.Fleet.Flannel.Backend == config.FlannelHostGW {
		return 0
	}
	return cmp.Or(cluster.Fleet.Flannel.Port, defaultVXLANPort)
}

// podNetworks returns the networks of pods of a cluster that Argosy hosts; the documents do not tell those of others.
func podNetworks(cluster *config.Cluster) []string {
	if !cluster.Hosted() {
		return nil
	}
	return strings.Split(strings.ReplaceAll(cluster.VCluster.Networking.PodCIDR, " ", ""), ",")
}

// ipOf returns an IP address in its usual form; "" for a name.
func ipOf(address string) string {
	ip := net.ParseIP(address)
	if ip == nil {
		return ""
	}
	return ip.String()
}

// hooks of a machine without commands are empty, whatever the limit of each.
func hooks(settings config.NodeSettings, policy config.JoinPolicy) spec.Hooks {
	wanted := spec.Hooks{
		PreInstall: settings.PreInstallCommands, PreJoin: settings.PreJoinCommands, PostJoin: settings.PostJoinCommands,
	}
	if len(wanted.PreInstall)+len(wanted.PreJoin)+len(wanted.PostJoin) > 0 {
		wanted.Timeout = spec.Duration(policy.CommandTimeout.Duration)
	}
	return wanted
}

func containerd(wanted config.Containerd, target *Target) spec.Containerd {
	return spec.Containerd{
		PauseImage: wanted.PauseImage, CgroupDriver: target.CgroupDriver, External: !wanted.Enabled,
		Registry: registryOf(wanted.Registry),
	}
}

// registryOf leaves out the logins, which are secrets.
func registryOf(wanted config.Registry) spec.Registry {
	registry := spec.Registry{ConfigPath: wanted.ConfigPath}
	for name, mirror := range wanted.Mirrors {
		if registry.Mirrors == nil {
			registry.Mirrors = map[string]spec.Mirror{}
		}
		one := spec.Mirror{MirrorHost: spec.MirrorHost{
			Server: mirror.Server, CACert: mirror.CACert, SkipVerify: mirror.SkipVerify,
			Capabilities: mirror.Capabilities, OverridePath: mirror.OverridePath,
		}}
		for _, host := range mirror.Hosts {
			one.Hosts = append(one.Hosts, spec.MirrorHost(host))
		}
		registry.Mirrors[name] = one
	}
	return registry
}

func registration(cluster *config.Cluster, machine config.Machine) spec.Registration {
	joinNode := cluster.Settings(machine).JoinNode
	wanted := joinNode.NodeRegistration
	registration := spec.Registration{
		CRISocket:             wanted.CRISocket,
		IgnorePreflightErrors: wanted.IgnorePreflightErrors,
		ImagePullPolicy:       wanted.ImagePullPolicy,
		SkipPhases:            joinNode.SkipPhases,
		CACertPath:            joinNode.CACertPath,
	}
	for _, arg := range wanted.KubeletExtraArgs {
		registration.KubeletExtraArgs = append(registration.KubeletExtraArgs,
			spec.Arg{Name: arg.Name, Value: arg.Value})
	}
	for _, taint := range cluster.Taints(machine) {
		registration.Taints = append(registration.Taints, spec.Taint{
			Key: taint.Key, Value: taint.Value,
			Effect: taint.Effect,
		})
	}
	return registration
}

// decodeYAML reads YAML that another program wrote; unknown keys are its business.
//
//nolint:wrapcheck // Its callers name the document.
func decodeYAML(text string, into any) error { return yaml.Unmarshal([]byte(text), into) }
