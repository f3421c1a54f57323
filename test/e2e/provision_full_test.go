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

// Tests of provision, backup and restore that take long.

func TestEtcdSurvivesLossOfOneMember(t *testing.T) {
	cluster := newCluster(t, func(d map[string]any) {
		site.Set(d, "controlPlane.backingStore.etcd.deploy.enabled", true)
		site.Set(d, "controlPlane.backingStore.etcd.deploy.statefulSet.highAvailability.replicas", 3)
		site.Set(d, "controlPlane.statefulSet.highAvailability.replicas", 2)
	})
	mustSucceed(t, cluster, "provision")
	pods := hostKubectl(t, cluster, "get", "pods", "-o", "name")
	for _, pod := range []string{
		"team-c-etcd-0", "team-c-etcd-1", "team-c-etcd-2", "team-c-control-plane-0",
		"team-c-control-plane-1",
	} {
		assertContains(t, pods, pod)
	}

	// A cordoned host node keeps the member from starting again.
	hostKubectl(t, teamA(), "cordon", "host")
	t.Cleanup(func() { _, _ = env.HostKubectl(context.Background(), "uncordon", "host") })
	hostKubectl(t, cluster, "delete", "pod", "team-c-etcd-1", "--grace-period=1", "--wait=true")
	for i := range 20 {
		kubectl(t, cluster, "create", "configmap", fmt.Sprintf("written-%d", i))
	}
	phase := hostKubectl(t, cluster, "get", "pod", "team-c-etcd-1", "-o", "jsonpath={.status.phase}")
	assert.Equal(t, phase, "Pending")
	hostKubectl(t, teamA(), "uncordon", "host")

	hostKubectl(t, cluster, "rollout", "status", "statefulset/team-c-etcd",
		"--timeout="+patience.String())
	mustSucceed(t, cluster, "provision")
	assertContains(t, kubectl(t, cluster, "get", "configmaps", "-o", "name"), "written-19")
}

func TestMachinesJoinThroughNodePort(t *testing.T) {
	cluster := newCluster(t, func(d map[string]any) { site.Set(d, "controlPlane.service.spec.type", "NodePort") }, "m5")
	message := step(t, mustFail(t, cluster, "provision"), "control-plane").Message
	assertContains(t, message, "install/rbac/node-port")

	mayReadHostNodes(t)
	endpoint := output(t, mustSucceed(t, cluster, "provision"), "endpoint")
	port := hostKubectl(t, cluster, "get", "service", "team-c", "-o",
		`jsonpath={.spec.ports[?(@.name=="https")].nodePort}`)
	assert.Equal(t, endpoint, "10.117.0.10:"+port)

	mustSucceed(t, cluster, "join")
	eventuallyReady(t, cluster, "m5")
	// Logs go through konnectivity's node port.
	eventuallyPrints(t, cluster, "I", "logs", "-n", "kube-system", "daemonset/kube-proxy")
}

// mayReadHostNodes gives team-c's plugin the right to read the host cluster's nodes.
func mayReadHostNodes(t *testing.T) {
	t.Helper()
	hostKubectl(t, teamA(), "apply", "-k", filepath.Join(env.Source, "install", "rbac", "node-port"))
	hostKubectl(t, teamA(), "create", "clusterrolebinding", "argosy-node-reader-team-c",
		"--clusterrole=argosy-node-reader",
		"--serviceaccount=team-c:argosy-executor-plugin")
	t.Cleanup(func() {
		_, _ = env.HostKubectl(context.Background(), "delete", "clusterrolebinding", "argosy-node-reader-team-c")
	})
}

