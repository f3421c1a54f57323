package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// sharedCluster is provisioned by the first test that needs it, and used by the others.
var sharedCluster *site.HostedCluster

// beforeShared has the objects of the shared cluster's namespace and the inventories of its machines, from before it
// was provisioned.
var beforeShared struct {
	objects     []string
	inventories map[string]string
}

// requireSharedCluster provisions cluster team-b with three machines, or finds it.
func requireSharedCluster(t *testing.T) {
	t.Helper()
	if sharedCluster != nil {
		return
	}
	cluster := env.HostedCluster("team-b", "m1", "m2", "m3")
	assert.NilError(t, cluster.Remove(t.Context()))
	// Their pod network is the cluster's own.
	assert.NilError(t, env.Lab.ResetAs(t.Context(), lab.ResetOptions{WithoutPodNetwork: true}, cluster.Machines...))
	assert.NilError(t, cluster.Install(t.Context()))
	beforeShared.objects, beforeShared.inventories = objectsOf(t, cluster), map[string]string{}
	for _, machine := range cluster.Machines {
		beforeShared.inventories[machine] = inventoryOf(t, machine)
	}
	mustSucceed(t, cluster, "provision")
	mustSucceed(t, cluster, "join")
	sharedCluster = cluster
}

// deployWeb runs a web server on every machine of the shared cluster, behind a Service.
func deployWeb(t *testing.T) {
	t.Helper()
	apply(t, sharedCluster, web)
	kubectl(t, sharedCluster, "rollout", "status", "daemonset/web", "--timeout="+patience.String())
}

