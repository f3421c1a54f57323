package addons_test

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/internal/addons"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

var facts = addons.Facts{
	Version: "v1.34.4", Server: "https://192.0.2.10:6443", CACert: "-----BEGIN CERTIFICATE-----\n",
	KonnectivityHost: "192.0.2.10", KonnectivityPort: 8132, VerifiesKubelets: true,
}

// cluster parses a vcluster.yaml; without one it has the defaults.
func cluster(t *testing.T, vcluster string) *config.Cluster {
	t.Helper()
	if vcluster == "" {
		vcluster = "privateNodes: {enabled: true}\ncontrolPlane: {distro: {k8s: {version: v1.34.4}}}"
	}
	c, err := config.Parse("team-a", []byte(vcluster), []byte("apiVersion: argosy.dev/v1alpha1\nkind: "+
		"Fleet\nmachines: []\n"))
	assert.NilError(t, err)
	return c
}

func file(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile("testdata/" + name)
	assert.NilError(t, err)
	return string(content)
}

func wanted(t *testing.T, c *config.Cluster, f addons.Facts) []addons.Addon {
	t.Helper()
	made, err := addons.Wanted(c, f)
	assert.NilError(t, err)
	return made
}

// written prints an addon for people: its name and its objects in their order.
func written(t *testing.T, addon addons.Addon) string {
	t.Helper()
	var text strings.Builder
	text.WriteString("# " + addon.Name + " " + addon.Version + "\n")
	for _, image := range addon.Images {
		text.WriteString("# image: " + image + "\n")
	}
	for _, object := range addon.Objects {
		content, err := yaml.Marshal(object.Object)
		assert.NilError(t, err)
		text.WriteString("---\n" + string(content))
	}
	return text.String()
}

func TestObjectsAreThoseThatTheDocumentsAskFor(t *testing.T) {
	everything := facts
	everything.Version, everything.Server, everything.KonnectivityHost = "v1.35.2", "https://api.example.com:6443",
		"api.example.com"
	for _, test := range []struct {
		name, document string
		facts          addons.Facts
	}{
		{"default", "", facts},
		{"everything", file(t, "everything.yaml"), everything},
	} {
		for _, addon := range wanted(t, cluster(t, test.document), test.facts) {
			t.Run(test.name+"/"+addon.Name, func(t *testing.T) {
				if !addon.Enabled {
					assert.Equal(t, test.name, "default")
					assert.Assert(t, addon.Name == "metallb" || addon.Name == "metrics-server", "%s is off by default",
						addon.Name)
					assert.Equal(t, len(addon.Objects)+len(addon.Images), 0)
					return
				}
				golden.Assert(t, written(t, addon), test.name+"/"+addon.Name+".golden")
			})
		}
	}
}

func TestFlannelCarriesPacketsAsTheDocumentsAsk(t *testing.T) {
	for _, tt := range []struct {
		name     string
		settings config.FlannelNetwork
		backend  string
		iface    string
	}{
		{"by default", config.FlannelNetwork{}, `{"Type":"vxlan"}`, "--iface=$(NODE_IP)"},
		{
			"another port",
			config.FlannelNetwork{Backend: config.FlannelVXLAN, Port: 4789},
			`{"Port":4789,"Type":"vxlan"}`, "--iface=$(NODE_IP)",
		},
		{
			"routes over an interface",
			config.FlannelNetwork{Backend: config.FlannelHostGW, Interface: "eth1"},
			`{"Type":"host-gw"}`, "--iface=eth1",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := cluster(t, "")
			c.Fleet.Flannel = tt.settings
			made := wanted(t, c, facts)
			flannel := made[slices.IndexFunc(made, func(a addons.Addon) bool { return a.Name == "flannel" })]
			for _, object := range flannel.Objects {
				if object.GetName() != "kube-flannel-cfg" {
					continue
				}
				text, _, err := unstructured.NestedString(object.Object, "data", "net-conf.json")
				assert.NilError(t, err)
				var network struct{ Backend json.RawMessage }
				assert.NilError(t, json.Unmarshal([]byte(text), &network))
				var compact bytes.Buffer
				assert.NilError(t, json.Compact(&compact, network.Backend))
				assert.Equal(t, compact.String(), tt.backend)
			}
			args := pods(t, made)["DaemonSet kube-flannel-ds"].Containers[0].Args
			assert.DeepEqual(t, args, []string{"--ip-masq", "--kube-subnet-mgr", tt.iface})
		})
	}
}

