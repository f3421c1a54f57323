package config

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// Every refusal, with a document that is refused and one nearby that passes.
func TestEveryRefusalApplies(t *testing.T) {
	type pair struct{ refused, accepted string }
	cases := map[string]pair{
		"sync": {
			"{fromHost: {nodes: {enabled: true}}}",
			"{fromHost: {csiNodes: {enabled: auto}, nodes: {enabled: false, selector: {labels: {a: b}}}}}",
		},
		"integrations": {
			"{istio: {enabled: true}}",
			"{istio: {enabled: false, sync: {toHost: {gateways: {enabled: true}}}}}",
		},
		"networking.replicateServices":            {"{fromHost: [{from: a/b, to: c/d}]}", "{toHost: [], fromHost: []}"},
		"networking.resolveDNS":                   {"[{hostname: a, target: {hostname: b}}]", "[]"},
		"networking.advanced.fallbackHostCluster": {"true", "false"},
		"networking.advanced.proxyKubelets": {
			"{byHostname: true, other: true}",
			"{byHostname: true, byIP: true}",
		},
		"controlPlane.distro.k3s": {
			"{enabled: true}",
			"{enabled: false, image: {tag: v1.32.1-k3s1}}",
		},
		"controlPlane.distro.k0s":                           {"{enabled: true}", "{enabled: false}"},
		"controlPlane.distro.k8s.apiServer.enabled":         {"false", "true"},
		"controlPlane.distro.k8s.controllerManager.enabled": {"false", "true"},
		"controlPlane.coredns.embedded":                     {"true", "false"},
		"controlPlane.hostPathMapper":                       {"{enabled: true}", "{enabled: false, central: true}"},
		"controlPlane.advanced.hostPathMapper":              {"{enabled: true}", "{enabled: false}"},
		"sleepMode": {
			"{autoSleep: {afterInactivity: 1h}}",
			"{enabled: false, autoSleep: {afterInactivity: 1h}}",
		},
		"sleep":                             {"{auto: {afterInactivity: 1h}}", "{}"},
		"experimental.isolatedControlPlane": {"{headless: true}", "{headless: false}"},
		"experimental.genericSync":          {"{export: [{kind: A}]}", "{role: {extraRules: []}}"},
		"controlPlane.standalone":           {"{enabled: true}", "{enabled: false}"},
		"privateNodes.autoNodes":            {"[{provider: aws}]", "[]"},
		"privateNodes.vpn": {
			"{nodeToNode: {enabled: true}}",
			"{enabled: false, nodeToNode: {enabled: false}}",
		},
		"privateNodes.daemon": {
			"{enabled: true}",
			"{enabled: false, controlPlaneLoadBalancer: {port: 11343}}",
		},
		"privateNodes.defaultProfile":     {"gold", `""`},
		"deploy.volumeSnapshotController": {"{enabled: true}", "{enabled: false}"},
		"serviceCIDR":                     {"10.96.0.0/12", "''"},
	}
	for path, value := range hostedRefusals() {
		cases[path] = pair{value[0], value[1]}
	}
	try := func(fleet string, refusals []refusal) {
		for _, r := range refusals {
			t.Run(r.path, func(t *testing.T) {
				documents, tried := cases[r.path]
				assert.Assert(t, tried, "no case for %s", r.path)
				assert.Assert(t, r.reason != "" && r.instead != "")

				problems := parsed(fleet, documents.refused, r.path)
				assert.Equal(t, len(problems), 1, problems.Error())
				assert.Assert(t, strings.HasPrefix(problems[0].Key, r.path), problems[0].Key)
				assert.Equal(t, problems[0].Text, r.reason)
				assert.Equal(t, problems[0].Suggestion, r.instead)
				assert.Assert(t, problems[0].Line > 0)

				problems = parsed(fleet, documents.accepted, r.path)
				assert.Equal(t, len(problems), 0, problems.Error())
			})
		}
	}
	always := unsupported()
	try(existingFleet, always)
	try(hostedFleet, slices.Concat(always, notProvisioned()))
	for _, r := range slices.Concat(always, notProvisioned()) {
		delete(cases, r.path)
	}
	assert.Equal(t, len(cases), 0, "cases without a refusal: %v", cases)
}

