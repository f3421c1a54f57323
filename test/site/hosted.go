package site

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"argosy.dev/argosy/test/lab"
)

// HostedCluster is a cluster whose control plane Argosy makes on the lab's host cluster.
type HostedCluster struct {
	Cluster
	// Machines of the fleet; may be empty.
	Machines []string
	// VCluster changes vcluster.yaml before it is applied, and Fleet argosy.yaml.
	VCluster, Fleet func(document map[string]any)
}

// HostedCluster returns a cluster of that name; nothing is made before Install.
func (s *Site) HostedCluster(name string, machines ...string) *HostedCluster {
	h := &HostedCluster{Cluster: Cluster{site: s, Name: name}, Machines: machines}
	h.Kubeconfig = h.writeKubeconfig
	return h
}

// Install makes the namespace and applies the folders that README names, and the cluster's documents.
func (h *HostedCluster) Install(ctx context.Context) error {
	namespace := object("v1", "Namespace", h.Name, map[string]any{"metadata": map[string]any{
		"name": h.Name, "labels": map[string]any{"pod-security.kubernetes.io/enforce": "restricted"},
	}})
	if err := h.site.ApplyIn(ctx, h.Name, []any{namespace}); err != nil {
		return err
	}
	for _, folder := range []string{"install", "install/rbac/provision"} {
		if _, err := h.HostKubectl(ctx, "apply", "-k", filepath.Join(h.site.Source, folder)); err != nil {
			return fmt.Errorf("installing Argosy in namespace %q: %w", h.Name, err)
		}
	}
	return h.ApplyDocuments(ctx)
}

// ApplyDocuments sets the cluster's documents and Secrets alone.
func (h *HostedCluster) ApplyDocuments(ctx context.Context) error {
	secrets, err := h.site.sshSecrets()
	if err != nil {
		return err
	}
	config, err := h.configMap()
	if err != nil {
		return err
	}
	return h.site.ApplyIn(ctx, h.Name, append(secrets, config))
}

func (h *HostedCluster) configMap() (any, error) {
	vcluster := h.vcluster()
	if h.VCluster != nil {
		h.VCluster(vcluster)
	}
	fleet, err := h.fleet()
	if err != nil {
		return nil, err
	}
	if h.Fleet != nil {
		h.Fleet(fleet)
	}
	data := map[string]any{}
	for key, document := range map[string]map[string]any{"vcluster.yaml": vcluster, "argosy.yaml": fleet} {
		if data[key], err = toYAML(document); err != nil {
			return nil, err
		}
	}
	return object("v1", "ConfigMap", h.Name, map[string]any{"data": data}), nil
}

// vcluster returns the specification's own example, with settings for the lab's machines.
func (h *HostedCluster) vcluster() map[string]any {
	document := map[string]any{
		"privateNodes": map[string]any{
			"enabled": true,
			"kubelet": map[string]any{"config": kubeletConfig(swapOn())},
		},
		"controlPlane": map[string]any{
			"distro":   map[string]any{"k8s": map[string]any{"image": map[string]any{"tag": Version}}},
			"service":  map[string]any{"spec": map[string]any{"type": "LoadBalancer"}},
			"advanced": map[string]any{"defaultImageRegistry": lab.RegistryAddress},
		},
		"networking": map[string]any{"podCIDR": "10.64.0.0/16", "serviceCIDR": "10.128.0.0/16"},
		// Their kernel's connection table can't be resized from inside.
		"deploy": map[string]any{"kubeProxy": map[string]any{"config": map[string]any{
			"conntrack": map[string]any{
				"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s",
				"tcpCloseWaitTimeout": "0s",
			},
		}}},
	}
	ignoreChecks(document)
	return document
}

// kubeletConfig returns the settings that kubelets need on the lab's machines: these may have cgroups of version 1, and
// have none of systemd's, little disk, no name server, and the swap of this computer.
func kubeletConfig(swap bool) map[string]any {
	settings := map[string]any{
		"failCgroupV1": false, "cgroupDriver": "cgroupfs", "resolvConf": "/etc/resolv.conf",
		"evictionHard": map[string]any{
			"memory.available": "50Mi", "nodefs.available": "1%",
			"imagefs.available": "1%",
		},
		"imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
	}
	if swap {
		settings["failSwapOn"] = false
	}
	return settings
}

// swapOn reports whether this computer swaps, and with it each machine of the lab that shares its kernel.
func swapOn() bool {
	swaps, err := os.ReadFile("/proc/swaps")
	return err == nil && hasSwap(string(swaps))
}

// hasSwap reports whether /proc/swaps lists a device or a file below its heading.
func hasSwap(swaps string) bool { return strings.Count(strings.TrimSpace(swaps), "\n") > 0 }

func (h *HostedCluster) fleet() (map[string]any, error) {
	fleet := map[string]any{
		"apiVersion": "argosy.dev/v1alpha1",
		"kind":       "Fleet",
		"ssh":        map[string]any{"secret": rootSecret, "knownHostsSecret": knownHostsSecret},
	}
	var machines []any
	for _, m := range append(h.site.Lab.Members(), h.site.Lab.VirtualMachines()...) {
		if !slices.Contains(h.Machines, m.Name) {
			continue
		}
		entry, err := h.site.machine(m)
		if err != nil {
			return nil, err
		}
		machines = append(machines, entry)
	}
	if machines != nil {
		fleet["machines"] = machines
	}
	return fleet, nil
}

// Remove deletes the namespace and waits until it is gone.
func (h *HostedCluster) Remove(ctx context.Context) error {
	_, err := h.site.HostKubectl(ctx, "delete", "namespace", h.Name, "--ignore-not-found", "--timeout=120s")
	return err
}

// Set puts a value at a path of a document, e.g. "controlPlane.statefulSet.highAvailability.replicas".
func Set(document map[string]any, path string, value any) {
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		inner, ok := document[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
			document[name] = inner
		}
		document = inner
	}
	document[names[len(names)-1]] = value
}

// writeKubeconfig writes the kubeconfig that provisioning made to a file and returns its path.
func (h *HostedCluster) writeKubeconfig(ctx context.Context) (string, error) {
	encoded, err := h.HostKubectl(ctx, "get", "secret", h.Name+"-kubeconfig", "-o",
		`go-template={{index .data "value" | base64decode}}`)
	if err != nil {
		return "", fmt.Errorf("reading the kubeconfig of cluster %q: %w", h.Name, err)
	}
	path := filepath.Join(h.site.Lab.StateDir(), h.Name+".kubeconfig")
	if err := os.WriteFile(path, []byte(encoded), 0o600); err != nil {
		return "", fmt.Errorf("writing the kubeconfig of cluster %q: %w", h.Name, err)
	}
	return path, nil
}
