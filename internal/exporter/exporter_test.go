package exporter_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"gotest.tools/v3/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/exporter"
	"argosy.dev/argosy/internal/state"
	"argosy.dev/argosy/pkg/errclass"
)

// stored is a Lister; nil fails.
type stored []state.State

func (s stored) List(context.Context, string) ([]state.State, error) {
	if s == nil {
		return nil, errors.New("forbidden")
	}
	return s, nil
}

var at = time.Unix(1_800_000_000, 0)

// cluster is one of which everything is known.
func cluster() stored {
	var status state.Status
	for _, change := range []state.Change{
		state.Described(state.Documents{
			Hosted: true, WantedVersion: "v1.35.1", ControlPlaneVersion: "v1.35.1", Machines: []string{"m1", "m2"},
		}),
		state.RolloutBegan(state.Rollout{Version: "v1.35.1", Started: metav1.NewTime(at), Machines: 2}),
		state.Ended(state.End{
			Machine: "m1", Node: "n1", Operation: state.OperationUpgrade, Version: "v1.35.1", State: state.Ready,
			At: at, Took: time.Minute, Retries: map[errclass.Class]int{errclass.Transient: 2}, Bytes: 4096,
			Phases: []state.PhaseTotal{
				{Name: "drain", Count: 1, Seconds: 12.5}, {Name: "ready", Count: 1, Seconds: 3},
			},
		}),
		state.Ended(state.End{
			Machine: "m2", Operation: state.OperationUpgrade, Version: "v1.34.4", State: state.Failed, At: at,
			Failed: errclass.Configuration, Phases: []state.PhaseTotal{{Name: "drain", Count: 1, Seconds: 2}},
		}),
		state.Operated(state.Operation{Name: "backup", Succeeded: true, When: metav1.NewTime(at), Seconds: 7}),
		state.BackedUp(state.Backup{Archive: "a", When: metav1.NewTime(at), Bytes: 1024}),
		state.CertificateEnds(state.CertificateAuthority, at.Add(time.Hour)),
	} {
		change(&status)
	}
	status.Evaluate(at)
	return stored{{Namespace: "team-a", Cluster: "a", Status: status}}
}

func collector(states exporter.Lister) prometheus.Collector {
	return exporter.New(states, "", slog.New(slog.DiscardHandler))
}

func TestMetricsFollowPrometheusRules(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	assert.NilError(t, registry.Register(collector(cluster())))
	problems, err := testutil.GatherAndLint(registry)
	assert.NilError(t, err)
	assert.Equal(t, len(problems), 0, "%v", problems)
}

func TestTheStateOfAClusterIsShownAsMetrics(t *testing.T) {
	const want = `
# HELP argosy_cluster_machines Machines of a cluster by their state.
# TYPE argosy_cluster_machines gauge
argosy_cluster_machines{cluster="a",namespace="team-a",state="Failed"} 1
argosy_cluster_machines{cluster="a",namespace="team-a",state="NotReady"} 0
argosy_cluster_machines{cluster="a",namespace="team-a",state="Pending"} 0
argosy_cluster_machines{cluster="a",namespace="team-a",state="Ready"} 1
argosy_cluster_machines{cluster="a",namespace="team-a",state="Refused"} 0
argosy_cluster_machines{cluster="a",namespace="team-a",state="Removed"} 0
argosy_cluster_machines{cluster="a",namespace="team-a",state="Working"} 0
# HELP argosy_cluster_machine_versions Machines of a cluster by the version of their kubelet.
# TYPE argosy_cluster_machine_versions gauge
argosy_cluster_machine_versions{cluster="a",namespace="team-a",version="v1.34.4"} 1
argosy_cluster_machine_versions{cluster="a",namespace="team-a",version="v1.35.1"} 1
# HELP argosy_cluster_backup_timestamp_seconds When the last archive was made.
# TYPE argosy_cluster_backup_timestamp_seconds gauge
argosy_cluster_backup_timestamp_seconds{cluster="a",namespace="team-a"} 1.8e+09
# HELP argosy_cluster_certificate_expiry_timestamp_seconds When the first certificate of a kind ends.
# TYPE argosy_cluster_certificate_expiry_timestamp_seconds gauge
` + `argosy_cluster_certificate_expiry_timestamp_seconds{certificate="authority",cluster="a",namespace="team-a"} ` +
		`1.8000036e+09
# HELP argosy_cluster_rollout_upgraded_machines Machines that the last rollout upgraded.
# TYPE argosy_cluster_rollout_upgraded_machines gauge
argosy_cluster_rollout_upgraded_machines{cluster="a",namespace="team-a",version="v1.35.1"} 1
# HELP argosy_cluster_rollout_failed_machines Machines that failed in the last rollout.
# TYPE argosy_cluster_rollout_failed_machines gauge
argosy_cluster_rollout_failed_machines{cluster="a",namespace="team-a",version="v1.35.1"} 1
# HELP argosy_cluster_operation_duration_seconds How long the last operation of a kind on the cluster as a whole took.
# TYPE argosy_cluster_operation_duration_seconds gauge
argosy_cluster_operation_duration_seconds{cluster="a",namespace="team-a",operation="backup"} 7
# HELP argosy_machine_operation_duration_seconds How long the last operation on a machine took.
# TYPE argosy_machine_operation_duration_seconds gauge
argosy_machine_operation_duration_seconds{cluster="a",machine="m1",namespace="team-a",operation="upgrade"} 60
argosy_machine_operation_duration_seconds{cluster="a",machine="m2",namespace="team-a",operation="upgrade"} 0
`
	assert.NilError(t, testutil.CollectAndCompare(collector(cluster()), strings.NewReader(want),
		"argosy_cluster_machines", "argosy_cluster_machine_versions", "argosy_cluster_backup_timestamp_seconds",
		"argosy_cluster_certificate_expiry_timestamp_seconds", "argosy_cluster_rollout_upgraded_machines",
		"argosy_cluster_rollout_failed_machines", "argosy_cluster_operation_duration_seconds",
		"argosy_machine_operation_duration_seconds"))
}

