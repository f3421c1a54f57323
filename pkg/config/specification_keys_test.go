package config_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
)

// A proof walks these lists; a key that the documents do not have, or a key twice, would make it prove nothing.
func TestEveryKeyOfTheSpecificationIsOneOfOurs(t *testing.T) {
	seen := map[string]bool{}
	for _, key := range slices.Concat(config.SpecificationKeys(), config.NewerKeys()) {
		assert.Check(t, !seen[key], "%s is there twice", key)
		seen[key] = true
		e, found := config.EffectOf(config.VClusterDocument, key)
		assert.Check(t, found, "%s is no key of vcluster.yaml", key)
		// A key in a section whose content is free is found by that section.
		assert.Check(t, e.Key == key || strings.HasPrefix(key, e.Key+"."), "%s is found as %s", key, e.Key)
	}
}

// What private nodes have here, the specification or a later version has too, but for what is the older place of
// another.
func TestEveryKeyOfPrivateNodesIsInOneOfTheLists(t *testing.T) {
	listed := slices.Concat(config.SpecificationKeys(), config.NewerKeys())
	older := regexp.MustCompile(`^privateNodes\.(cni|kubeProxy|localPathProvisioner)\.`)
	for _, e := range config.Effects() {
		if e.Document == config.VClusterDocument && strings.HasPrefix(e.Key, "privateNodes.") &&
			!older.MatchString(e.Key) {
			assert.Check(t, slices.Contains(listed, e.Key), e.Key)
		}
	}
}

// The list holds every line of the block of unsupported options.
func TestTheUnsupportedBlockIsInTheList(t *testing.T) {
	text, err := os.ReadFile("testdata/specification-unsupported.yaml")
	assert.NilError(t, err)
	var block map[string]any
	assert.NilError(t, yaml.Unmarshal(text, &block))
	var walk func(path string, value any)
	walk = func(path string, value any) {
		section, isSection := value.(map[string]any)
		if !isSection {
			assert.Check(t, slices.Contains(config.SpecificationKeys(), path), path)
		}
		for name, inner := range section {
			walk(strings.TrimPrefix(path+"."+name, "."), inner)
		}
	}
	walk("", block)
}

// What the original's control plane and networks have that concerns private nodes is parsed here too, and either
// carried out or refused.
func TestEveryKeyOfTheOriginalsControlPlaneIsOneOfOurs(t *testing.T) {
	sections := map[string]string{
		"controlPlane": "endpoint ingress.enabled tlsRoute.enabled standalone.enabled " +
			"standalone.dataDir standalone.joinNode.enabled",
		"controlPlane.distro.k8s": "version image.registry image.repository image.tag apiServer.enabled " +
			"apiServer.command apiServer.extraArgs controllerManager.enabled controllerManager.command " +
			"controllerManager.extraArgs scheduler.enabled scheduler.command scheduler.extraArgs",
		"controlPlane.backingStore": "etcd.embedded.enabled etcd.deploy.enabled etcd.external.enabled " +
			"database.external.enabled database.embedded.enabled",
		"controlPlane.proxy":   "bindAddress port extraSANs",
		"controlPlane.service": "enabled spec.type httpsNodePort kubeletNodePort",
		"controlPlane.statefulSet": "highAvailability.replicas highAvailability.leaseDuration " +
			"highAvailability.renewDeadline highAvailability.retryPeriod",
		"controlPlane.coredns": "enabled embedded overwriteConfig overwriteManifests priorityClassName " +
			"service.spec",
		"controlPlane.coredns.deployment": "image replicas nodeSelector affinity tolerations resources.limits " +
			"topologySpreadConstraints",
		"controlPlane.advanced": "virtualScheduler.enabled cloudControllerManager.enabled " +
			"cloudControllerManager.kubeOvn.enabled registry.enabled registry.anonymousPull registry.config " +
			"kubeVip.enabled kubeVip.interface kubeVip.gateway defaultImageRegistry",
		"controlPlane.advanced.konnectivity": "server.enabled server.extraArgs agent.enabled agent.replicas " +
			"agent.image agent.imagePullPolicy agent.nodeSelector agent.priorityClassName agent.tolerations " +
			"agent.extraEnv agent.extraArgs",
		"networking": "podCIDR serviceCIDR advanced.clusterDomain replicateServices.toHost " +
			"resolveDNS advanced.proxyKubelets.byHostname",
		"privateNodes.daemon": "enabled controlPlaneLoadBalancer.port",
		"integrations": "metricsServer.enabled certManager.enabled externalSecrets.enabled " +
			"istio.enabled kubeVirt.enabled",
		"policies": "podSecurityStandard resourceQuota.enabled limitRange.enabled " +
			"networkPolicy.enabled centralAdmission.validatingWebhooks",
	}
	for section, keys := range sections {
		for key := range strings.FieldsSeq(keys) {
			_, found := config.EffectOf(config.VClusterDocument, section+"."+key)
			assert.Check(t, found, "%s.%s", section, key)
		}
	}
}
