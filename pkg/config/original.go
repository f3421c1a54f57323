package config

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// originalDefaults holds the defaults of the original's chart that a refusal would match, by key, in all of its
// releases from 0.26 to 0.37. They are facts of its chart/values.yaml. A document that states one of them, as a copy of
// that file does, asks for nothing: see [document.refuse].
var originalDefaults = slices.Concat(
	sameDefault("true",
		"sync.toHost.configMaps.enabled", "sync.toHost.endpoints.enabled", "sync.toHost.endpointSlices.enabled",
		"sync.toHost.persistentVolumeClaims.enabled", "sync.toHost.pods.enabled",
		"sync.toHost.pods.rewriteHosts.enabled", "sync.toHost.secrets.enabled", "sync.toHost.services.enabled",
		"sync.fromHost.events.enabled", "sync.fromHost.gateways.sanitize.certificateRefs",
		"sync.fromHost.gateways.sanitize.infrastructure",
		"integrations.certManager.sync.fromHost.clusterIssuers.enabled",
		"integrations.certManager.sync.toHost.certificates.enabled",
		"integrations.certManager.sync.toHost.issuers.enabled",
		"integrations.externalSecrets.sync.externalSecrets.enabled",
		"integrations.istio.sync.toHost.destinationRules.enabled", "integrations.istio.sync.toHost.gateways.enabled",
		"integrations.istio.sync.toHost.virtualServices.enabled",
		"integrations.kubeVirt.sync.virtualMachineClones.enabled",
		"integrations.kubeVirt.sync.virtualMachineInstanceMigrations.enabled",
		"integrations.kubeVirt.sync.virtualMachineInstances.enabled",
		"integrations.kubeVirt.sync.virtualMachinePools.enabled", "integrations.kubeVirt.sync.virtualMachines.enabled",
		"integrations.kubeVirt.webhook.enabled", "integrations.metricsServer.nodes", "integrations.metricsServer.pods",
		"networking.advanced.proxyKubelets.byHostname", "networking.advanced.proxyKubelets.byIP",
		"controlPlane.standalone.joinNode.containerd.enabled", "controlPlane.standalone.joinNode.enabled",
		"controlPlane.standalone.syncConfig.enabled", "privateNodes.daemon.controlPlaneLoadBalancer.kubeProxy",
		"experimental.docker.loadBalancer.enabled", "experimental.docker.loadBalancer.forwardPorts",
		"experimental.docker.registryProxy.enabled", "experimental.syncSettings.setOwner",
		"policies.networkPolicy.outgoingConnections.platform", "policies.networkPolicy.workload.publicEgress.enabled",
	),
	sameDefault("false", alwaysOn()...),
	resourceDefaults("sync.toHost.pods.rewriteHosts.initContainer.resources", "30m", "64Mi", "30m", "64Mi"),
	resourceDefaults("controlPlane.distro.k3s.resources", "100m", "256Mi", "40m", "64Mi"),
	resourceDefaults("controlPlane.distro.k8s.resources", "100m", "256Mi", "40m", "64Mi"),
	[]originalDefault{
		{"sync.toHost.pods.rewriteHosts.initContainer.image", "library/alpine:3.20"},
		{"sync.toHost.pods.rewriteHosts.initContainer.image.registry", "mirror.gcr.io"},
		{"sync.toHost.pods.rewriteHosts.initContainer.image.repository", "library/alpine"},
		{"sync.toHost.pods.rewriteHosts.initContainer.image.tag", "3.20"},
		{"privateNodes.daemon.controlPlaneLoadBalancer.port", "11343"},
		{"controlPlane.standalone.dataDir", "/var/lib/vcluster"},
		{"controlPlane.standalone.bundleRepository", defaultBundleRepository},
		{"controlPlane.statefulSet.image.registry", "ghcr.io"},
		{"controlPlane.statefulSet.image.repository", "loft-sh/vcluster-pro"},
		{"controlPlane.distro.k3s.image.repository", "rancher/k3s"},
		{"controlPlane.distro.k3s.image.tag", "v1.32.1-k3s1"},
		{"controlPlane.distro.k3s.image.tag", "v1.32.7-k3s1"},
		{"controlPlane.distro.k3s.image.tag", "v1.33.1-k3s1"},
		{"controlPlane.distro.k3s.image.tag", "v1.33.3-k3s1"},
		{"controlPlane.distro.k3s.image.tag", "v1.34.1-k3s1"},
		{"controlPlane.distro.k3s.image.tag", "v1.35.0-k3s1"},
		{"policies.networkPolicy.fallbackDns", "8.8.8.8"},
		{"policies.networkPolicy.outgoingConnections.ipBlock.cidr", "0.0.0.0/0"},
		{"policies.networkPolicy.outgoingConnections.ipBlock.except", privateNetworks},
		{"policies.networkPolicy.workload.publicEgress.cidr", "0.0.0.0/0"},
		{"policies.networkPolicy.workload.publicEgress.except", privateNetworks},
		{"policies.limitRange.default.cpu", "1"},
		{"policies.limitRange.default.ephemeral-storage", "8Gi"},
		{"policies.limitRange.default.memory", "512Mi"},
		{"policies.limitRange.defaultRequest.cpu", "100m"},
		{"policies.limitRange.defaultRequest.ephemeral-storage", "3Gi"},
		{"policies.limitRange.defaultRequest.memory", "128Mi"},
		{join(quota, "count/configmaps"), "100"},
		{join(quota, "count/endpoints"), "40"},
		{join(quota, "count/persistentvolumeclaims"), "20"},
		{join(quota, "count/pods"), "20"},
		{join(quota, "count/secrets"), "100"},
		{join(quota, "count/services"), "20"},
		{join(quota, "limits.cpu"), "20"},
		{join(quota, "limits.ephemeral-storage"), "160Gi"},
		{join(quota, "limits.memory"), "40Gi"},
		{join(quota, "requests.cpu"), "10"},
		{join(quota, "requests.ephemeral-storage"), "60Gi"},
		{join(quota, "requests.memory"), "20Gi"},
		{join(quota, "requests.storage"), "100Gi"},
		{join(quota, "services.loadbalancers"), "1"},
	},
)

