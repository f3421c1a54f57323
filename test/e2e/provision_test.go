package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// sharedCluster is provisioned by the first test that needs it, and used by the others.
var sharedCluster = struct {
	*site.Provisioned
	machines []string
	// empty is what its namespace held before it was provisioned, and clean what each machine did before it joined.
	empty []string
	clean map[string]string
}{machines: []string{"m1", "m2", "m3"}, clean: map[string]string{}}

// requireSharedCluster makes cluster team-b with three machines, or finds it.
func requireSharedCluster(t *testing.T) {
	t.Helper()
	if sharedCluster.Provisioned != nil {
		return
	}
	cluster := env.Provisioned("team-b", sharedCluster.machines...)
	assert.NilError(t, cluster.Remove(t.Context()))
	// their pod network is the cluster's own
	assert.NilError(t, env.Lab.ResetAs(t.Context(), lab.ResetOptions{WithoutPodNetwork: true},
		sharedCluster.machines...))
	assert.NilError(t, cluster.Apply(t.Context()))
	sharedCluster.empty = objectsOf(t, cluster)
	for _, machine := range sharedCluster.machines {
		sharedCluster.clean[machine] = inventoryOf(t, machine)
	}
	provision(t, cluster)
	joinAll(t, cluster)
	sharedCluster.Provisioned = cluster
}

// serves has the cluster run a page on every machine, behind a Service.
func serves(t *testing.T) {
	t.Helper()
	applyInside(t, sharedCluster.Provisioned, web)
	inside(t, sharedCluster.Provisioned, "rollout", "status", "daemonset/web", "--timeout="+patience.String())
}

// run submits a template for a cluster and returns the workflow when it has ended.
func run(t *testing.T, cluster *site.Provisioned, template string, parameters ...string) *wfv1.Workflow {
	t.Helper()
	return endOf(t, cluster, submitTo(t, cluster, template, parameters...))
}

// submitTo submits a template for a cluster and returns the workflow's name.
func submitTo(t *testing.T, cluster *site.Provisioned, template string, parameters ...string) string {
	t.Helper()
	args := []string{"submit", "--from", "workflowtemplate/" + template, "-p", "cluster=" + cluster.Name, "-o", "name"}
	for _, parameter := range parameters {
		args = append(args, "-p", parameter)
	}
	out, err := cluster.Argo(t.Context(), args...)
	assert.NilError(t, err)
	return strings.TrimSpace(out)
}

// endOf waits for a workflow and returns it as it ended.
func endOf(t *testing.T, cluster *site.Provisioned, name string) *wfv1.Workflow {
	t.Helper()
	var last *wfv1.Workflow
	within(t, 2*patience, "workflow "+name+" ends", func() bool {
		out, err := cluster.Kubectl(t.Context(), "get", "workflow", name, "-o", "json")
		if err != nil {
			return false // the API server may be away: some tests reboot it
		}
		last = &wfv1.Workflow{}
		assert.NilError(t, json.Unmarshal([]byte(out), last))
		return last.Status.Phase.Completed()
	}, func() string { return describe(last) })
	return last
}

// succeeded submits a template that is expected to do its work.
func succeeded(t *testing.T, cluster *site.Provisioned, template string, parameters ...string) *wfv1.Workflow {
	t.Helper()
	w := run(t, cluster, template, parameters...)
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	return w
}

func provision(t *testing.T, cluster *site.Provisioned) *wfv1.Workflow {
	t.Helper()
	return succeeded(t, cluster, "provision")
}

func joinAll(t *testing.T, cluster *site.Provisioned) {
	t.Helper()
	succeeded(t, cluster, "join")
}

// output is a parameter that a workflow gave out.
func output(t *testing.T, w *wfv1.Workflow, name string) string {
	t.Helper()
	node := w.Status.Nodes[w.Name]
	assert.Assert(t, node.Outputs != nil, describe(w))
	for _, parameter := range node.Outputs.Parameters {
		if parameter.Name == name {
			return parameter.Value.String()
		}
	}
	t.Fatalf("workflow %s gives out no %q", w.Name, name)
	return ""
}