// hostedRefusals are, by path, a value that a hosted cluster is refused and one nearby that passes: the original's own
// default, where there is one.
func hostedRefusals() map[string][2]string {
	const store = "controlPlane.backingStore."
	volumes := [2]string{"[{metadata: {name: data}}]", "[]"}
	data := [2]string{"[{name: data, emptyDir: {}}]", "[]"}
	binaries := [2]string{"[{name: binaries, hostPath: {path: /opt}}]", "[{name: binaries, emptyDir: {}}]"}
	return map[string][2]string{
		"controlPlane.ingress": {
			"{enabled: true, host: a.example.com}",
			"{enabled: false, host: my-host.com, pathType: ImplementationSpecific}",
		},
		"controlPlane.tlsRoute": {"{enabled: true}", "{enabled: false}"},
		"controlPlane.advanced.kubeVip": {
			"{enabled: true, interface: eth0}",
			"{enabled: false, interface: eth0}",
		},
		"controlPlane.service.enabled":         {"false", "true"},
		"controlPlane.service.kubeletNodePort": {"30250", "0"},
		"controlPlane.service.spec.ports":      {"[{port: 443}]", "null"},
		"controlPlane.service.spec.selector":   {"{app: a}", "null"},

		store + "etcd.deploy.service": {
			"{enabled: true, annotations: {a: b}}",
			"{enabled: true, annotations: {}}",
		},
		store + "etcd.deploy.headlessService": {"{annotations: {a: b}}", "{annotations: {}}"},
		store + "etcd.embedded": {
			"{enabled: true}",
			"{enabled: false, migrateFromDeployedEtcd: false}",
		},
		store + "etcd.external": {
			"{enabled: true, endpoint: 'etcd:2379'}",
			"{enabled: false, endpoint: ''}",
		},
		store + "database.embedded.connector":        {"team-a-db", `""`},
		store + "database.embedded.identityProvider": {"aws", `""`},
		store + "database.embedded.certFile":         {"/a.crt", `""`},
		store + "database.embedded.keyFile":          {"/a.key", `""`},
		store + "database.embedded.caFile":           {"/ca.crt", `""`},
		store + "database.embedded.dataSource":       {"/data/state.db", "''"},
		store + "database.external.identityProvider": {"aws", "''"},
		store + "database.external.certFile":         {"/certs/client.crt", "''"},
		store + "database.external.keyFile":          {"/certs/client.key", "''"},
		store + "database.external.caFile":           {"/certs/ca.crt", "''"},

		"controlPlane.statefulSet.persistence.volumeClaimTemplates":               volumes,
		"controlPlane.statefulSet.persistence.dataVolume":                         data,
		"controlPlane.statefulSet.persistence.volumeClaim.retentionPolicy":        {"Delete", "Retain"},
		store + "etcd.deploy.statefulSet.persistence.volumeClaim.retentionPolicy": {"Delete", "Retain"},
		"controlPlane.statefulSet.persistence.binariesVolume":                     binaries,
		store + "etcd.deploy.statefulSet.persistence.volumeClaimTemplates":        volumes,
		store + "etcd.deploy.statefulSet.persistence.dataVolume":                  data,
		store + "etcd.deploy.statefulSet.persistence.binariesVolume":              binaries,

		"controlPlane.statefulSet.image":                           {"{tag: v0.30.0}", "{tag: ''}"},
		"controlPlane.statefulSet.command":                         {"[/bin/sh]", "[]"},
		"controlPlane.statefulSet.args":                            {"[-c]", "[]"},
		"controlPlane.distro.k8s.resources":                        {"{limits: {cpu: 150m}}", "{limits: {cpu: 100m}}"},
		"controlPlane.distro.k8s.securityContext":                  {"{runAsUser: 0}", "{}"},
		"controlPlane.distro.k8s.env":                              {"[{name: a, value: b}]", "[]"},
		"controlPlane.advanced.podDisruptionBudget.minAvailable":   {"1", "null"},
		"controlPlane.advanced.podDisruptionBudget.maxUnavailable": {"50%", "1"},
		"controlPlane.advanced.serviceAccount": {
			"{enabled: true, name: a}",
			"{enabled: true, name: '', imagePullSecrets: [{name: login}]}",
		},
		"controlPlane.advanced.headlessService": {
			"{labels: {a: b}}",
			"{labels: {}, annotations: {}}",
		},
		"controlPlane.advanced.globalMetadata": {"{annotations: {a: b}}", "{annotations: {}}"},
		"controlPlane.serviceMonitor":          {"{enabled: true}", "{enabled: false, labels: {}}"},
		"controlPlane.advanced.workloadServiceAccount": {
			"{enabled: true, name: a}",
			"{enabled: true, name: '', imagePullSecrets: []}",
		},
		"rbac.role.extraRules":     {"[{apiGroups: ['']}]", "[]"},
		"rbac.role.overwriteRules": {"[{apiGroups: ['']}]", "[]"},
		"rbac.clusterRole": {
			"{enabled: true}",
			"{enabled: auto, extraRules: [], overwriteRules: []}",
		},
		"plugins": {"{a: {image: b}}", "{}"},
		"plugin":  {"{a: {image: b}}", "{}"},

		"controlPlane.advanced.registry": {
			"{enabled: true}",
			"{enabled: false, anonymousPull: true}",
		},
		"controlPlane.advanced.cloudControllerManager.kubeOvn": {"{enabled: true, vpc: a, loadBalancers: " +
			"{externalSubnet: b}}", "{enabled: false}"},

		"deploy.csi.kubeVirt":        {"{enabled: true, storageClass: {default: false}}", "{enabled: false}"},
		"deploy.argoCD.applications": {"[{name: a}]", "[]"},
		"deploy.ingressNginx":        {"{enabled: true}", "{enabled: false, defaultIngressClass: true}"},
		"policies.resourceQuota":     {"{enabled: true}", "{enabled: auto, quota: {requests.cpu: 10}}"},
		"policies.limitRange":        {"{enabled: true}", "{enabled: auto, default: {cpu: '1'}}"},
		"policies.networkPolicy": {
			"{enabled: true, workload: {egress: [{}]}}",
			"{enabled: true, fallbackDns: 8.8.8.8, controlPlane: {egress: []}}",
		},
		"policies.podSecurityStandard": {"baseline", "''"},
		"policies.centralAdmission": {
			"{validatingWebhooks: [{name: a}]}",
			"{validatingWebhooks: [], mutatingWebhooks: []}",
		},
		"exportKubeConfig": {
			"{server: 'https://a'}",
			"{context: '', server: '', insecure: false, secret: {name: ''}}",
		},
		"experimental": {
			"{deploy: {vcluster: {manifests: 'a: b'}}}",
			"{syncSettings: {setOwner: true, targetNamespace: ''}, isolatedControlPlane: {enabled: false}}",
		},
		"logging.encoding": {"json", "console"},
		"logging.file":     {"{enabled: true}", "{enabled: false}"},

		"external":  {"{platform: {autoSleep: {afterInactivity: 1}}}", "{}"},
		"platform":  {"{project: a}", "{}"},
		"snapshots": {"{auto: {schedule: '0 0 * * *'}}", "{}"},
		"deletion":  {"{auto: {afterInactivity: 1h}}", "{}"},
	}
}

