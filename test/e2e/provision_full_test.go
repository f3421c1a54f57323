//go:build full

package e2e_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/site"
)

// What takes long of what a provision, a backup and a restore are for.

func TestAMemberOfEtcdIsLostAndWritesGoOn(t *testing.T) {
	cluster := newCluster(t, func(d map[string]any) {
		site.Set(d, "controlPlane.backingStore.etcd.deploy.enabled", true)
		site.Set(d, "controlPlane.backingStore.etcd.deploy.statefulSet.highAvailability.replicas", 3)
		site.Set(d, "controlPlane.statefulSet.highAvailability.replicas", 2)
	})
	provision(t, cluster)
	pods, err := cluster.Kubectl(t.Context(), "get", "pods", "-o", "name")
	assert.NilError(t, err)
	for _, pod := range []string{"team-c-etcd-0", "team-c-etcd-1", "team-c-etcd-2", "team-c-control-plane-0",
		"team-c-control-plane-1"} {
		assert.Assert(t, strings.Contains(pods, pod), pods)
	}

	// A host node that takes no pods keeps the member away.
	kubectl(t, "cordon", "host")
	t.Cleanup(func() { _, _ = env.Kubectl(context.Background(), "uncordon", "host") })
	_, err = cluster.Kubectl(t.Context(), "delete", "pod", "team-c-etcd-1", "--grace-period=1", "--wait=true")
	assert.NilError(t, err)
	for i := range 20 {
		inside(t, cluster, "create", "configmap", fmt.Sprintf("written-%d", i))
	}
	phase, err := cluster.Kubectl(t.Context(), "get", "pod", "team-c-etcd-1", "-o", "jsonpath={.status.phase}")
	assert.NilError(t, err)
	assert.Equal(t, phase, "Pending")
	kubectl(t, "uncordon", "host")

	_, err = cluster.Kubectl(t.Context(), "rollout", "status", "statefulset/team-c-etcd",
		"--timeout="+patience.String())
	assert.NilError(t, err)
	provision(t, cluster)
	assert.Assert(t, strings.Contains(inside(t, cluster, "get", "configmaps", "-o", "name"), "written-19"))
}

