//go:build full

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"gotest.tools/v3/assert"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/pkg/bundle/components"
	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// Settings of a control plane that Argosy makes, and of the addons in its cluster. The tests look at the control
// plane's pods, at the cluster's objects, and at the machine.

// TestHostedClusterFollowsDocuments makes one cluster in which nearly every key differs from its default.
func TestHostedClusterFollowsDocuments(t *testing.T) {
	const proxy, flannel, local, metal = "deploy.kubeProxy.", "deploy.cni.flannel.", "deploy.localPathProvisioner.",
		"deploy.metallb."
	shows(t, "privateNodes.importNodeBinaries", autoUpgrade+"bundleRepository", "privateNodes.kubelet.cgroupDriver",
		"privateNodes.kubelet.config",
		"privateNodes.cni.flannel.enabled", "controlPlane.distro.k8s.image.tag", "controlPlane.service.spec.type",
		"controlPlane.advanced.virtualScheduler.enabled",
		"networking.podCIDR", "networking.serviceCIDR",
		flannel+"enabled", flannel+"image", flannel+"initImage", flannel+"imagePullPolicy",
		proxy+"enabled", proxy+"image", proxy+"imagePullPolicy", proxy+"nodeSelector", proxy+"priorityClassName",
		proxy+"tolerations", proxy+"extraEnv", proxy+"extraArgs", proxy+"config",
		local+"enabled", local+"image", local+"imagePullPolicy", local+"nodePath",
		metal+"enabled", metal+"controllerImage", metal+"speakerImage", metal+"ipAddressPool.addresses",
		metal+"ipAddressPool.l2Advertisement",
		"deploy.metricsServer.enabled")
	const machine = "m5"
	cluster := newCluster(t, func(d map[string]any) {
		for key, value := range map[string]any{
			"privateNodes.importNodeBinaries":        false,
			autoUpgrade + "bundleRepository":         lab.RepositoryURL,
			"privateNodes.kubelet.cgroupDriver":      "cgroupfs",
			"privateNodes.kubelet.config.maxPods":    50,
			"privateNodes.cni.flannel.enabled":       false,
			"controlPlane.advanced.virtualScheduler": map[string]any{"enabled": true},
			"networking.podCIDR":                     "10.65.0.0/16",
			"networking.serviceCIDR":                 "10.129.0.0/16",
			proxy + "image":                          retagAsOwn(t, "kube-proxy", site.Version),
			proxy + "imagePullPolicy":                "Always",
			proxy + "nodeSelector":                   map[string]any{"kubernetes.io/os": "linux", "proxied": "yes"},
			proxy + "priorityClassName":              "system-cluster-critical",
			proxy + "tolerations":                    []any{map[string]any{"key": "only-proxy", "operator": "Exists"}},
			proxy + "extraEnv":                       []any{map[string]any{"name": "OF_THE_DOCUMENTS", "value": "yes"}},
			proxy + "extraArgs":                      []string{"--v=3"},
			proxy + "config.metricsBindAddress":      "127.0.0.1:20249",
			local + "image": addonAsOwn(t, "rancher/local-path-provisioner",
				components.LocalPathProvisioner),
			local + "imagePullPolicy":      "Always",
			local + "nodePath":             "/opt/volumes-of-the-site",
			"deploy.metricsServer.enabled": true,
		} {
			site.Set(d, key, value)
		}
		kubelet := d["privateNodes"].(map[string]any)["kubelet"].(map[string]any)["config"].(map[string]any)
		delete(kubelet, "cgroupDriver")
	}, machine)
	cluster.Fleet = func(d map[string]any) {
		d["machines"].([]any)[0].(map[string]any)["labels"] = map[string]any{"proxied": "yes"}
	}
	// Without flannel, the pod network is that of the machine.
	assert.NilError(t, env.Lab.Reset(t.Context(), machine))
	assert.NilError(t, cluster.ApplyDocuments(t.Context()))
	mustSucceed(t, cluster, "provision")
	mustSucceed(t, cluster, "join")

	t.Run("control plane", func(t *testing.T) {
		assertContains(t, kubectl(t, cluster, "version", "-o", "json"), `"gitVersion": "`+site.Version+`"`)
		pods := hostKubectl(t, cluster, "get", "pods", "-o", "jsonpath={.items[*].spec.containers[*].image}")
		assert.Assert(t, strings.Contains(pods, "loft-sh/kubernetes:"+site.Version) && !strings.Contains(pods, "-full"),
			"without node binaries: %s", pods)
		kind := hostKubectl(t, cluster, "get", "service", cluster.Name, "-o", "jsonpath={.spec.type}")
		assert.Equal(t, kind, "LoadBalancer")
		assert.Assert(t, strings.HasPrefix(kubectl(t, cluster, "get", "service", "kubernetes", "-o",
			"jsonpath={.spec.clusterIP}"), "10.129."))
		assert.Assert(t, strings.HasPrefix(kubectl(t, cluster, "get", "node", machine, "-o",
			"jsonpath={.spec.podCIDR}"),
			"10.65."))
		eventuallyPrints(t, cluster, "Scheduled", "get", "events", "-A", "--field-selector", "reason=Scheduled", "-o",
			"jsonpath={.items[*].reason}")
	})
	kubeletHas := func(t *testing.T, settings string) {
		t.Helper()
		for _, setting := range strings.Split(settings, " ") {
			// The konnectivity agent in between may just be starting.
			eventuallyPrints(t, cluster, setting, "get", "--raw", "/api/v1/nodes/"+machine+"/proxy/configz")
		}
	}
	t.Run("kubelet", func(t *testing.T) { kubeletHas(t, `"cgroupDriver":"cgroupfs" "maxPods":50`) })
	t.Run("network of the machine's own", func(t *testing.T) {
		sets := kubectl(t, cluster, "get", "daemonsets", "-A", "-o", "name")
		assert.Assert(t, !strings.Contains(sets, "flannel") && strings.Contains(sets, "kube-proxy"), sets)
	})
	t.Run("kube-proxy", func(t *testing.T) { assertKubeProxy(t, cluster, machine) })
	t.Run("volumes", func(t *testing.T) {
		eventuallyPrints(t, cluster, lab.RegistryAddress+"/rancher/local-path-provisioner:own Always", "get", "pods",
			"-A", "-l",
			"app.kubernetes.io/name=local-path-provisioner", "-o",
			"jsonpath={.items[0].spec.containers[0].image} {.items[0].spec.containers[0].imagePullPolicy}")
		apply(t, cluster, claimed)
		kubectl(t, cluster, "wait", "--for=condition=Ready", "pod/writes", "--timeout=120s")
		assertContains(t, runOn(t, machine, "ls", "/opt/volumes-of-the-site"), "pvc-")
	})
	t.Run("metrics server", func(t *testing.T) {
		eventuallyPrints(t, cluster, "True", "get", "apiservice", "v1beta1.metrics.k8s.io", "-o",
			`jsonpath={.status.conditions[?(@.type=="Available")].status}`)
		eventuallyPrints(t, cluster, machine, "top", "nodes", "--no-headers")
	})

	before := cluster.VCluster
	cluster.VCluster = func(d map[string]any) {
		before(d)
		for key, value := range map[string]any{
			"privateNodes.kubelet.config.maxPods": 60,
			"privateNodes.cni.flannel":            map[string]any{},
			flannel + "enabled":                   true,
			flannel + "image":                     addonAsOwn(t, "flannel-io/flannel", components.Flannel),
			flannel + "initImage": addonAsOwn(t, "flannel-io/flannel-cni-plugin",
				components.FlannelCNIPlugin),
			flannel + "imagePullPolicy":    "Always",
			proxy + "enabled":              false,
			local + "enabled":              false,
			"deploy.metricsServer.enabled": false,
			metal + "enabled":              true,
			metal + "controllerImage":      addonAsOwn(t, "metallb/controller", components.MetalLB),
			metal + "speakerImage":         addonAsOwn(t, "metallb/speaker", components.MetalLB),
			metal + "ipAddressPool": map[string]any{
				"addresses":       []string{"10.117.0.240-10.117.0.241"},
				"l2Advertisement": false,
			},
		} {
			site.Set(d, key, value)
		}
		for _, key := range []string{
			"image", "imagePullPolicy", "nodeSelector", "priorityClassName", "tolerations",
			"extraEnv", "extraArgs",
		} {
			delete(d["deploy"].(map[string]any)["kubeProxy"].(map[string]any), key)
		}
	}
	assert.NilError(t, cluster.ApplyDocuments(t.Context()))
	// Pods of the machine's pod network would not reach flannel's, and both would use the same bridge.
	runOn(t, machine, "rm", "/etc/cni/net.d/10-lab.conflist")
	runOn(t, machine, "ip", "link", "delete", "cni0")
	kubectl(t, cluster, "delete", "pods", "--all", "-A", "--wait=false")
	mustSucceed(t, cluster, "provision")
	t.Run("changed switches and images", func(t *testing.T) {
		eventuallyPrints(t, cluster, strings.Join([]string{
			lab.RegistryAddress + "/flannel-io/flannel:own", "Always",
			lab.RegistryAddress + "/flannel-io/flannel-cni-plugin:own",
		}, " "),
			"get", "daemonset", "-n", "kube-flannel", "kube-flannel-ds", "-o",
			"jsonpath={.spec.template.spec.containers[0].image} {.spec.template.spec.containers[0].imagePullPolicy} "+
				"{.spec.template.spec.initContainers[0].image}")
		eventuallyPrints(t, cluster, "1", "get", "daemonset", "-n", "kube-flannel", "kube-flannel-ds", "-o",
			"jsonpath={.status.numberReady}")
		images := kubectl(t, cluster, "get", "pods", "-n", "metallb-system", "-o",
			"jsonpath={.items[*].spec.containers[*].image}")
		assertContains(t, images, "metallb/controller:own", "metallb/speaker:own")
		assert.Equal(t, kubectl(t, cluster, "get", "ipaddresspools", "-n", "metallb-system", "-o",
			"jsonpath={.items[0].spec.addresses[0]}"), "10.117.0.240-10.117.0.241")
		assert.Equal(t, kubectl(t, cluster, "get", "l2advertisements", "-n", "metallb-system", "-o", "name"), "")
		gone := kubectl(t, cluster, "get", "daemonsets,deployments,apiservices", "-A", "-o", "name")
		for _, addon := range []string{"kube-proxy", "local-path", "metrics"} {
			assert.Assert(t, !strings.Contains(gone, addon), gone)
		}
	})
	t.Run("kubelets follow by a reconciliation", func(t *testing.T) {
		kubeletHas(t, `"maxPods":50`)
		w := mustSucceed(t, cluster, "reconcile")
		assertContains(t, step(t, w, "plan").Message, "/var/lib/kubelet/config.yaml (restarts kubelet)")
		kubeletHas(t, `"maxPods":60`)
		assertContains(t, step(t, mustSucceed(t, cluster, "reconcile"), "plan").Message, "0 of 1 machines differ")
	})
}