const (
	quota = "policies.resourceQuota.quota"
	// privateNetworks are those that a workload may not reach by default.
	privateNetworks = "[100.64.0.0/10, 127.0.0.0/8, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16]"
)

// originalDefault is a key and a value that was its default in one release of the original at least.
type originalDefault struct{ key, value string }

// sameDefault returns the defaults of keys that have the same one.
func sameDefault(value string, keys ...string) []originalDefault {
	var defaults []originalDefault
	for _, key := range keys {
		defaults = append(defaults, originalDefault{key, value})
	}
	return defaults
}

// resourceDefaults returns the defaults of a container's resources.
func resourceDefaults(key, cpu, memory, cpuRequest, memoryRequest string) []originalDefault {
	return []originalDefault{
		{key + ".limits.cpu", cpu},
		{key + ".limits.memory", memory},
		{key + ".requests.cpu", cpuRequest},
		{key + ".requests.memory", memoryRequest},
	}
}

// isOriginalDefault reports whether a value, or every value in a mapping, is the original's default of its key.
func (n *node) isOriginalDefault() bool {
	if n.kind == yaml.MappingNode && len(n.fields) > 0 {
		return !slices.ContainsFunc(n.fields, func(f field) bool { return !f.value.isOriginalDefault() })
	}
	return slices.Contains(originalDefaults, originalDefault{n.path, n.inOneLine()})
}

// inOneLine writes a scalar, or a list of them, as the table of the original's defaults has it.
func (n *node) inOneLine() string {
	switch {
	case n.kind == yaml.SequenceNode:
		var items []string
		for _, item := range n.items {
			items = append(items, item.inOneLine())
		}
		return "[" + strings.Join(items, ", ") + "]"
	case n.tag == "!!bool":
		return strings.ToLower(n.text)
	}
	return n.text
}

// withoutDefaults returns a copy of a mapping without the original's defaults. Values that switch something off stay,
// since they decide about the keys beside them.
func (n *node) withoutDefaults() *node {
	if n == nil || n.kind != yaml.MappingNode {
		return n
	}
	rest := *n
	rest.fields = nil
	for _, f := range n.fields {
		if f.value.kind == yaml.MappingNode {
			f.value = f.value.withoutDefaults()
		} else if !isFalse(f.value) && f.value.isOriginalDefault() {
			continue
		}
		rest.fields = append(rest.fields, f)
	}
	return &rest
}

// ignoreDefaults notes keys that pass because they have the original's defaults.
func (d *document) ignoreDefaults(nodes []*node) {
	for _, n := range nodes {
		if d.ignored == nil {
			d.ignored = map[string]bool{}
		}
		d.ignored[n.path] = true
	}
}

// ignoredDefaults returns the remark about defaults of the original that do nothing; none without one.
func (d *document) ignoredDefaults() []string {
	keys := slices.Sorted(maps.Keys(d.ignored))
	if len(keys) == 0 {
		return nil
	}
	return []string{d.name + ": " + counted(keys, "setting has the original's default, which has no effect",
		"settings have the original's defaults, which have no effect") + " on clusters with private nodes: " +
		listed(keys)}
}