func TestAControlPlaneBehindANodePortTakesMachines(t *testing.T) {
	cluster := newCluster(t, func(d map[string]any) { site.Set(d, "controlPlane.service.spec.type", "NodePort") }, "m5")
	message := refused(t, run(t, cluster, "provision"), "control-plane")
	assert.Assert(t, strings.Contains(message, "install/rbac/node-port"), message)

	kubectl(t, "apply", "-k", filepath.Join(env.Source, "install", "rbac", "node-port"))
	kubectl(t, "create", "clusterrolebinding", "argosy-node-reader-team-c", "--clusterrole=argosy-node-reader",
		"--serviceaccount=team-c:argosy-executor-plugin")
	t.Cleanup(func() {
		_, _ = env.Kubectl(context.Background(), "delete", "clusterrolebinding", "argosy-node-reader-team-c")
	})
	endpoint := output(t, provision(t, cluster), "endpoint")
	port, err := cluster.Kubectl(t.Context(), "get", "service", "team-c", "-o",
		`jsonpath={.spec.ports[?(@.name=="https")].nodePort}`)
	assert.NilError(t, err)
	assert.Equal(t, endpoint, "10.117.0.10:"+port)

	joinAll(t, cluster)
	soon(t, cluster, "True", "get", "node", "m5", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
	soon(t, cluster, "I", "logs", "-n", "kube-system", "daemonset/kube-proxy") // through konnectivity's node port
}

func TestAClusterInPostgreSQLIsBackedUpAndRestoredLikeAnyOther(t *testing.T) {
	cluster, source, _ := keptInPostgreSQL(t)
	t.Run("and backed up and restored like any other", func(t *testing.T) {
		archive := output(t, succeeded(t, cluster, "backup"), "archive")
		succeeded(t, cluster, "deprovision", "finalBackup=false", "keepVolumes=true")
		message := refused(t, run(t, cluster, "restore", "archive="+archive), "restore")
		assert.Assert(t, strings.Contains(message, "empty"), message) // an external database is the user's to empty
		emptied(t, source)
		succeeded(t, cluster, "restore", "archive="+archive)
		soon(t, cluster, "kept-in-postgresql", "get", "configmaps", "-o", "name")
	})
	t.Run("and no other cluster is made of what it holds", func(t *testing.T) {
		assert.NilError(t, cluster.Remove(t.Context()))
		assert.NilError(t, cluster.Apply(t.Context()))
		_, err := cluster.Kubectl(t.Context(), "create", "secret", "generic", "database",
			"--from-literal=dataSource="+source)
		assert.NilError(t, err)
		message := refused(t, run(t, cluster, "provision"), "control-plane")
		assert.Assert(t, strings.Contains(message, "the store holds the state of another cluster"), message)
	})
}

func TestTwoClustersKnowNothingOfEachOther(t *testing.T) {
	requireSharedCluster(t)
	other := newCluster(t, nil)
	provision(t, other)
	for _, cluster := range []*site.Provisioned{sharedCluster.Provisioned, other} {
		soon(t, cluster, "ok", "get", "--raw", "/readyz")
	}
	assert.Equal(t, inside(t, other, "get", "nodes", "-o", "name"), "")

	for _, tt := range []struct{ plugin, namespace, secret, answer string }{
		{"team-b", "team-b", "team-b-pki", "yes"},
		{"team-b", "team-c", "team-c-pki", "no"},
		{"team-c", "team-b", "team-b-pki", "no"},
		{"team-c", "team-b", "team-b-kubeconfig", "no"},
		{"team-c", "team-a", site.Cluster + "-ssh", "no"},
	} {
		// kubectl says so by its exit code as well.
		out, _ := env.Kubectl(t.Context(), "auth", "can-i", "get", "secret/"+tt.secret, "-n", tt.namespace,
			"--as=system:serviceaccount:"+tt.plugin+":argosy-executor-plugin")
		assert.Assert(t, strings.HasPrefix(out, tt.answer), "%s's plugin and Secret %s/%s: %s", tt.plugin, tt.namespace,
			tt.secret, out)
	}
	_, err := env.Kubectl(t.Context(), "get", "secret", "team-b-pki", "-n", "team-b",
		"--as=system:serviceaccount:team-c:argosy-executor-plugin")
	assert.ErrorContains(t, err, "forbidden")
}

func TestAClusterMovesIntoEtcdWhileItsMachinesWait(t *testing.T) {
	requireSharedCluster(t)
	// The next test that needs the shared cluster makes it anew.
	t.Cleanup(func() {
		assert.NilError(t, sharedCluster.Remove(context.Background()))
		sharedCluster.Provisioned = nil
	})
	serves(t)
	inside(t, sharedCluster.Provisioned, "create", "configmap", "moved")
	before, kubelets := standing(t), kubeletsOf(t)

	sharedCluster.VCluster = func(d map[string]any) {
		site.Set(d, "controlPlane.backingStore.etcd.deploy.enabled",
			true)
	}
	assert.NilError(t, sharedCluster.ApplyDocuments(t.Context()))
	message := refused(t, run(t, sharedCluster.Provisioned, "provision"), "validate")
	assert.Assert(t, strings.Contains(message, "machines=keep"), message)
	message = refused(t, run(t, sharedCluster.Provisioned, "deprovision", "machines=keep"), "remove")
	assert.Assert(t, strings.Contains(message, "set it back"), message)

	into := sharedCluster.VCluster
	sharedCluster.VCluster = nil
	assert.NilError(t, sharedCluster.ApplyDocuments(t.Context()))
	archive := output(t, succeeded(t, sharedCluster.Provisioned, "deprovision", "machines=keep"), "archive")
	sharedCluster.VCluster = into
	assert.NilError(t, sharedCluster.ApplyDocuments(t.Context()))
	succeeded(t, sharedCluster.Provisioned, "restore", "archive="+archive, "replaceVolumes=true")
	stores, err := sharedCluster.Kubectl(t.Context(), "get", "pods", "-o", "name")
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(stores, "team-b-etcd-0"), stores)
	for _, machine := range sharedCluster.machines {
		soon(t, sharedCluster.Provisioned, "True", "get", "node", machine, "-o",
			`jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
	}
	assert.DeepEqual(t, standing(t).pods, before.pods)
	assert.DeepEqual(t, kubeletsOf(t), kubelets)
	soon(t, sharedCluster.Provisioned, "configmap/moved", "get", "configmap", "-o", "name")
	inside(t, sharedCluster.Provisioned, "rollout", "restart", "daemonset/web")
	inside(t, sharedCluster.Provisioned, "rollout", "status", "daemonset/web", "--timeout="+patience.String())
}

// keptInPostgreSQL is a cluster whose state is in a database of the lab's.
func keptInPostgreSQL(t *testing.T) (cluster *site.Provisioned, source string, w *wfv1.Workflow) {
	t.Helper()
	source, err := env.Lab.Postgres(t.Context())
	assert.NilError(t, err)
	cluster = newCluster(t, func(d map[string]any) {
		site.Set(d, "controlPlane.backingStore.database.external",
			map[string]any{"enabled": true, "connector": "database"})
		site.Set(d, "controlPlane.statefulSet.highAvailability.replicas", 2)
	})
	_, err = cluster.Kubectl(t.Context(), "create", "secret", "generic", "database",
		"--from-literal=dataSource="+source)
	assert.NilError(t, err)
	emptied(t, source)
	w = provision(t, cluster)
	inside(t, cluster, "create", "configmap", "kept-in-postgresql")
	return cluster, source, w
}

func TestAClusterIsKeptInPostgreSQL(t *testing.T) {
	cluster, source, w := keptInPostgreSQL(t)
	_, err := cluster.Kubectl(t.Context(), "delete", "pods",
		"-l", "app.kubernetes.io/component=control-plane", "--wait=true")
	assert.NilError(t, err)
	soon(t, cluster, "kept-in-postgresql", "get", "configmaps", "-o", "name")

	t.Run("whose password nobody sees", func(t *testing.T) {
		_, password, _ := strings.Cut(strings.TrimPrefix(source, "postgres://"), ":")
		password, _, _ = strings.Cut(password, "@")
		assert.Assert(t, len(password) > 5)
		for where, text := range map[string]string{
			"the host's processes": on(t, "host", "sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"),
			"the Workflow":         kubectl(t, "get", "workflow", "-n", cluster.Name, w.Name, "-o", "yaml"),
			"the StatefulSet":      kubectl(t, "get", "statefulset", "-n", cluster.Name, "-o", "yaml"),
			"the plugin's log": kubectl(t, "logs", "-n", cluster.Name, "-c", "argosy", "--tail=-1",
				"-l", "workflows.argoproj.io/workflow="+w.Name),
			"kine's log": kubectl(t, "logs", "-n", cluster.Name, "team-c-control-plane-0", "-c", "kine"),
		} {
			assert.Assert(t, !strings.Contains(text, password), "the password is in %s", where)
		}
	})
}

// emptied takes what kine keeps out of a database.
func emptied(t *testing.T, source string) {
	t.Helper()
	psql := exec.CommandContext(t.Context(), "psql", source, "--command", "DROP TABLE IF EXISTS kine")
	out, err := psql.CombinedOutput()
	assert.NilError(t, err, string(out))
}

func TestAnInterruptedProvisionIsFinishedByTheNext(t *testing.T) {
	cluster := newCluster(t, nil)
	out, err := cluster.Argo(t.Context(), "submit", "--from", "workflowtemplate/provision",
		"-p", "cluster=team-c", "-o", "name")
	assert.NilError(t, err)
	eventually(t, "the control plane's pods are wanted", func() bool {
		_, err := cluster.Kubectl(t.Context(), "get", "statefulset", "team-c-control-plane")
		return err == nil
	}, func() string { return "no StatefulSet yet" })
	_, err = cluster.Argo(t.Context(), "terminate", strings.TrimSpace(out))
	assert.NilError(t, err)

	provision(t, cluster)
	soon(t, cluster, "ok", "get", "--raw", "/readyz")
}

func TestMachinesDoNotNoticeThatTheHostNodeReboots(t *testing.T) {
	requireSharedCluster(t)
	serves(t)
	before := standing(t)
	address := inside(t, sharedCluster.Provisioned, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	asked := askFrom(t, "m1", "http://"+address+"/")

	assert.NilError(t, machineNamed(t, "host").Reboot(t.Context()))
	soon(t, sharedCluster.Provisioned, "ok", "get", "--raw", "/readyz")
	// Controllers that take a node for lost run again as well: this one gives a new namespace its service account.
	inside(t, sharedCluster.Provisioned, "create", "namespace", "after-the-reboot")
	soon(t, sharedCluster.Provisioned, "serviceaccount/default",
		"get", "serviceaccounts", "-n", "after-the-reboot", "-o", "name")
	after := standing(t)
	assert.DeepEqual(t, after.nodes, before.nodes)
	assert.DeepEqual(t, after.pods, before.pods)
	answers, failures := asked()
	t.Logf("a Service was asked %d times from m1 while the host node rebooted, %d without an answer",
		answers+failures, failures)
	assert.Assert(t, answers > 20)
	assert.Equal(t, failures, 0)
}
