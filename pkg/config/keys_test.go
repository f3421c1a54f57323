package config_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
)

func keys(t *testing.T) []config.Key {
	t.Helper()
	var all []config.Key
	for _, document := range []string{config.VClusterDocument, config.FleetDocument} {
		all = append(all, config.Keys(document)...)
	}
	return all
}

func TestEveryKeyHasAMeaningAnExampleAndAnEffect(t *testing.T) {
	effects := []config.Effect{
		"none", "restarts kubelet", "restarts containerd", "needs a rejoin",
		config.NextWorkflow, config.ReplacesPods, config.AppliesToAddon, config.NeverChanges, config.NoEffect,
	}
	locations := []config.Location{config.AtMachine, config.AtControlPlane, config.AtCluster, config.AtPlugin}
	for _, k := range keys(t) {
		assert.Check(t, k.Meaning != "" && strings.HasSuffix(k.Meaning, "."), "%s: meaning %q", k.Key, k.Meaning)
		if k.Section {
			continue
		}
		assert.Check(t, slices.Contains(effects, k.Effect), "%s: effect %q", k.Key, k.Effect)
		assert.Check(t, slices.Contains(locations, k.At) != (k.Effect == config.NoEffect), "%s: at %q with effect %q",
			k.Key, k.At, k.Effect)
		assert.Check(t, k.Example != "", "%s has no example", k.Key)
		assert.Check(t, k.Type != "" && k.Type != "section", "%s: type %q", k.Key, k.Type)
	}
}

// nested writes a key's path as YAML around a value: lists get one item, names that users choose are made up.
func nested(path, value string) (text, key string) {
	var open, shut string
	for i, name := range strings.Split(path, ".") {
		if strings.HasPrefix(name, "<") {
			name = "registry.example.com"
		}
		bare := strings.TrimRight(name, "[]")
		open, shut = open+"{"+bare+": ", "}"+shut
		switch {
		case strings.Contains(bare, "."):
			key += fmt.Sprintf("[%q]", bare)
		case i == 0:
			key = bare
		default:
			key += "." + bare
		}
		if name != bare {
			open, shut, key = open+"[", "]"+shut, key+"[0]"
		}
	}
	return open + value + shut, key
}

// placeholder replaces a value that is too long for an example.
var placeholder = regexp.MustCompile(`"-----BEGIN CERTIFICATE-----…"`)

// Every example is put into a document of its own, for a cluster that exists and for one that is provisioned. Other
// problems of such a document do not matter.
func TestEveryExampleOfTheReferenceIsAccepted(t *testing.T) {
	// Keys that need another key beside them, with a part of the problem when it is missing.
	beside := map[string]string{
		"controlPlane.service.httpsNodePort":                 "belongs to a Service of another type",
		"controlPlane.statefulSet.highAvailability.replicas": "cannot share an embedded database",
		"cluster.endpoint":                                   "named by cluster.kubeconfigSecret",
		"machines[0].join.cniBinariesPath":                   "is not the folder /opt/cni/bin, into which flannel",
		"privateNodes.kubelet.config":                        "in a cluster that exists already",
		"controlPlane.distro.k8s.version":                    "is missing",
	}
	for _, k := range keys(t) {
		if k.Section || placeholder.MatchString(k.Example) {
			continue
		}
		text, written := nested(k.Key, k.Example)
		for _, fleet := range []string{goodFleet, hostedFleet} {
			vcluster := goodVCluster
			if k.Document == config.FleetDocument {
				fleet = text
			} else {
				vcluster = text
			}
			_, err := config.Parse("team-a", []byte(vcluster), []byte(fleet))
			var problems config.Problems
			errors.As(err, &problems)
			for _, problem := range problems {
				own := problem.Key == written || strings.HasPrefix(problem.Key, written+".") ||
					strings.HasPrefix(problem.Key, written+"[")
				expected := beside[written] != "" && strings.Contains(problem.Text, beside[written])
				assert.Check(t, problem.Document != k.Document || !own || expected, "%s: %s\n%s", k.Key, problem, text)
				assert.Check(t, !strings.Contains(problem.Text, "is not YAML"), "%s: %s\n%s", k.Key, problem, text)
			}
		}
	}
}