// The host cluster has one node: a second one is an address more of its machine, and a Node whose name comes first.
func TestMachinesMoveToAnotherHostNode(t *testing.T) {
	const machine, second, address = "m5", "a-second-host", "10.117.0.19"
	runOn(t, "host", "ip", "address", "add", address+"/32", "dev", "eth0")
	node := func(ctx context.Context) error {
		return env.Apply(ctx, []any{map[string]any{
			"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": second},
			"spec": map[string]any{"unschedulable": true},
		}})
	}
	gone := func(ctx context.Context) {
		_, _ = env.HostKubectl(ctx, "delete", "node", second, "--ignore-not-found")
		_, _ = env.Lab.Exec(ctx, "host", "ip", "address", "del", address+"/32", "dev", "eth0")
	}
	t.Cleanup(func() { gone(context.Background()) })
	assert.NilError(t, node(t.Context()))
	cluster := newCluster(t, func(d map[string]any) { site.Set(d, "controlPlane.service.spec.type", "NodePort") },
		machine)
	mayReadHostNodes(t)
	hostKubectl(t, teamA(), "patch", "node", second, "--subresource=status", "-p", `{"status": {
		"addresses": [{"type": "InternalIP", "address": "`+address+`"}],
		"conditions": [{"type": "Ready", "status": "True", "reason": "OfTheTest"}]}}`)
	first := output(t, mustSucceed(t, cluster, "provision"), "endpoint")
	assert.Assert(t, strings.HasPrefix(first, address+":"), first)
	mustSucceed(t, cluster, "join")
	eventuallyReady(t, cluster, machine)

	gone(t.Context())
	w := mustSucceed(t, cluster, "provision")
	endpoint := output(t, w, "endpoint")
	assert.Assert(t, strings.HasPrefix(endpoint, "10.117.0.10:"), endpoint)
	assertContains(t, step(t, w, "control-plane").Message, "machines that joined before know it at "+first,
		"submit join, which moves machines that are cut off")
	assertContains(t, step(t, mustSucceed(t, cluster, "join"), machine).Message, "node "+machine+" is Ready")
	assertContains(t, runOn(t, machine, "cat", "/etc/kubernetes/kubelet.conf"), "server: https://"+endpoint)
	eventuallyReady(t, cluster, machine)
	eventuallyPrints(t, cluster, "I", "logs", "-n", "kube-system", "daemonset/kube-proxy")
	assertContains(t, step(t, mustSucceed(t, cluster, "reconcile"), "plan").Message, "0 of 1 machines differ")
}

func TestBackupAndRestoreInPostgreSQL(t *testing.T) {
	cluster, source, _ := newPostgresCluster(t)
	t.Run("it is backed up and restored", func(t *testing.T) {
		archive := output(t, mustSucceed(t, cluster, "backup"), "archive")
		mustSucceed(t, cluster, "deprovision", "finalBackup=false", "keepVolumes=true")
		message := step(t, mustFail(t, cluster, "restore", "archive="+archive), "restore").Message
		assertContains(t, message, "empty") // an external database is the user's to empty
		dropTable(t, source)
		mustSucceed(t, cluster, "restore", "archive="+archive)
		eventuallyPrints(t, cluster, "kept-in-postgresql", "get", "configmaps", "-o", "name")
	})
	t.Run("another cluster cannot use its database", func(t *testing.T) {
		assert.NilError(t, cluster.Remove(t.Context()))
		assert.NilError(t, cluster.Install(t.Context()))
		hostKubectl(t, cluster, "create", "secret", "generic", "database",
			"--from-literal=dataSource="+source)
		message := step(t, mustFail(t, cluster, "provision"), "control-plane").Message
		assertContains(t, message, "the store holds the state of another cluster")
	})
}