// The smallest argosy.yaml of both kinds of cluster.
const (
	existingFleet = "apiVersion: argosy.dev/v1alpha1\nkind: Fleet\ncluster: {kubeconfigSecret: a}\nmachines: [{name: " +
		"a, address: b}]\n"
	hostedFleet = "apiVersion: argosy.dev/v1alpha1\nkind: Fleet\n"
)

// parsed returns the problems of a vcluster.yaml that sets one path to a value, except that it has no version.
func parsed(fleet, value, path string) Problems {
	names := strings.Split(path, ".")
	text := "privateNodes:\n  enabled: true\n"
	if names[0] != "privateNodes" {
		text += names[0] + ":\n"
		if len(names) == 1 {
			text = strings.TrimSuffix(text, "\n") + " " + value + "\n"
		}
	}
	for depth, name := range names[1:] {
		text += strings.Repeat("  ", depth+1) + name + ":"
		if depth == len(names)-2 {
			text += " " + value
		}
		text += "\n"
	}
	_, err := Parse("team-a", []byte(text), []byte(fleet))
	var problems Problems
	errors.As(err, &problems)
	return slices.DeleteFunc(problems, func(p Problem) bool { return p.Key == "controlPlane.distro.k8s.version" })
}

func TestDistanceCountsSwapsOnce(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"a", "", 1},
		{"abc", "acb", 1},
		{"labels", "lables", 1},
		{"address", "adress", 1},
		{"kitten", "sitting", 3},
	} {
		assert.Equal(t, distance(test.a, test.b), test.want)
		assert.Equal(t, distance(test.b, test.a), test.want)
	}
}

func TestTheParentOfAQuotedKeyIsFound(t *testing.T) {
	for path, want := range map[string]string{
		"a.b": "a", "a": "", "a[2]": "a", "a[2].b": "a[2]",
		join("a.b", `x.y["z`): "a.b", join("", "x y"): "",
	} {
		assert.Equal(t, parent(path), want, path)
	}
}