// Both are generated from the refusals, by different rules.
func TestRefusedKeysHaveNoEffect(t *testing.T) {
	for _, k := range keys(t) {
		if len(k.Refused) > 0 {
			assert.Equal(t, k.Effect, config.NoEffect, k.Key)
		}
	}
}

func TestTheEffectOfAKeyIsFoundByItsPath(t *testing.T) {
	for key, want := range map[string]config.Effect{
		"privateNodes.joinNode.nodeRegistration.kubeletExtraArgs[3].value":               "restarts kubelet",
		`privateNodes.joinNode.containerd.registry.mirrors["docker.io"].hosts[0].caCert`: "none",
		"privateNodes.joinNode.containerd.registry.mirrors._default.server":              "none",
		`privateNodes.joinNode.containerd.registry.auth["a:5000"].password`:              "restarts containerd",
		"privateNodes.kubelet.config.evictionHard":                                       "restarts kubelet",
		"privateNodes.kubelet.config.cgroupDriver":                                       "needs a rejoin",
		"privateNodes.kubelet.cgroupDriver":                                              "needs a rejoin",
		"privateNodes.cni.flannel.image":                                                 config.AppliesToAddon,
		"privateNodes.autoNodes[0].provider":                                             config.NoEffect,
		"networking.podCIDR":                                                             config.NeverChanges,
		"controlPlane.distro.k8s.apiServer.extraArgs[0]":                                 config.ReplacesPods,
		"controlPlane.distro.k8s.apiServer.enabled":                                      config.NoEffect,
		"controlPlane.advanced.serviceAccount.imagePullSecrets[0].name":                  config.ReplacesPods,
		"controlPlane.advanced.serviceAccount.name":                                      config.NoEffect,
		"controlPlane.backingStore.database.external.connector":                          config.ReplacesPods,
		"controlPlane.backingStore.database.embedded.connector":                          config.NoEffect,
		"controlPlane.coredns.deployment.replicas":                                       config.AppliesToAddon,
	} {
		e, found := config.EffectOf(config.VClusterDocument, key)
		assert.Assert(t, found, key)
		assert.Equal(t, e.Effect, want, key)
	}
	e, found := config.EffectOf(config.FleetDocument, "machines[12].ssh.bastions[0].port")
	assert.Assert(t, found)
	assert.DeepEqual(t, e, config.KeyEffect{
		Document: config.FleetDocument, Key: "machines[].ssh.bastions[].port",
		At: config.AtPlugin, Effect: config.NextWorkflow,
	})
	for _, key := range []string{
		"", "machines", "machines[0]", "machines[0].nmae", "ssh",
		"privateNodes.joinNode.containerd.registry.mirrors",
	} {
		_, found := config.EffectOf(config.FleetDocument, key)
		assert.Assert(t, !found, key)
	}
}

// The keys that never change are those whose change CheckImmutable refuses.
func TestKeysThatNeverChangeAreThoseOfTheIdentity(t *testing.T) {
	effects := map[string]config.Effect{}
	for _, e := range config.Effects() {
		if e.Document == config.VClusterDocument {
			effects[e.Key] = e.Effect
		}
	}
	for _, key := range []string{
		"privateNodes.enabled", "networking.podCIDR", "networking.serviceCIDR",
		"networking.advanced.clusterDomain",
		"controlPlane.backingStore.database.external.enabled", "controlPlane.backingStore.etcd.deploy.enabled",
	} {
		assert.Equal(t, effects[key], config.NeverChanges, key)
	}
}

// Keys of the original's control plane and networks that private nodes can use are parsed here too, and either carried
// out or refused.
func TestEveryControlPlaneKeyOfTheOriginalIsKnown(t *testing.T) {
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
			"networkPolicy.enabled networkPolicy.controlPlane.ingress networkPolicy.controlPlane.egress " +
			"networkPolicy.workload.publicEgress networkPolicy.fallbackDns centralAdmission.validatingWebhooks",
	}
	for section, keys := range sections {
		for key := range strings.FieldsSeq(keys) {
			_, found := config.EffectOf(config.VClusterDocument, section+"."+key)
			assert.Check(t, found, "%s.%s", section, key)
		}
	}
}