func TestClustersAreIsolated(t *testing.T) {
	requireSharedCluster(t)
	other := newCluster(t, nil)
	mustSucceed(t, other, "provision")
	for _, cluster := range []*site.HostedCluster{sharedCluster, other} {
		eventuallyPrints(t, cluster, "ok", "get", "--raw", "/readyz")
	}
	assert.Equal(t, kubectl(t, other, "get", "nodes", "-o", "name"), "")

	for _, tt := range []struct{ plugin, namespace, secret, answer string }{
		{"team-b", "team-b", "team-b-pki", "yes"},
		{"team-b", "team-c", "team-c-pki", "no"},
		{"team-c", "team-b", "team-b-pki", "no"},
		{"team-c", "team-b", "team-b-kubeconfig", "no"},
		{"team-c", "team-a", site.TeamA + "-ssh", "no"},
	} {
		// kubectl exits with 1 where the answer is no.
		out, _ := env.HostKubectl(t.Context(), "auth", "can-i", "get", "secret/"+tt.secret, "-n", tt.namespace,
			"--as=system:serviceaccount:"+tt.plugin+":argosy-executor-plugin")
		assert.Assert(t, strings.HasPrefix(out, tt.answer), "%s's plugin and Secret %s/%s: %s", tt.plugin, tt.namespace,
			tt.secret, out)
	}
	_, err := env.HostKubectl(t.Context(), "get", "secret", "team-b-pki", "-n", "team-b",
		"--as=system:serviceaccount:team-c:argosy-executor-plugin")
	assert.ErrorContains(t, err, "forbidden")
}

func TestClusterMovesToEtcdAndKeepsMachines(t *testing.T) {
	requireSharedCluster(t)
	// The next test that needs the shared cluster makes it anew.
	t.Cleanup(func() {
		assert.NilError(t, sharedCluster.Remove(context.Background()))
		sharedCluster = nil
	})
	deployWeb(t)
	kubectl(t, sharedCluster, "create", "configmap", "moved")
	before, pids := readState(t), kubeletsOf(t)

	sharedCluster.VCluster = func(d map[string]any) {
		site.Set(d, "controlPlane.backingStore.etcd.deploy.enabled",
			true)
	}
	assert.NilError(t, sharedCluster.ApplyDocuments(t.Context()))
	message := step(t, mustFail(t, sharedCluster, "provision"), "validate").Message
	assertContains(t, message, "machines=keep")
	message = step(t, mustFail(t, sharedCluster, "deprovision", "machines=keep"), "remove").Message
	assertContains(t, message, "set it back")

	into := sharedCluster.VCluster
	sharedCluster.VCluster = nil
	assert.NilError(t, sharedCluster.ApplyDocuments(t.Context()))
	archive := output(t, mustSucceed(t, sharedCluster, "deprovision", "machines=keep"), "archive")
	sharedCluster.VCluster = into
	assert.NilError(t, sharedCluster.ApplyDocuments(t.Context()))
	mustSucceed(t, sharedCluster, "restore", "archive="+archive, "replaceVolumes=true")
	stores := hostKubectl(t, sharedCluster, "get", "pods", "-o", "name")
	assertContains(t, stores, "team-b-etcd-0")
	eventuallyReady(t, sharedCluster, sharedCluster.Machines...)
	assert.DeepEqual(t, readState(t).pods, before.pods)
	assert.DeepEqual(t, kubeletsOf(t), pids)
	eventuallyPrints(t, sharedCluster, "configmap/moved", "get", "configmap", "-o", "name")
	kubectl(t, sharedCluster, "rollout", "restart", "daemonset/web")
	kubectl(t, sharedCluster, "rollout", "status", "daemonset/web", "--timeout="+patience.String())
}

// newPostgresCluster provisions a cluster whose state is in a database of the lab's PostgreSQL.
func newPostgresCluster(t *testing.T) (cluster *site.HostedCluster, source string, w *wfv1.Workflow) {
	t.Helper()
	source, err := env.Lab.Postgres(t.Context())
	assert.NilError(t, err)
	cluster = newCluster(t, func(d map[string]any) {
		site.Set(d, "controlPlane.backingStore.database.external",
			map[string]any{"enabled": true, "connector": "database"})
		site.Set(d, "controlPlane.statefulSet.highAvailability.replicas", 2)
	})
	hostKubectl(t, cluster, "create", "secret", "generic", "database",
		"--from-literal=dataSource="+source)
	dropTable(t, source)
	w = mustSucceed(t, cluster, "provision")
	kubectl(t, cluster, "create", "configmap", "kept-in-postgresql")
	return cluster, source, w
}