// claimed is a pod that writes to a volume.
var claimed = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: claimed}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: writes}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: data, persistentVolumeClaim: {claimName: claimed}}]
  containers:
    - name: writes
      image: ` + lab.RegistryAddress + `/library/busybox:1.36.1
      command: [sh, -c, "hostname >> /data/notes; exec sleep 100000"]
      volumeMounts: [{name: data, mountPath: /data}]
`

// assertKubeProxy checks kube-proxy's pod, and its process on the machine.
func assertKubeProxy(t *testing.T, cluster *site.HostedCluster, machine string) {
	var set appsv1.DaemonSet
	assert.NilError(t, json.Unmarshal([]byte(kubectl(t, cluster, "get", "daemonset", "-n", "kube-system", "kube-proxy",
		"-o", "json")), &set))
	pod := set.Spec.Template.Spec
	assert.Equal(t, pod.Containers[0].Image, lab.RegistryAddress+"/kube-proxy:own")
	assert.Equal(t, string(pod.Containers[0].ImagePullPolicy), "Always")
	assert.Equal(t, pod.NodeSelector["proxied"], "yes")
	assert.Equal(t, pod.PriorityClassName, "system-cluster-critical")
	assertContains(t, fmt.Sprint(pod.Tolerations), "only-proxy")
	eventuallyPrints(t, cluster, "1", "get", "daemonset", "-n", "kube-system", "kube-proxy", "-o",
		"jsonpath={.status.numberReady}")
	process := runOn(t, machine, "sh", "-c",
		`pid=$(pgrep -x kube-proxy); tr '\0' '\n' < /proc/$pid/environ; tr '\0' '\n' < /proc/$pid/cmdline`)
	assertContains(t, process, "OF_THE_DOCUMENTS=yes\n", "--v=3\n")
	runOn(t, machine, "curl", "-sf", "-o", "/dev/null", "--max-time", "5", "http://127.0.0.1:20249/metrics")
}

// addonAsOwn gives an addon's image the tag "own", as retagAsOwn does.
func addonAsOwn(t *testing.T, repository, addon string) string {
	t.Helper()
	return retagAsOwn(t, repository, "v"+components.AddonVersion(addon))
}

// retagAsOwn gives an image of the lab's registry the tag "own", which only the documents name.
func retagAsOwn(t *testing.T, repository, tag string) string {
	t.Helper()
	return retag(t, repository, tag, "own").Name()
}

// retag gives an image of the lab's registry one more tag.
func retag(t *testing.T, repository, tag, another string) name.Tag {
	t.Helper()
	from, err := name.ParseReference(lab.RegistryAddress+"/"+repository+":"+tag, name.Insecure)
	assert.NilError(t, err)
	to, err := name.NewTag(lab.RegistryAddress+"/"+repository+":"+another, name.Insecure)
	assert.NilError(t, err)
	image, err := remote.Get(from, remote.WithContext(context.Background()))
	assert.NilError(t, err)
	assert.NilError(t, remote.Tag(to, image, remote.WithContext(context.Background())))
	return to
}

// refusedKeys lists keys that private nodes rule out or that Argosy does without, each with a value that is refused.
var refusedKeys = map[string]string{
	"sync.services.enabled":                                  "true",
	"sync.secrets.enabled":                                   "true",
	"integrations.metricsServer.enabled":                     "true",
	"networking.replicateServices.enabled":                   "true",
	"controlPlane.distro.k3s.enabled":                        "true",
	"controlPlane.distro.k8s.enabled":                        "false",
	"controlPlane.coredns.embedded":                          "true",
	"controlPlane.advanced.hostPathMapper.enabled":           "true",
	"sleepMode.enabled":                                      "true",
	"experimental.isolatedControlPlane.enabled":              "true",
	"privateNodes.autoNodes":                                 "[{provider: metal, dynamic: [{name: pool}]}]",
	"privateNodes.vpn.enabled":                               "true",
	"privateNodes.vpn.nodeToNode.enabled":                    "true",
	"privateNodes.daemon.enabled":                            "true",
	"privateNodes.daemon.controlPlaneLoadBalancer.enabled":   "true",
	"privateNodes.daemon.controlPlaneLoadBalancer.kubeProxy": "true",
	"privateNodes.daemon.controlPlaneLoadBalancer.port":      "11343",
	"privateNodes.defaultProfile":                            "gpu",
	"deploy.volumeSnapshotController":                        "{enabled: true}",
	"deploy.csi.kubeVirt.enabled":                            "true",
	"deploy.argoCD.applications":                             "[{name: guestbook}]",
	"deploy.ingressNginx.enabled":                            "true",
}

// detailKeys lists keys that have an effect only with a switch that is refused, each with that switch. Alone they are
// accepted, since vCluster writes them by default.
var detailKeys = map[string]struct{ value, of string }{
	"deploy.ingressNginx.defaultIngressClass":  {"true", "deploy.ingressNginx.enabled"},
	"deploy.csi.kubeVirt.storageClass.enabled": {"true", "deploy.csi.kubeVirt.enabled"},
	"deploy.csi.kubeVirt.storageClass.name":    {"disks", "deploy.csi.kubeVirt.enabled"},
	"deploy.csi.kubeVirt.storageClass.default": {"true", "deploy.csi.kubeVirt.enabled"},
	"deploy.csi.kubeVirt.storageClass.bus":     {"virtio", "deploy.csi.kubeVirt.enabled"},
}

func TestDetailKeysAreRefusedWithTheirSwitch(t *testing.T) {
	showsRefusal(t, keysOf(detailKeys)...)
	cluster := newCluster(t, nil)
	for key, detail := range detailKeys {
		t.Run(key, func(t *testing.T) {
			for _, on := range []bool{false, true} {
				cluster.VCluster = func(d map[string]any) {
					site.Set(d, key, parsed(t, detail.value))
					site.Set(d, detail.of, on)
				}
				assert.NilError(t, cluster.ApplyDocuments(t.Context()))
				out, err := env.Argosy(t.Context(), "validate", "--namespace", cluster.Name, "--cluster", cluster.Name)
				assert.Equal(t, err != nil, on, out)
				assert.Equal(t, strings.Contains(out, detail.of), on, out)
			}
		})
	}
}

func TestUnsupportedSettingsAreRefused(t *testing.T) {
	showsRefusal(t, keysOf(refusedKeys)...)
	cluster := newCluster(t, nil)
	for key, value := range refusedKeys {
		t.Run(key, func(t *testing.T) {
			message := refusedDocuments(t, cluster, key, value)
			assertContains(t, message, key)
		})
	}
	t.Run("a workflow fails in validate", func(t *testing.T) {
		cluster.VCluster = func(d map[string]any) { site.Set(d, "privateNodes.vpn.enabled", true) }
		assert.NilError(t, cluster.ApplyDocuments(t.Context()))
		message := step(t, mustFail(t, cluster, "provision"), "validate").Message
		assertContains(t, message, "privateNodes.vpn", "VPN of your own")
		made := hostKubectl(t, cluster, "get", "statefulsets,services,secrets", "-l", "argosy.dev/cluster",
			"-o", "name")
		assert.Equal(t, strings.TrimSpace(made), "", "something was made")
	})
}

// refusedDocuments applies documents with value at key, and returns the output of validate, which must fail.
func refusedDocuments(t *testing.T, cluster *site.HostedCluster, key, value string) string {
	t.Helper()
	cluster.VCluster = func(d map[string]any) { site.Set(d, key, parsed(t, value)) }
	assert.NilError(t, cluster.ApplyDocuments(t.Context()))
	out, err := env.Argosy(t.Context(), "validate", "--namespace", cluster.Name, "--cluster", cluster.Name)
	assert.Assert(t, err != nil, "%s: %s passed: %s", key, value, out)
	return out
}

func TestUpgradeSettingsAreValidated(t *testing.T) {
	cases := map[string]struct{ right, wrong, want string }{
		autoUpgrade + "enabled":                  {"false", "perhaps", "true or false"},
		autoUpgrade + "image":                    {"registry.example.com/upgrade:v1", "'not an image'", "image"},
		autoUpgrade + "imagePullPolicy":          {"Never", "Sometimes", "IfNotPresent"},
		autoUpgrade + "nodeSelector":             {"{zone: a}", "{'not a key': a}", "not a key"},
		autoUpgrade + "concurrency":              {"25%", "0", "1"},
		autoUpgrade + "podSecurityContext":       {"{runAsUser: 0}", "{runAsUsr: 0}", "runAsUser"},
		autoUpgrade + "containerSecurityContext": {"{privileged: true}", "{privileged: maybe}", "privileged"},
	}
	cluster := newCluster(t, nil)
	for key, tt := range cases {
		t.Run(key, func(t *testing.T) {
			message := refusedDocuments(t, cluster, key, tt.wrong)
			assertContains(t, message, key, tt.want)
			cluster.VCluster = func(d map[string]any) { site.Set(d, key, parsed(t, tt.right)) }
			assert.NilError(t, cluster.ApplyDocuments(t.Context()))
			argosy(t, "validate", "--namespace", cluster.Name, "--cluster", cluster.Name)
		})
	}
}

// parsed returns a YAML value.
func parsed(t *testing.T, text string) any {
	t.Helper()
	var value any
	assert.NilError(t, yaml.Unmarshal([]byte(text), &value))
	return value
}