// web is a pod on each machine that answers with its own name, behind a Service. The pods also make requests.
var web = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: ` + lab.RegistryAddress + `/web:v1
          args: [serve]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`

func TestProvisionedClusterServes(t *testing.T) {
	requireSharedCluster(t)

	t.Run("a second run changes nothing", func(t *testing.T) {
		w := mustSucceed(t, sharedCluster, "provision")
		for _, name := range []string{"control-plane", "addons"} {
			message := step(t, w, name).Message
			for _, word := range []string{"created", "changed", "removed"} {
				assert.Assert(t, !strings.Contains(strings.ReplaceAll(message, "unchanged", ""), word), message)
			}
			assertContains(t, message, "unchanged")
		}
	})
	t.Run("the workflow has the cluster's endpoint as output", func(t *testing.T) {
		w := mustSucceed(t, sharedCluster, "provision")
		assert.Equal(t, output(t, w, "version"), site.Version)
		assert.Equal(t, output(t, w, "kubeconfigSecret"), "team-b-kubeconfig")
		assert.Assert(t, strings.HasPrefix(output(t, w, "caHash"), "sha256:"))
		assert.Assert(t, strings.HasPrefix(output(t, w, "endpoint"), "10.117.0."))
	})
	deployWeb(t)
	t.Run("pods reach each other across machines", testPodNetwork)
	t.Run("a Service answers by its address and by its name", testService)
	t.Run("the API server verifies kubelets", testKubeletsVerified)
	t.Run("logs, exec and port-forward go through konnectivity", testKonnectivity)
	t.Run("requests without a login see health alone", testAnonymousRequests)
	if wholeSuite {
		t.Run("logs of other machines stay when one falls silent", testSilentMachine)
	}
	t.Run("a volume keeps its data when the pod is replaced", testVolume)
	t.Run("a user gets a kubeconfig on request", testUserKubeconfig)
	t.Run("a changed addon switch changes just that", testAddonSwitch)
	t.Run("a user's change of an addon is kept", testUserField)
	t.Run("a lost control plane pod comes back and nodes stay", testLostPod)
}

// pods returns the pods of the DaemonSet web, by machine.
func pods(t *testing.T, cluster *site.HostedCluster) map[string]corev1.Pod {
	t.Helper()
	var list corev1.PodList
	assert.NilError(t, json.Unmarshal([]byte(kubectl(t, cluster, "get", "pods", "-l", "app=web", "-o", "json")), &list))
	byMachine := map[string]corev1.Pod{}
	for _, pod := range list.Items {
		byMachine[pod.Spec.NodeName] = pod
	}
	assert.Equal(t, len(byMachine), len(sharedCluster.Machines))
	return byMachine
}

func testPodNetwork(t *testing.T) {
	found := pods(t, sharedCluster)
	for _, from := range sharedCluster.Machines {
		for _, to := range sharedCluster.Machines {
			answer := kubectl(t, sharedCluster, "exec", found[from].Name, "--", "/web", "get",
				fmt.Sprintf("http://%s:8080/", found[to].Status.PodIP))
			assert.Equal(t, answer, found[to].Name, "from %s to %s", from, to)
		}
	}
}

func testService(t *testing.T) {
	found := pods(t, sharedCluster)
	address := kubectl(t, sharedCluster, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	for _, host := range []string{address, "web", "web.default.svc.cluster.local"} {
		for _, from := range sharedCluster.Machines {
			answer := kubectl(t, sharedCluster, "exec", found[from].Name, "--", "/web", "get",
				"http://"+host+"/")
			assert.Assert(t, strings.HasPrefix(answer, "web-"), "%s from %s: %s", host, from, answer)
		}
	}
}

func testKubeletsVerified(t *testing.T) {
	found := pods(t, sharedCluster)
	args := hostKubectl(t, sharedCluster, "get", "statefulset", "team-b-control-plane", "-o",
		`jsonpath={.spec.template.spec.containers[?(@.name=="kube-apiserver")].args}`)
	assertContains(t, args, "--kubelet-certificate-authority=")
	for _, machine := range sharedCluster.Machines {
		until := kubectl(t, sharedCluster, "get", "node", machine, "-o",
			`jsonpath={.metadata.annotations.argosy\.dev/serving-certificate-until}`)
		_, err := time.Parse(time.RFC3339, until)
		assert.NilError(t, err)
		address := kubectl(t, sharedCluster, "get", "node", machine, "-o",
			`jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`)
		runOn(t, machine, "curl", "-s", "--cacert", "/etc/kubernetes/pki/ca.crt", "https://"+address+":10250/healthz")
		kubectl(t, sharedCluster, "logs", found[machine].Name, "--tail=1")
		assertContains(t, kubectl(t, sharedCluster, "get", "--raw", "/api/v1/nodes/"+machine+"/proxy/configz"),
			`"serverTLSBootstrap":true`)
	}
}

func testKonnectivity(t *testing.T) {
	found := pods(t, sharedCluster)
	assert.NilError(t, env.Lab.FirewallKubelets(t.Context(), true))
	t.Cleanup(func() { assert.NilError(t, env.Lab.FirewallKubelets(context.Background(), false)) })
	for _, machine := range sharedCluster.Machines {
		name := found[machine].Name
		assert.Equal(t, kubectl(t, sharedCluster, "exec", name, "--", "hostname"), name)
		assert.Assert(t, strings.Contains(kubectl(t, sharedCluster, "logs", name), "GET"), "logs of %s",
			name)
		answer, err := sharedCluster.PortForward(t.Context(), "pod/"+name, 8080)
		assert.NilError(t, err)
		assert.Equal(t, strings.TrimSpace(answer), name)
	}
}

func testAnonymousRequests(t *testing.T) {
	server := "https://" + hostKubectl(t, sharedCluster, "get", "service", sharedCluster.Name, "-o",
		"jsonpath={.status.loadBalancer.ingress[0].ip}") + ":443"
	for path, code := range map[string]string{
		"/livez": "200", "/readyz": "200", "/healthz": "200", "/version": "401", "/api": "401",
		"/api/v1/namespaces/kube-public/configmaps/cluster-info": "401",
	} {
		answer := runOn(t, "m5", "curl", "-s", "-k", "--max-time", "5", "-o", "/dev/null", "-w", "%{http_code}",
			server+path)
		assert.Equal(t, answer, code, path)
	}
	assertContains(t, kubectl(t, sharedCluster, "get", "--raw", "/.well-known/openid-configuration"),
		`"jwks_uri":"`+server+`/openid/v1/jwks"`)
}

// testSilentMachine has a machine send nothing any more, which is what others see of one that loses its power: no
// connection is closed.
func testSilentMachine(t *testing.T) {
	found := pods(t, sharedCluster)
	silent, others := sharedCluster.Machines[0], sharedCluster.Machines[1:]
	runOn(t, silent, "ip", "rule", "add", "pref", "1", "blackhole")
	t.Cleanup(func() { _, _ = env.Lab.Exec(context.Background(), silent, "ip", "rule", "del", "pref", "1") })
	eventually(t, silent+" is away", func() bool {
		for _, machine := range others {
			assertContains(t, kubectl(t, sharedCluster, "logs", found[machine].Name, "--tail=1"), "GET")
		}
		return kubectl(t, sharedCluster, "get", "node", silent, "-o",
			`jsonpath={.status.conditions[?(@.type=="Ready")].status}`) == "Unknown"
	}, func() string { return kubectl(t, sharedCluster, "get", "nodes") })
	runOn(t, silent, "ip", "rule", "del", "pref", "1")
	eventuallyReady(t, sharedCluster, sharedCluster.Machines...)
	eventuallyPrints(t, sharedCluster, "GET", "logs", found[silent].Name, "--tail=1")
}

func testVolume(t *testing.T) {
	apply(t, sharedCluster, `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: notes}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: notes}