func TestClusterStoresStateInPostgreSQL(t *testing.T) {
	cluster, source, w := newPostgresCluster(t)
	hostKubectl(t, cluster, "delete", "pods",
		"-l", "app.kubernetes.io/component=control-plane", "--wait=true")
	eventuallyPrints(t, cluster, "kept-in-postgresql", "get", "configmaps", "-o", "name")

	t.Run("the password is not visible", func(t *testing.T) {
		_, password, _ := strings.Cut(strings.TrimPrefix(source, "postgres://"), ":")
		password, _, _ = strings.Cut(password, "@")
		assert.Assert(t, len(password) > 5)
		for where, text := range map[string]string{
			"the host's processes": runOn(t, "host", "sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"),
			"the Workflow": hostKubectl(t, cluster, "get", "workflow", w.Name, "-o",
				"yaml"),
			"the StatefulSet": hostKubectl(t, cluster, "get", "statefulset", "-o", "yaml"),
			"the plugin's log": hostKubectl(t, cluster, "logs", "-c", "argosy", "--tail=-1",
				"-l", "workflows.argoproj.io/workflow="+w.Name),
			"kine's log": hostKubectl(t, cluster, "logs", "team-c-control-plane-0", "-c", "kine"),
		} {
			assert.Assert(t, !strings.Contains(text, password), "the password is in %s", where)
		}
	})
}

// dropTable drops kine's table.
func dropTable(t *testing.T, source string) {
	t.Helper()
	psql := exec.CommandContext(t.Context(), "psql", source, "--command", "DROP TABLE IF EXISTS kine")
	out, err := psql.CombinedOutput()
	assert.NilError(t, err, string(out))
}

func TestInterruptedProvisionIsFinishedByNextRun(t *testing.T) {
	cluster := newCluster(t, nil)
	out, err := cluster.Argo(t.Context(), "submit", "--from", "workflowtemplate/provision",
		"-p", "cluster=team-c", "-o", "name")
	assert.NilError(t, err)
	eventually(t, "the control plane's pods are wanted", func() bool {
		_, err := cluster.HostKubectl(t.Context(), "get", "statefulset", "team-c-control-plane")
		return err == nil
	}, func() string { return "no StatefulSet yet" })
	_, err = cluster.Argo(t.Context(), "terminate", strings.TrimSpace(out))
	assert.NilError(t, err)

	mustSucceed(t, cluster, "provision")
	eventuallyPrints(t, cluster, "ok", "get", "--raw", "/readyz")
}

func TestMachinesServeWhileHostNodeReboots(t *testing.T) {
	requireSharedCluster(t)
	deployWeb(t)
	before := readState(t)
	address := kubectl(t, sharedCluster, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	asked := pollFrom(t, "m1", "http://"+address+"/")

	assert.NilError(t, machineNamed(t, "host").Reboot(t.Context()))
	eventuallyPrints(t, sharedCluster, "ok", "get", "--raw", "/readyz")
	// The controllers that would declare a node lost run again too: one of them gives a new namespace its service
	// account.
	kubectl(t, sharedCluster, "create", "namespace", "after-the-reboot")
	eventuallyPrints(t, sharedCluster, "serviceaccount/default",
		"get", "serviceaccounts", "-n", "after-the-reboot", "-o", "name")
	after := readState(t)
	assert.DeepEqual(t, after.nodes, before.nodes)
	assert.DeepEqual(t, after.pods, before.pods)
	answers, failures := asked()
	t.Logf("a Service was asked %d times from m1 while the host node rebooted, %d without an answer",
		answers+failures, failures)
	assert.Assert(t, answers > 20)
	assert.Equal(t, failures, 0)
}
