package e2e_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/site"
)

// Clusters of other kinds than team-b: other stores, other ways in. Each test makes its own, and removes it.

// village is a cluster of one test, in its own namespace.
func village(t *testing.T, vcluster func(document map[string]any), machines ...string) *site.Provisioned {
	t.Helper()
	cluster := the.Provisioned("team-c", machines...)
	cluster.VCluster = vcluster
	assert.NilError(t, cluster.Remove(t.Context()))
	if len(machines) > 0 {
		assert.NilError(t, the.Lab.ResetBare(t.Context(), machines...))
	}
	assert.NilError(t, cluster.Apply(t.Context()))
	t.Cleanup(func() {
		assert.NilError(t, cluster.Remove(context.Background()))
		if len(machines) > 0 {
			assert.NilError(t, the.Lab.Reset(context.Background(), machines...))
		}
	})
	return cluster
}

// keptInPostgreSQL is a cluster whose state is in a database of the lab's.
func keptInPostgreSQL(t *testing.T) (cluster *site.Provisioned, source string, w *wfv1.Workflow) {
	t.Helper()
	source, err := the.Lab.Postgres(t.Context())
	assert.NilError(t, err)
	cluster = village(t, func(d map[string]any) {
		site.Set(d, "controlPlane.backingStore.database.external", map[string]any{"enabled": true, "connector": "database"})
		site.Set(d, "controlPlane.statefulSet.highAvailability.replicas", 2)
	})
	_, err = cluster.Kubectl(t.Context(), "create", "secret", "generic", "database", "--from-literal=dataSource="+source)
	assert.NilError(t, err)
	emptied(t, source)
	w = provision(t, cluster)
	inside(t, cluster, "create", "configmap", "kept-in-postgresql")
	return cluster, source, w
}

func TestAClusterIsKeptInPostgreSQL(t *testing.T) {
	cluster, source, w := keptInPostgreSQL(t)
	_, err := cluster.Kubectl(t.Context(), "delete", "pods", "-l", "app.kubernetes.io/component=control-plane", "--wait=true")
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
			"the plugin's log":     kubectl(t, "logs", "-n", cluster.Name, "-l", "workflows.argoproj.io/workflow="+w.Name, "-c", "argosy", "--tail=-1"),
			"kine's log":           kubectl(t, "logs", "-n", cluster.Name, "team-c-control-plane-0", "-c", "kine"),
		} {
			assert.Assert(t, !strings.Contains(text, password), "the password is in %s", where)
		}
	})
}

// emptied takes what kine keeps out of a database.
func emptied(t *testing.T, source string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "psql", source, "--command", "DROP TABLE IF EXISTS kine").CombinedOutput()
	assert.NilError(t, err, string(out))
}

func TestAnInterruptedProvisionIsFinishedByTheNext(t *testing.T) {
	cluster := village(t, nil)
	out, err := cluster.Argo(t.Context(), "submit", "--from", "workflowtemplate/provision", "-p", "cluster=team-c", "-o", "name")
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