// refused is the message of the step that a workflow failed in.
func refused(t *testing.T, w *wfv1.Workflow, name string) string {
	t.Helper()
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed, describe(w))
	return step(t, w, name).Message
}

// inside runs kubectl in the cluster and expects it to work.
func inside(t *testing.T, cluster *site.Provisioned, args ...string) string {
	t.Helper()
	out, err := cluster.Inside(t.Context(), args...)
	assert.NilError(t, err)
	return strings.TrimSpace(out)
}

// soon waits until kubectl in the cluster answers as wanted.
func soon(t *testing.T, cluster *site.Provisioned, wanted string, args ...string) {
	t.Helper()
	var out string
	eventually(t, fmt.Sprintf("kubectl %s says %q", strings.Join(args, " "), wanted), func() bool {
		var err error
		out, err = cluster.Inside(t.Context(), args...)
		return err == nil && strings.Contains(out, wanted)
	}, func() string { return out })
}

// applyInside sets objects in the cluster.
func applyInside(t *testing.T, cluster *site.Provisioned, manifest string) {
	t.Helper()
	assert.NilError(t, cluster.ApplyInside(t.Context(), manifest))
}

// web is a pod on each machine that answers with its own name, a Service before them, and a pod to ask from.
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

func TestAClusterIsProvisionedAndItsMachinesServe(t *testing.T) {
	requireSharedCluster(t)

	t.Run("a second run changes nothing and says so", func(t *testing.T) {
		w := provision(t, sharedCluster.Provisioned)
		for _, name := range []string{"control-plane", "addons"} {
			message := step(t, w, name).Message
			for _, word := range []string{"created", "changed", "removed"} {
				assert.Assert(t, !strings.Contains(strings.ReplaceAll(message, "unchanged", ""), word), message)
			}
			assert.Assert(t, strings.Contains(message, "unchanged"), message)
		}
	})
	t.Run("the workflow says where the cluster is", func(t *testing.T) {
		w := provision(t, sharedCluster.Provisioned)
		assert.Equal(t, output(t, w, "version"), site.Version)
		assert.Equal(t, output(t, w, "kubeconfigSecret"), "team-b-kubeconfig")
		assert.Assert(t, strings.HasPrefix(output(t, w, "caHash"), "sha256:"))
		assert.Assert(t, strings.HasPrefix(output(t, w, "endpoint"), "10.117.0."))
	})
	serves(t)
	t.Run("pods reach each other across machines", podsReachEachOther)
	t.Run("a Service answers by its address and by its name", serviceAnswers)
	t.Run("logs, exec and port-forward go through konnectivity", throughKonnectivity)
	t.Run("a volume keeps its data when the pod is replaced", volumeKeepsData)
	t.Run("a user gets a kubeconfig on request", usersKubeconfig)
	t.Run("a changed addon switch changes just that", addonSwitch)
	t.Run("what a user changed in an addon stays the user's", usersField)
	t.Run("a lost control plane pod comes back and nodes stay", lostPod)
}

// pods of the DaemonSet web, by machine.
func pods(t *testing.T, cluster *site.Provisioned) map[string]corev1.Pod {
	t.Helper()
	var list corev1.PodList
	assert.NilError(t, json.Unmarshal([]byte(inside(t, cluster, "get", "pods", "-l", "app=web", "-o", "json")), &list))
	byMachine := map[string]corev1.Pod{}
	for _, pod := range list.Items {
		byMachine[pod.Spec.NodeName] = pod
	}
	assert.Equal(t, len(byMachine), len(sharedCluster.machines))
	return byMachine
}

func podsReachEachOther(t *testing.T) {
	found := pods(t, sharedCluster.Provisioned)
	for _, from := range sharedCluster.machines {
		for _, to := range sharedCluster.machines {
			answer := inside(t, sharedCluster.Provisioned, "exec", found[from].Name, "--", "/web", "get",
				fmt.Sprintf("http://%s:8080/", found[to].Status.PodIP))
			assert.Equal(t, answer, found[to].Name, "from %s to %s", from, to)
		}
	}
}

