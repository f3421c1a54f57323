package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/test/site"
)

// Tests of the loss, the restore and the end of a control plane.

func TestLostControlPlaneIsRestoredFromBackup(t *testing.T) {
	requireSharedCluster(t)
	deployWeb(t)
	note := func(name string) {
		kubectl(t, sharedCluster, "create", "configmap", name)
	}
	note("before-the-backup")
	archive := output(t, mustSucceed(t, sharedCluster, "backup"), "archive")
	assert.Assert(t, strings.HasPrefix(archive, "team-b-"), archive)
	note("after-the-backup")
	before := readState(t)
	pids := kubeletsOf(t)

	mustFail(t, sharedCluster, "restore", "archive="+archive) // the control plane exists

	const kinds = "job,statefulset,service,secret,configmap,poddisruptionbudget"
	hostKubectl(t, sharedCluster, "delete", kinds, "-l", "argosy.dev/cluster=team-b",
		"--timeout="+patience.String())
	hostKubectl(t, sharedCluster, "delete", "persistentvolumeclaim", "team-b-data",
		"--timeout="+patience.String())

	w := mustSucceed(t, sharedCluster, "restore", "archive="+archive)
	assert.Equal(t, output(t, w, "archive"), archive)
	eventuallyPrints(t, sharedCluster, "ok", "get", "--raw", "/readyz")
	eventuallyReady(t, sharedCluster, sharedCluster.Machines...)
	after := readState(t)
	assert.DeepEqual(t, after.pods, before.pods)
	assert.DeepEqual(t, kubeletsOf(t), pids)
	maps := kubectl(t, sharedCluster, "get", "configmap", "-o", "name")
	assert.Assert(t, strings.Contains(maps, "before-the-backup") && !strings.Contains(maps, "after-the-backup"), maps)
	t.Run("kubelets see new objects", func(t *testing.T) {
		kubectl(t, sharedCluster, "rollout", "restart", "daemonset/web")
		kubectl(t, sharedCluster, "rollout", "status", "daemonset/web", "--timeout="+patience.String())
	})
}

func TestDeprovisionLeavesNothingBehind(t *testing.T) {
	requireSharedCluster(t)
	message := step(t, mustFail(t, sharedCluster, "deprovision"), "check").Message
	for _, machine := range sharedCluster.Machines {
		assertContains(t, message, machine)
	}
	eventuallyPrints(t, sharedCluster, "ok", "get", "--raw", "/readyz")

	cluster := sharedCluster
	mustSucceed(t, cluster, "deprovision", "machines=reset", "finalBackup=false", "keepVolumes=false")
	sharedCluster = nil
	assert.DeepEqual(t, objectsOf(t, cluster), beforeShared.objects)
	for _, machine := range cluster.Machines {
		assert.DeepEqual(t, strings.Split(inventoryOf(t, machine), "\n"),
			strings.Split(beforeShared.inventories[machine], "\n"))
	}
	// a second run finds nothing to do
	mustSucceed(t, cluster, "deprovision", "machines=reset", "finalBackup=false", "keepVolumes=false")
	assert.NilError(t, cluster.Remove(t.Context()))
}

// clusterState must not change while a control plane is away: since when each node is Ready, which pods run, and how
// often each was restarted.
type clusterState struct{ nodes, pods map[string]string }

func readState(t *testing.T) clusterState {
	t.Helper()
	var nodes corev1.NodeList
	assert.NilError(t, json.Unmarshal([]byte(kubectl(t, sharedCluster, "get", "nodes", "-o", "json")),
		&nodes))
	found := clusterState{map[string]string{}, map[string]string{}}
	for _, node := range nodes.Items {
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				found.nodes[node.Name] = fmt.Sprint(condition.Status, " since ", condition.LastTransitionTime)
			}
		}
	}
	for machine, pod := range pods(t, sharedCluster) {
		found.pods[machine] = fmt.Sprint(pod.UID, " started again ", pod.Status.ContainerStatuses[0].RestartCount)
	}
	return found
}

// kubeletsOf returns the process number of each machine's kubelet, and when its credentials were written.
func kubeletsOf(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, machine := range sharedCluster.Machines {
		found[machine] = runOn(t, machine, "sh", "-c", "pgrep -x kubelet; stat -c %Y /etc/kubernetes/kubelet.conf")
	}
	return found
}

// pollFrom requests a page from a machine four times a second. The returned function stops it and returns how many
// requests were answered and how many failed. It stops by itself after ten minutes.
func pollFrom(t *testing.T, machine, url string) (stop func() (answers, failures int)) {
	t.Helper()
	const script = `rm -f /tmp/asked.stop; : >/tmp/asked
i=0; while [ ! -e /tmp/asked.stop ] && [ $i -lt 2400 ]; do i=$((i+1)); curl -s -o /dev/null --max-time 2 "$0" && echo yes >>/tmp/asked || echo no >>/tmp/asked; sleep 0.25; done`
	runOn(t, machine, "sh", "-c", `setsid sh -c "$0" "$1" >/dev/null 2>&1 </dev/null &`,
		script, url)
	count := func(word string) int {
		n, err := strconv.Atoi(strings.TrimSpace(runOn(t, machine, "sh", "-c", `grep -c "$0" /tmp/asked || true`,
			word)))
		assert.NilError(t, err)
		return n
	}
	t.Cleanup(func() { _, _ = env.Lab.Exec(context.Background(), machine, "touch", "/tmp/asked.stop") })
	return func() (int, int) {
		runOn(t, machine, "touch", "/tmp/asked.stop")
		return count("yes"), count("no")
	}
}

// objectsOf lists the objects in the cluster's namespace of the host cluster, without those that Argo keeps of its
// workflows and those that go with a workflow, as reports do.
func objectsOf(t *testing.T, cluster *site.HostedCluster) []string {
	t.Helper()
	kinds := hostKubectl(t, cluster, "api-resources", "--namespaced", "--verbs=list", "-o", "name")
	listed := slices.DeleteFunc(strings.Fields(kinds), func(kind string) bool {
		return strings.HasPrefix(kind, "workflow") || strings.HasPrefix(kind, "events") ||
			strings.HasPrefix(kind, "pods.metrics")
	})
	var found []string
	eventually(t, "the agents' pods end", func() bool {
		out := hostKubectl(t, cluster, "get", strings.Join(listed, ","), "--ignore-not-found", "-o",
			`jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.ownerReferences[*].kind}{"\n"}{end}`)
		found = strings.Split(strings.TrimSpace(out), "\n")
		return !slices.ContainsFunc(found, func(line string) bool { return strings.HasPrefix(line, "Pod/") })
	}, func() string { return strings.Join(found, "\n") })
	found = slices.DeleteFunc(found, func(line string) bool { return strings.HasSuffix(line, " Workflow") })
	slices.Sort(found)
	return slices.Compact(found)
}
