package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/test/site"
)

// What keeps a cluster: its host node may reboot, its control plane may be lost and come back from a backup, and when
// it goes, it goes without a trace.

func TestALostControlPlaneComesBackFromItsBackup(t *testing.T) {
	requireSharedCluster(t)
	serves(t)
	note := func(name string) {
		inside(t, sharedCluster.Provisioned, "create", "configmap", name)
	}
	note("before-the-backup")
	archive := output(t, succeeded(t, sharedCluster.Provisioned, "backup"), "archive")
	assert.Assert(t, strings.HasPrefix(archive, "team-b-"), archive)
	note("after-the-backup")
	before := standing(t)
	kubelets := kubeletsOf(t)

	w := run(t, sharedCluster.Provisioned, "restore", "archive="+archive)
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed, describe(w)) // it is there

	const kinds = "job,statefulset,service,secret,configmap,poddisruptionbudget"
	_, err := sharedCluster.Kubectl(t.Context(), "delete", kinds, "-l", "argosy.dev/cluster=team-b",
		"--timeout="+patience.String())
	assert.NilError(t, err)
	_, err = sharedCluster.Kubectl(t.Context(), "delete", "persistentvolumeclaim", "team-b-data",
		"--timeout="+patience.String())
	assert.NilError(t, err)

	w = succeeded(t, sharedCluster.Provisioned, "restore", "archive="+archive)
	assert.Equal(t, output(t, w, "archive"), archive)
	soon(t, sharedCluster.Provisioned, "ok", "get", "--raw", "/readyz")
	for _, machine := range sharedCluster.machines {
		soon(t, sharedCluster.Provisioned, "True", "get", "node", machine, "-o",
			`jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
	}
	after := standing(t)
	assert.DeepEqual(t, after.pods, before.pods)
	assert.DeepEqual(t, kubeletsOf(t), kubelets)
	maps := inside(t, sharedCluster.Provisioned, "get", "configmap", "-o", "name")
	assert.Assert(t, strings.Contains(maps, "before-the-backup") && !strings.Contains(maps, "after-the-backup"), maps)
	t.Run("and kubelets see what is new", func(t *testing.T) {
		inside(t, sharedCluster.Provisioned, "rollout", "restart", "daemonset/web")
		inside(t, sharedCluster.Provisioned, "rollout", "status", "daemonset/web", "--timeout="+patience.String())
	})
}

func TestADeprovisionedClusterLeavesNothingBehind(t *testing.T) {
	requireSharedCluster(t)
	w := run(t, sharedCluster.Provisioned, "deprovision")
	message := refused(t, w, "check")
	for _, machine := range sharedCluster.machines {
		assert.Assert(t, strings.Contains(message, machine), message)
	}
	soon(t, sharedCluster.Provisioned, "ok", "get", "--raw", "/readyz")

	cluster := sharedCluster.Provisioned
	succeeded(t, cluster, "deprovision", "machines=reset", "finalBackup=false", "keepVolumes=false")
	sharedCluster.Provisioned = nil
	assert.DeepEqual(t, objectsOf(t, cluster), sharedCluster.empty)
	for _, machine := range sharedCluster.machines {
		assert.DeepEqual(t, strings.Split(inventoryOf(t, machine), "\n"),
			strings.Split(sharedCluster.clean[machine], "\n"))
	}
	succeeded(t, cluster, "deprovision", "machines=reset", "finalBackup=false", "keepVolumes=false") // again is safe
	assert.NilError(t, cluster.Remove(t.Context()))
}

// stands is what must not change while a control plane is away: since when each node is Ready, and which pods run, how
// often they were started.
type stands struct{ nodes, pods map[string]string }

func standing(t *testing.T) stands {
	t.Helper()
	var nodes corev1.NodeList
	assert.NilError(t, json.Unmarshal([]byte(inside(t, sharedCluster.Provisioned, "get", "nodes", "-o", "json")),
		&nodes))
	found := stands{map[string]string{}, map[string]string{}}
	for _, node := range nodes.Items {
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				found.nodes[node.Name] = fmt.Sprint(condition.Status, " since ", condition.LastTransitionTime)
			}
		}
	}
	for machine, pod := range pods(t, sharedCluster.Provisioned) {
		found.pods[machine] = fmt.Sprint(pod.UID, " started again ", pod.Status.ContainerStatuses[0].RestartCount)
	}
	return found
}

// kubeletsOf are the process numbers of the machines' kubelets, and when their credentials were written.
func kubeletsOf(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, machine := range sharedCluster.machines {
		found[machine] = on(t, machine, "sh", "-c", "pgrep -x kubelet; stat -c %Y /etc/kubernetes/kubelet.conf")
	}
	return found
}

// askFrom asks a page from a machine, several times a second, until the function that it returns is called, which tells
// how many answers and failures there were. It stops by itself after ten minutes.
func askFrom(t *testing.T, machine, url string) (stop func() (answers, failures int)) {
	t.Helper()
	const script = `rm -f /tmp/asked.stop; : >/tmp/asked
i=0; while [ ! -e /tmp/asked.stop ] && [ $i -lt 2400 ]; do i=$((i+1)); curl -s -o /dev/null --max-time 2 "$0" && echo yes >>/tmp/asked || echo no >>/tmp/asked; sleep 0.25; done`
	_, err := env.Lab.Exec(t.Context(), machine, "sh", "-c", `setsid sh -c "$0" "$1" >/dev/null 2>&1 </dev/null &`,
		script, url)
	assert.NilError(t, err)
	count := func(word string) int {
		n, err := strconv.Atoi(strings.TrimSpace(on(t, machine, "sh", "-c", `grep -c "$0" /tmp/asked || true`, word)))
		assert.NilError(t, err)
		return n
	}
	t.Cleanup(func() { _, _ = env.Lab.Exec(context.Background(), machine, "touch", "/tmp/asked.stop") })
	return func() (int, int) {
		on(t, machine, "touch", "/tmp/asked.stop")
		return count("yes"), count("no")
	}
}

// objectsOf lists all that is in the cluster's namespace of the host cluster, except what Argo keeps of its workflows.
func objectsOf(t *testing.T, cluster *site.Provisioned) []string {
	t.Helper()
	kinds, err := cluster.Kubectl(t.Context(), "api-resources", "--namespaced", "--verbs=list", "-o", "name")
	assert.NilError(t, err)
	listed := slices.DeleteFunc(strings.Fields(kinds), func(kind string) bool {
		return strings.HasPrefix(kind, "workflow") || strings.HasPrefix(kind, "events") ||
			strings.HasPrefix(kind, "pods.metrics")
	})
	var found []string
	eventually(t, "the agents' pods end", func() bool {
		out, err := cluster.Kubectl(t.Context(), "get", strings.Join(listed, ","), "--ignore-not-found", "-o", "name")
		assert.NilError(t, err)
		found = strings.Fields(out)
		return !slices.ContainsFunc(found, func(name string) bool { return strings.HasPrefix(name, "pod/") })
	}, func() string { return strings.Join(found, "\n") })
	slices.Sort(found)
	return slices.Compact(found)
}