func TestEveryMachineHasAnAgentUnderItsAddress(t *testing.T) {
	c := cluster(t, "")
	c.VCluster.ControlPlane.Advanced.Konnectivity.Agent.ExtraArgs = []string{"--keepalive-time=1m", "--v=2"}
	agent := pods(t, wanted(t, c, facts))["DaemonSet konnectivity-agent"].Containers[0]
	assert.Assert(t, slices.Contains(agent.Args, "--agent-identifiers=host=$(NODE_IP)"), "%v", agent.Args)
	assert.DeepEqual(t, agent.Env[0].Name, "NODE_IP")
	assert.Assert(t, !slices.Contains(agent.Args, "--keepalive-time="+addons.KonnectivityKeepalive), "%v", agent.Args)
	assert.Assert(t, slices.Contains(agent.Args, "--keepalive-time=1m"), "%v", agent.Args)
}

func TestEveryFieldIsOneThatKubernetesKnows(t *testing.T) {
	everything := facts
	everything.Version = "v1.35.2"
	for _, addon := range wanted(t, cluster(t, file(t, "everything.yaml")), everything) {
		for _, object := range addon.Objects {
			kind := object.GroupVersionKind()
			if !scheme.Scheme.Recognizes(kind) {
				assert.Assert(t, strings.HasSuffix(kind.Group, "k8s.io") || kind.Group == "metallb.io", "%s", kind)
				continue
			}
			into, err := scheme.Scheme.New(kind)
			assert.NilError(t, err)
			err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, into, true)
			assert.NilError(t, err, "%s %s", kind.Kind, object.GetName())
		}
	}
}

// pods returns the pods of all addons, by the name of their workload.
func pods(t *testing.T, made []addons.Addon) map[string]corev1.PodSpec {
	t.Helper()
	all := map[string]corev1.PodSpec{}
	for _, addon := range made {
		for _, object := range addon.Objects {
			content, found, err := unstructured.NestedMap(object.Object, "spec", "template", "spec")
			assert.NilError(t, err)
			if !found {
				continue
			}
			var spec corev1.PodSpec
			assert.NilError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(content, &spec))
			all[object.GetKind()+" "+object.GetName()] = spec
		}
	}
	return all
}

// privileged lists the containers that need rights, and which.
var privileged = map[string]string{
	"DaemonSet kube-flannel-ds/kube-flannel": "NET_ADMIN NET_RAW",
	"DaemonSet kube-proxy/init":              "privileged",
	"DaemonSet kube-proxy/kube-proxy":        "NET_ADMIN",
	"DaemonSet speaker/speaker":              "NET_RAW",
	"Deployment coredns/coredns":             "NET_BIND_SERVICE",
}

func TestContainersHaveNoMoreRightsThanTheyNeed(t *testing.T) {
	for owner, spec := range pods(t, wanted(t, addons.WithAll(cluster(t, "")), facts)) {
		assert.Equal(t, spec.SecurityContext.SeccompProfile.Type, corev1.SeccompProfileTypeRuntimeDefault, owner)
		if strings.HasPrefix(owner, "Deployment") {
			assert.Assert(t, *spec.SecurityContext.RunAsNonRoot, owner)
		}
		for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
			name := owner + "/" + container.Name
			context := container.SecurityContext
			if context.Privileged != nil && *context.Privileged {
				assert.Equal(t, privileged[name], "privileged", name)
				continue
			}
			assert.Assert(t, !*context.AllowPrivilegeEscalation, name)
			assert.DeepEqual(t, context.Capabilities.Drop, []corev1.Capability{"ALL"})
			var added []string
			for _, capability := range context.Capabilities.Add {
				added = append(added, string(capability))
			}
			assert.Equal(t, strings.Join(added, " "), privileged[name], name)
			assert.Assert(t, !container.Resources.Requests.Memory().IsZero() &&
				!container.Resources.Limits.Memory().IsZero(), name)
		}
	}
}

func TestDrainedPodsDoNotReturnToTheSameMachine(t *testing.T) {
	cordoned := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	for owner, spec := range pods(t, wanted(t, addons.WithAll(cluster(t, "")), facts)) {
		tolerates := slices.ContainsFunc(spec.Tolerations,
			func(t corev1.Toleration) bool { return t.ToleratesTaint(&cordoned) })
		assert.Equal(t, tolerates, strings.HasPrefix(owner, "DaemonSet"), owner)
	}
}

func TestChangedConfigurationRestartsItsPods(t *testing.T) {
	annotation := func(c *config.Cluster, f addons.Facts, addon, kind string) string {
		for _, made := range wanted(t, c, f) {
			for _, object := range made.Objects {
				if made.Name == addon && object.GetKind() == kind {
					value, _, _ := unstructured.NestedString(object.Object, "spec", "template", "metadata",
						"annotations", "argosy.dev/config")
					return value
				}
			}
		}
		return ""
	}
	before, after := cluster(t, ""), cluster(t, "")
	after.VCluster.Networking.PodCIDR = "10.100.0.0/16"
	after.VCluster.Deploy.LocalPathProvisioner.NodePath = "/data"
	for addon, kind := range map[string]string{
		"flannel": "DaemonSet", "kube-proxy": "DaemonSet",
		"local-path-provisioner": "Deployment",
	} {
		assert.Equal(t, annotation(before, facts, addon, kind), annotation(before, facts, addon, kind))
		assert.Assert(t, annotation(before, facts, addon, kind) != annotation(after, facts, addon, kind), addon)
	}
	renewed := facts
	renewed.CACert = "another"
	assert.Assert(t, annotation(before, facts, "kube-proxy", "DaemonSet") != annotation(before, renewed, "kube-proxy",
		"DaemonSet"))
}