spec:
  strategy: {type: Recreate}
  selector: {matchLabels: {app: notes}}
  template:
    metadata: {labels: {app: notes}}
    spec:
      terminationGracePeriodSeconds: 1
      volumes: [{name: data, persistentVolumeClaim: {claimName: notes}}]
      containers:
        - name: notes
          image: `+lab.RegistryAddress+`/library/busybox:1.36.1
          command: [sh, -c, "hostname >> /data/notes; exec sleep 100000"]
          volumeMounts: [{name: data, mountPath: /data}]
`)
	kubectl(t, sharedCluster, "rollout", "status", "deployment/notes", "--timeout=120s")
	assert.Equal(t, kubectl(t, sharedCluster, "get", "pvc", "notes", "-o",
		"jsonpath={.status.phase} {.spec.storageClassName}"), "Bound local-path")
	kubectl(t, sharedCluster, "delete", "pod", "-l", "app=notes", "--wait=true")
	kubectl(t, sharedCluster, "rollout", "status", "deployment/notes", "--timeout=120s")
	eventuallyPrints(t, sharedCluster, "2", "exec", "deployment/notes", "--", "sh", "-c", "sort -u /data/notes | wc -l")
}

func testUserKubeconfig(t *testing.T) {
	w := mustSucceed(t, sharedCluster, "kubeconfig", "user=ada", "groups=operators", "expires=24h")
	assert.Equal(t, output(t, w, "secret"), "team-b-kubeconfig-ada")
	encoded := hostKubectl(t, sharedCluster, "get", "secret", "team-b-kubeconfig-ada", "-o",
		`go-template={{index .data "value" | base64decode}}`)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	assert.NilError(t, os.WriteFile(path, []byte(encoded), 0o600))

	who, err := env.HostKubectl(t.Context(), "--kubeconfig", path, "auth", "whoami", "-o",
		"jsonpath={.status.userInfo.username} {.status.userInfo.groups}")
	assert.NilError(t, err)
	assert.Equal(t, who, `ada ["operators","system:authenticated"]`)
	_, err = env.HostKubectl(t.Context(), "--kubeconfig", path, "get", "nodes")
	assert.ErrorContains(t, err, "forbidden")
	kubectl(t, sharedCluster, "create", "clusterrolebinding", "operators", "--clusterrole=view",
		"--group=operators")
	out, err := env.HostKubectl(t.Context(), "--kubeconfig", path, "get", "pods")
	assert.NilError(t, err)
	assertContains(t, out, "web-")
	again := mustSucceed(t, sharedCluster, "kubeconfig", "user=ada", "groups=operators", "expires=24h")
	assertContains(t, step(t, again, "kubeconfig").Message, "unchanged")
}

func testAddonSwitch(t *testing.T) {
	sharedCluster.VCluster = func(document map[string]any) {
		document["deploy"].(map[string]any)["metallb"] = map[string]any{
			"enabled": true, "ipAddressPool": map[string]any{"addresses": []string{"10.117.0.240-10.117.0.249"}},
		}
		document["deploy"].(map[string]any)["metricsServer"] = map[string]any{"enabled": true}
	}
	assert.NilError(t, sharedCluster.ApplyDocuments(t.Context()))
	w := mustSucceed(t, sharedCluster, "provision")
	assert.Assert(t, !strings.Contains(strings.ReplaceAll(step(t, w, "control-plane").Message, "unchanged", ""),
		"changed"), step(t, w, "control-plane").Message)
	t.Run("a LoadBalancer Service gets an address that answers", func(t *testing.T) {
		kubectl(t, sharedCluster, "patch", "service", "web", "-p", `{"spec":{"type":"LoadBalancer"}}`)
		eventuallyPrints(t, sharedCluster, "10.117.0.24", "get", "service", "web", "-o",
			"jsonpath={.status.loadBalancer.ingress[0].ip}")
		address := kubectl(t, sharedCluster, "get", "service", "web", "-o",
			"jsonpath={.status.loadBalancer.ingress[0].ip}")
		var last string
		eventually(t, address+" answers", func() bool {
			out, err := env.Lab.Exec(t.Context(), "m5", "curl", "-s", "--max-time", "3", "http://"+address+"/")
			last = out
			return err == nil && strings.HasPrefix(out, "web-")
		}, func() string { return last })
	})
	t.Run("kubectl top reads kubelets that are verified", testTop)
	sharedCluster.VCluster = nil
	assert.NilError(t, sharedCluster.ApplyDocuments(t.Context()))
	w = mustSucceed(t, sharedCluster, "provision")
	assertContains(t, step(t, w, "addons").Message, "removed")
	out := kubectl(t, sharedCluster, "get", "namespace", "metallb-system", "--ignore-not-found")
	assert.Assert(t, !strings.Contains(out, "Active"), out)
}

func testTop(t *testing.T) {
	args := kubectl(t, sharedCluster, "get", "deployments", "-A", "-l", "k8s-app=metrics-server", "-o",
		"jsonpath={.items[0].spec.template.spec.containers[0].args}")
	assertContains(t, args, "--kubelet-certificate-authority=")
	assert.Assert(t, !strings.Contains(args, "insecure"), args)
	for _, machine := range sharedCluster.Machines {
		eventuallyPrints(t, sharedCluster, machine, "top", "node", machine)
	}
}

func testUserField(t *testing.T) {
	kubectl(t, sharedCluster, "scale", "-n", "kube-system", "deployment/coredns", "--replicas=2")
	mustSucceed(t, sharedCluster, "provision")
	assert.Equal(t, kubectl(t, sharedCluster, "get", "-n", "kube-system", "deployment", "coredns", "-o",
		"jsonpath={.spec.replicas}"), "2")
	kubectl(t, sharedCluster, "scale", "-n", "kube-system", "deployment/coredns", "--replicas=1")
}

func testLostPod(t *testing.T) {
	before := pods(t, sharedCluster)
	hostKubectl(t, sharedCluster, "delete", "pod", "team-b-control-plane-0", "--wait=true")
	hostKubectl(t, sharedCluster, "rollout", "status", "statefulset/team-b-control-plane",
		"--timeout="+patience.String())
	eventuallyPrints(t, sharedCluster, "ok", "get", "--raw", "/readyz")
	eventuallyReady(t, sharedCluster, sharedCluster.Machines...)
	for machine, pod := range pods(t, sharedCluster) {
		assert.Equal(t, pod.UID, before[machine].UID, "the pod on %s", machine)
		assert.Equal(t, pod.Status.ContainerStatuses[0].RestartCount, int32(0), "the pod on %s", machine)
	}
}

// secondInterface gives a machine a second interface with an address and the default route, as a network for storage
// or for the Internet has it. Its cable ends on the machine itself.
const secondInterface = `set -e
ip link add eth1 type veth peer name eth1-peer
ip address add 192.168.77.2/24 dev eth1
ip link set eth1 up
ip link set eth1-peer up
ip route add 10.117.0.0/16 via 10.117.0.254 dev eth0
ip route replace default via 192.168.77.1 dev eth1`

// removeRemains does what the refusal asks for.
const removeRemains = `set -e
rm -r /etc/cni/net.d/10-calico.conflist /run/flannel /var/lib/cni/networks/cbr0 /var/lib/kubelet/cpu_manager_state
ip link delete cni0
ip link delete flannel.1`

// TestMachineOfAnotherClusterJoinsByItsAddress adds a machine to the fleet. It has leftovers of another cluster with
// which flannel's pods would not get addresses, and, when these are removed, its default route on another interface
// than the one at whose address it is reached.
func TestMachineOfAnotherClusterJoinsByItsAddress(t *testing.T) {
	requireSharedCluster(t)
	const machine, address = "m5", "10.117.0.105"
	assert.NilError(t, env.Lab.ResetAs(t.Context(), lab.ResetOptions{WithoutPodNetwork: true}, machine))
	runOn(t, machine, "sh", "-c", leaveRemains)
	machines := sharedCluster.Machines
	sharedCluster.Machines = append(slices.Clone(machines), machine)
	assert.NilError(t, sharedCluster.ApplyDocuments(t.Context()))
	t.Cleanup(func() {
		sharedCluster.Machines = machines
		assert.NilError(t, sharedCluster.ApplyDocuments(context.Background()))
		_, _ = sharedCluster.Kubectl(context.Background(), "delete", "node", machine, "--ignore-not-found")
		assert.NilError(t, env.Lab.Reset(context.Background(), machine))
	})

	out, err := env.Argosy(t.Context(), "join", "--namespace", sharedCluster.Name, "--machines", machine)
	assert.Assert(t, err != nil, "joined all the same:\n%s", out)
	assertContains(t, out, "network configurations of others than flannel: /etc/cni/net.d/10-calico.conflist",
		"add PodNetwork to ignorePreflightErrors", "An earlier node left link cni0, link flannel.1, /run/flannel")
	assertUntouched(t, machine)

	runOn(t, machine, "sh", "-c", removeRemains)
	runOn(t, machine, "sh", "-c", secondInterface)
	out = argosy(t, "plan", "--namespace", sharedCluster.Name, "--machines", machine)
	assertContains(t, out, "The node gets the address "+address+" of eth0, at which the machine is reached")
	mustSucceed(t, sharedCluster, "join", "machines="+machine)
	assert.Equal(t, kubectl(t, sharedCluster, "get", "node", machine, "-o",
		`jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`), address)
	deployWeb(t)
	assert.Equal(t, kubectl(t, sharedCluster, "get", "node", machine, "-o",
		`jsonpath={.metadata.annotations.flannel\.alpha\.coreos\.com/public-ip}`), address)
	found := pods(t, sharedCluster)
	for from, to := range map[string]string{"m1": machine, machine: "m1"} {
		assert.Equal(t, kubectl(t, sharedCluster, "exec", found[from].Name, "--", "/web", "get",
			fmt.Sprintf("http://%s:8080/", found[to].Status.PodIP)), found[to].Name, "from %s to %s", from, to)
	}
	argosy(t, "reset", "--namespace", sharedCluster.Name, "--cluster", sharedCluster.Name, "--machines", machine,
		"--yes")
	// Without its node it would go a minute later, and count as one of the next test's pods.
	kubectl(t, sharedCluster, "delete", "pod", found[machine].Name, "--ignore-not-found", "--force", "--grace-period=0")
}