func serviceAnswers(t *testing.T) {
	found := pods(t, sharedCluster.Provisioned)
	address := inside(t, sharedCluster.Provisioned, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	for _, host := range []string{address, "web", "web.default.svc.cluster.local"} {
		for _, from := range sharedCluster.machines {
			answer := inside(t, sharedCluster.Provisioned, "exec", found[from].Name, "--", "/web", "get",
				"http://"+host+"/")
			assert.Assert(t, strings.HasPrefix(answer, "web-"), "%s from %s: %s", host, from, answer)
		}
	}
}

func throughKonnectivity(t *testing.T) {
	found := pods(t, sharedCluster.Provisioned)
	assert.NilError(t, env.Lab.FirewallKubelets(t.Context(), true))
	t.Cleanup(func() { assert.NilError(t, env.Lab.FirewallKubelets(context.Background(), false)) })
	for _, machine := range sharedCluster.machines {
		name := found[machine].Name
		assert.Equal(t, inside(t, sharedCluster.Provisioned, "exec", name, "--", "hostname"), name)
		assert.Assert(t, strings.Contains(inside(t, sharedCluster.Provisioned, "logs", name), "GET"), "logs of %s",
			name)
		answer, err := sharedCluster.Forwarded(t.Context(), "pod/"+name, 8080)
		assert.NilError(t, err)
		assert.Equal(t, strings.TrimSpace(answer), name)
	}
}

func volumeKeepsData(t *testing.T) {
	applyInside(t, sharedCluster.Provisioned, `
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
	inside(t, sharedCluster.Provisioned, "rollout", "status", "deployment/notes", "--timeout=120s")
	assert.Equal(t, inside(t, sharedCluster.Provisioned, "get", "pvc", "notes", "-o",
		"jsonpath={.status.phase} {.spec.storageClassName}"), "Bound local-path")
	inside(t, sharedCluster.Provisioned, "delete", "pod", "-l", "app=notes", "--wait=true")
	inside(t, sharedCluster.Provisioned, "rollout", "status", "deployment/notes", "--timeout=120s")
	soon(t, sharedCluster.Provisioned, "2", "exec", "deployment/notes", "--", "sh", "-c", "sort -u /data/notes | wc -l")
}

func usersKubeconfig(t *testing.T) {
	w := succeeded(t, sharedCluster.Provisioned, "kubeconfig", "user=ada", "groups=operators", "expires=24h")
	assert.Equal(t, output(t, w, "secret"), "team-b-kubeconfig-ada")
	encoded, err := sharedCluster.Kubectl(t.Context(), "get", "secret", "team-b-kubeconfig-ada", "-o",
		`go-template={{index .data "value" | base64decode}}`)
	assert.NilError(t, err)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	assert.NilError(t, os.WriteFile(path, []byte(encoded), 0o600))

	who, err := env.Kubectl(t.Context(), "--kubeconfig", path, "auth", "whoami", "-o",
		"jsonpath={.status.userInfo.username} {.status.userInfo.groups}")
	assert.NilError(t, err)
	assert.Equal(t, who, `ada ["operators","system:authenticated"]`)
	_, err = env.Kubectl(t.Context(), "--kubeconfig", path, "get", "nodes")
	assert.ErrorContains(t, err, "forbidden")
	inside(t, sharedCluster.Provisioned, "create", "clusterrolebinding", "operators", "--clusterrole=view",
		"--group=operators")
	out, err := env.Kubectl(t.Context(), "--kubeconfig", path, "get", "pods")
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(out, "web-"), out)
	again := succeeded(t, sharedCluster.Provisioned, "kubeconfig", "user=ada", "groups=operators", "expires=24h")
	assert.Assert(t, strings.Contains(step(t, again, "kubeconfig").Message, "unchanged"), describe(again))
}

func addonSwitch(t *testing.T) {
	sharedCluster.VCluster = func(document map[string]any) {
		document["deploy"].(map[string]any)["metallb"] = map[string]any{
			"enabled": true, "ipAddressPool": map[string]any{"addresses": []string{"10.117.0.240-10.117.0.249"}},
		}
	}
	assert.NilError(t, sharedCluster.ApplyDocuments(t.Context()))
	w := provision(t, sharedCluster.Provisioned)
	assert.Assert(t, !strings.Contains(strings.ReplaceAll(step(t, w, "control-plane").Message, "unchanged", ""),
		"changed"), step(t, w, "control-plane").Message)
	t.Run("and a Service of type LoadBalancer gets an address that answers", func(t *testing.T) {
		inside(t, sharedCluster.Provisioned, "patch", "service", "web", "-p", `{"spec":{"type":"LoadBalancer"}}`)
		soon(t, sharedCluster.Provisioned, "10.117.0.24", "get", "service", "web", "-o",
			"jsonpath={.status.loadBalancer.ingress[0].ip}")
		address := inside(t, sharedCluster.Provisioned, "get", "service", "web", "-o",
			"jsonpath={.status.loadBalancer.ingress[0].ip}")
		var last string
		eventually(t, address+" answers", func() bool {
			out, err := env.Lab.Exec(t.Context(), "m5", "curl", "-s", "--max-time", "3", "http://"+address+"/")
			last = out
			return err == nil && strings.HasPrefix(out, "web-")
		}, func() string { return last })
	})
	sharedCluster.VCluster = nil
	assert.NilError(t, sharedCluster.ApplyDocuments(t.Context()))
	w = provision(t, sharedCluster.Provisioned)
	assert.Assert(t, strings.Contains(step(t, w, "addons").Message, "removed"), step(t, w, "addons").Message)
	out, err := sharedCluster.Inside(t.Context(), "get", "namespace", "metallb-system", "--ignore-not-found")
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(out, "Active"), out)
}

func usersField(t *testing.T) {
	inside(t, sharedCluster.Provisioned, "scale", "-n", "kube-system", "deployment/coredns", "--replicas=2")
	provision(t, sharedCluster.Provisioned)
	assert.Equal(t, inside(t, sharedCluster.Provisioned, "get", "-n", "kube-system", "deployment", "coredns", "-o",
		"jsonpath={.spec.replicas}"), "2")
	inside(t, sharedCluster.Provisioned, "scale", "-n", "kube-system", "deployment/coredns", "--replicas=1")
}

func lostPod(t *testing.T) {
	before := pods(t, sharedCluster.Provisioned)
	_, err := sharedCluster.Kubectl(t.Context(), "delete", "pod", "team-b-control-plane-0", "--wait=true")
	assert.NilError(t, err)
	_, err = sharedCluster.Kubectl(t.Context(), "rollout", "status", "statefulset/team-b-control-plane",
		"--timeout="+patience.String())
	assert.NilError(t, err)
	soon(t, sharedCluster.Provisioned, "ok", "get", "--raw", "/readyz")
	for _, machine := range sharedCluster.machines {
		soon(t, sharedCluster.Provisioned, "True", "get", "node", machine, "-o",
			`jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
	}
	for machine, pod := range pods(t, sharedCluster.Provisioned) {
		assert.Equal(t, pod.UID, before[machine].UID, "the pod on %s", machine)
		assert.Equal(t, pod.Status.ContainerStatuses[0].RestartCount, int32(0), "the pod on %s", machine)
	}
}

// newCluster makes the namespace and documents of cluster team-c, and removes both when the test ends.
func newCluster(t *testing.T, vcluster func(document map[string]any), machines ...string) *site.Provisioned {
	t.Helper()
	cluster := env.Provisioned("team-c", machines...)
	cluster.VCluster = vcluster
	assert.NilError(t, cluster.Remove(t.Context()))
	if len(machines) > 0 {
		assert.NilError(t, env.Lab.ResetAs(t.Context(), lab.ResetOptions{WithoutPodNetwork: true}, machines...))
	}
	assert.NilError(t, cluster.Apply(t.Context()))
	t.Cleanup(func() {
		assert.NilError(t, cluster.Remove(context.Background()))
		if len(machines) > 0 {
			assert.NilError(t, env.Lab.Reset(context.Background(), machines...))
		}
	})
	return cluster
}
