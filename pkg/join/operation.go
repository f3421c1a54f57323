package join

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/pkg/conduct"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/fault"
	"argosy.dev/argosy/pkg/node/spec"
)

// operationFor is what machine should become. Its ID depends on that alone: the token is added later and is not part of it.
func operationFor(cluster *config.Cluster, target *Target, machine config.Machine, version string, bundle spec.Bundle, imports []spec.ImageSource) (spec.Operation, error) {
	join, err := joinSpec(cluster, target, machine, version, bundle)
	if err != nil {
		return spec.Operation{}, fmt.Errorf("describing the join of machine %q: %w", machine.Name, err)
	}
	join.ImportImages = imports
	operation := spec.Operation{
		Kind:    spec.KindJoin,
		Cluster: cluster.Name,
		Machine: machine.Name,
		Timeout: spec.Duration(cluster.Fleet.Limits.MachineTimeout.Duration),
		Join:    join,
	}
	operation.ID, err = identify(operation)
	return operation, err
}

// identify digests what is wanted; where the bundle comes from does not matter for identity.
func identify(operation spec.Operation) (string, error) {
	wanted := *operation.Join
	wanted.Bundle.URL, wanted.Bundle.CACert, wanted.Bundle.Size, wanted.Bundle.Authenticated = "", "", 0, false
	operation.Join = &wanted
	return conduct.Identify(operation)
}

func joinSpec(cluster *config.Cluster, target *Target, machine config.Machine, version string, bundle spec.Bundle) (*spec.Join, error) {
	if wanted := cluster.CgroupDriver(); wanted != "" && wanted != target.CgroupDriver {
		return nil, fault.As(fault.Configuration, fmt.Errorf("vcluster.yaml asks for the cgroup driver %q, and the cluster's kubelet-config gives every kubelet %q: make them agree", wanted, target.CgroupDriver))
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
	joinNode, upgrade := cluster.VCluster.PrivateNodes.JoinNode, cluster.VCluster.PrivateNodes.AutoUpgrade
	return &spec.Join{
		KubernetesVersion: version,
		NodeName:          machine.NodeName,
		Server:            target.Server,
		CACert:            target.CACert,
		ClusterUID:        target.UID,
		Bundle:            bundle,
		BinariesPath:      upgrade.BinariesPath,
		CNIBinariesPath:   upgrade.CNIBinariesPath,
		Containerd:        spec.Containerd{PauseImage: joinNode.Containerd.PauseImage, CgroupDriver: target.CgroupDriver},
		Registration:      registration(cluster, machine),
		KubeletConfig:     target.KubeletConfig,
		Requirements: spec.Requirements{
			MinDiskBytes:   disk.Value(),
			MinMemoryBytes: memory.Value(),
			MaxClockSkew:   spec.Duration(policy.MaxClockSkew.Duration),
		},
	}, nil
}

func registration(cluster *config.Cluster, machine config.Machine) spec.Registration {
	joinNode := cluster.VCluster.PrivateNodes.JoinNode
	wanted := joinNode.NodeRegistration
	registration := spec.Registration{
		CRISocket:             wanted.CRISocket,
		IgnorePreflightErrors: wanted.IgnorePreflightErrors,
		ImagePullPolicy:       wanted.ImagePullPolicy,
		SkipPhases:            joinNode.SkipPhases,
		CACertPath:            joinNode.CACertPath,
	}
	for _, arg := range wanted.KubeletExtraArgs {
		registration.KubeletExtraArgs = append(registration.KubeletExtraArgs, spec.Arg{Name: arg.Name, Value: arg.Value})
	}
	for _, taint := range cluster.Taints(machine) {
		registration.Taints = append(registration.Taints, spec.Taint{Key: taint.Key, Value: taint.Value, Effect: taint.Effect})
	}
	return registration
}

// decodeYAML reads YAML that another program wrote; unknown keys are its business.
func decodeYAML(text string, into any) error { return yaml.Unmarshal([]byte(text), into) }