func TestAddonThatIsOffHasNoObjects(t *testing.T) {
	off := cluster(t, `
privateNodes: {enabled: true}
controlPlane:
  distro: {k8s: {version: v1.34.4}}
  coredns: {enabled: false}
  advanced: {konnectivity: {enabled: false}}
deploy:
  cni: {flannel: {enabled: false}}
  kubeProxy: {enabled: false}
  localPathProvisioner: {enabled: false}
`)
	for _, addon := range wanted(t, off, addons.Facts{Version: "v1.34.4"}) {
		assert.DeepEqual(t, addon, addons.Addon{Name: addon.Name})
	}
}

func TestUsersMayBringTheirOwnCoreDNS(t *testing.T) {
	own := cluster(t, "")
	own.VCluster.ControlPlane.CoreDNS.OverwriteManifests = `
apiVersion: v1
kind: ConfigMap
metadata: {name: own, namespace: kube-system}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: own, namespace: kube-system}
spec: {template: {spec: {containers: [{name: dns, image: example.com/dns:1}]}}}
`
	dns := wanted(t, own, facts)[2]
	assert.Equal(t, dns.Name, "coredns")
	assert.Equal(t, len(dns.Objects), 2)
	assert.DeepEqual(t, dns.Images, []string{"example.com/dns:1"})
}

func TestMistakesInTheDocumentsAreNamed(t *testing.T) {
	tests := []struct {
		name   string
		change func(*config.VCluster)
		text   string
	}{
		{"an unknown field of a toleration", func(v *config.VCluster) {
			v.Deploy.KubeProxy.Tolerations = []config.Unstructured{{"kee": "gpu"}}
		}, `reading deploy.kubeProxy.tolerations: unknown field "[0].kee"`},
		{"an unknown field of kube-proxy's configuration", func(v *config.VCluster) {
			v.Deploy.KubeProxy.Config = config.Unstructured{"mod": "ipvs"}
		}, `reading deploy.kubeProxy.config: unknown field "mod"`},
		{"a variable without a name", func(v *config.VCluster) {
			v.ControlPlane.Advanced.Konnectivity.Agent.ExtraEnv = []config.Unstructured{{"value": "1"}}
		}, "reading controlPlane.advanced.konnectivity.agent.extraEnv: a variable has no name"},
		{"an amount that is none", func(v *config.VCluster) {
			v.ControlPlane.CoreDNS.Deployment.Resources.Limits = config.Unstructured{"memory": "much"}
		}, "reading controlPlane.coredns.deployment.resources.limits"},
		{"a template", func(v *config.VCluster) {
			v.ControlPlane.CoreDNS.OverwriteManifests = "image: {{.IMAGE}}"
		}, "variables like {{.IMAGE}} are not replaced"},
		{"manifests that are no objects", func(v *config.VCluster) {
			v.ControlPlane.CoreDNS.OverwriteManifests = "a: b"
		}, "reading controlPlane.coredns.overwriteManifests"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := cluster(t, "")
			test.change(&c.VCluster)
			_, err := addons.Wanted(c, facts)
			assert.ErrorContains(t, err, test.text)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		})
	}
}

func TestFlannelKnowsTheFamilyOfThePodsNetwork(t *testing.T) {
	for podCIDR, want := range map[string]string{
		"10.64.0.0/16": `{"Backend":{"Type":"vxlan"},"Network":"10.64.0.0/16"}`,
		"fd00:64::/56": `{"Backend":{"Type":"vxlan"},"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:64::/56"}`,
	} {
		c := cluster(t, "")
		c.VCluster.Networking.PodCIDR = podCIDR
		for _, object := range wanted(t, c, facts)[0].Objects {
			network, found, _ := unstructured.NestedString(object.Object, "data", "net-conf.json")
			if found {
				var compact bytes.Buffer
				assert.NilError(t, json.Compact(&compact, []byte(network)))
				assert.Equal(t, compact.String(), want)
			}
		}
	}
}

func TestAVersionThatIsNoneIsRefused(t *testing.T) {
	for _, version := range []string{"", "1", "latest"} {
		_, err := addons.Wanted(cluster(t, ""), addons.Facts{Version: version})
		assert.ErrorContains(t, err, "set controlPlane.distro.k8s.version")
	}
}