func TestWorkOnMachinesIsCountedByOperation(t *testing.T) {
	const want = `
# HELP argosy_cluster_machine_operations_total Ended operations on machines, by success or the class of their error.
# TYPE argosy_cluster_machine_operations_total counter
argosy_cluster_machine_operations_total{cluster="a",namespace="team-a",operation="upgrade",result="configuration"} 1
argosy_cluster_machine_operations_total{cluster="a",namespace="team-a",operation="upgrade",result="succeeded"} 1
# HELP argosy_cluster_machine_phase_duration_seconds How long phases took on machines where they did work.
# TYPE argosy_cluster_machine_phase_duration_seconds summary
argosy_cluster_machine_phase_duration_seconds_sum{cluster="a",namespace="team-a",operation="upgrade",phase="drain"} 14.5
argosy_cluster_machine_phase_duration_seconds_count{cluster="a",namespace="team-a",operation="upgrade",phase="drain"} 2
argosy_cluster_machine_phase_duration_seconds_sum{cluster="a",namespace="team-a",operation="upgrade",phase="ready"} 3
argosy_cluster_machine_phase_duration_seconds_count{cluster="a",namespace="team-a",operation="upgrade",phase="ready"} 1
# HELP argosy_cluster_machine_received_bytes_total Bytes that machines received.
# TYPE argosy_cluster_machine_received_bytes_total counter
argosy_cluster_machine_received_bytes_total{cluster="a",namespace="team-a",operation="upgrade"} 4096
# HELP argosy_cluster_machine_retries_total Repeated attempts of operations on machines, by the class of their error.
# TYPE argosy_cluster_machine_retries_total counter
argosy_cluster_machine_retries_total{class="transient",cluster="a",namespace="team-a",operation="upgrade"} 2
`
	assert.NilError(t, testutil.CollectAndCompare(collector(cluster()), strings.NewReader(want),
		"argosy_cluster_machine_operations_total", "argosy_cluster_machine_phase_duration_seconds",
		"argosy_cluster_machine_received_bytes_total", "argosy_cluster_machine_retries_total"))
}

func TestAHostClusterThatAnswersNotIsShown(t *testing.T) {
	const want = `
# HELP argosy_exporter_up Whether the states of clusters could be read (1) or not (0).
# TYPE argosy_exporter_up gauge
argosy_exporter_up 0
`
	assert.NilError(t, testutil.CollectAndCompare(collector(stored(nil)), strings.NewReader(want)))
}

// A metric that is described and never sent, or the other way round, would make rules and dashboards silent.
func TestEveryMetricIsSent(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	assert.NilError(t, registry.Register(collector(cluster())))
	families, err := registry.Gather()
	assert.NilError(t, err)
	assert.Equal(t, len(families), len(exporter.Metrics))
	page, err := os.ReadFile("../../docs/metrics.md")
	assert.NilError(t, err)
	for _, family := range families {
		assert.Check(t, regexp.MustCompile("(?m)^\\| `"+family.GetName()+"`").Match(page), family.GetName())
	}
}
