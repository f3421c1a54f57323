package e2e_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// TestStateIsKeptListedAndScraped joins a machine without the kind ClusterState, installs that kind and the exporter as
// their pages describe, joins again, and reads the state in each way that others do.
func TestStateIsKeptListedAndScraped(t *testing.T) {
	const machine = "m2"
	resetMachines(t, machine)
	mustSucceed(t, teamA(), "join", "machines="+machine)
	assertContains(t, hostKubectl(t, teamA(), "get", "configmap", "argosy-state", "-o", "jsonpath={.data}"),
		`\"name\":\"`+machine+`\"`)

	for _, folder := range []string{"crd", "exporter"} {
		path := filepath.Join(env.Source, "install", folder)
		hostKubectl(t, teamA(), "apply", "-k", path)
		t.Cleanup(func() {
			_, err := teamA().HostKubectl(context.Background(), "delete", "--ignore-not-found", "-k", path)
			assert.NilError(t, err)
		})
	}
	hostKubectl(t, teamA(), "wait", "--for=condition=Established", "crd/clusterstates.argosy.dev",
		"--timeout="+patience.String())
	resetMachines(t, machine) // a machine that is as wanted makes no event
	mustSucceed(t, teamA(), "join", "machines="+machine)
	assert.Equal(t, hostKubectl(t, teamA(), "get", "clusterstate", "team-a", "-o",
		`jsonpath={.status.machines[?(@.name=="`+machine+`")].state}`), "Ready")
	listed := argosy(t, "get", "machines", "--namespace", "team-a", "-o", "json")
	assertContains(t, listed, `"`+machine+`"`, `"Ready"`)
	events := hostKubectl(t, teamA(), "get", "events", "--field-selector", "involvedObject.kind=ClusterState", "-o",
		"jsonpath={range .items[*]}{.message}{'\\n'}{end}")
	assertContains(t, events, machine)

	hostKubectl(t, teamA(), "rollout", "status", "deployment/argosy-exporter", "--timeout="+patience.String())
	var metrics string
	eventually(t, "the exporter tells of "+machine, func() bool {
		var err error
		metrics, err = teamA().HostKubectl(t.Context(), "get", "--raw",
			"/api/v1/namespaces/team-a/services/argosy-exporter:metrics/proxy/metrics")
		return err == nil && strings.Contains(metrics, `argosy_machine_info{cluster="team-a",machine="`+machine+`"`)
	}, func() string { return metrics })
	assertContains(t, metrics, "argosy_exporter_up 1", `argosy_cluster_machines{cluster="team-a",`)
}
