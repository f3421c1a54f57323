// Package exporter shows the states of clusters as metrics of Prometheus. It reads them at each scrape and keeps
// nothing.
package exporter

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/state"
)

// Lister lists the states of clusters; *state.Store is one.
type Lister interface {
	List(ctx context.Context, namespace string) ([]state.State, error)
}

// collector is a prometheus.Collector.
type collector struct {
	states    Lister
	namespace string
	log       *slog.Logger
}

// New returns a collector of the metrics of all clusters of a namespace; empty is every namespace.
func New(states Lister, namespace string, log *slog.Logger) prometheus.Collector {
	return &collector{states: states, namespace: namespace, log: log}
}

// Labels that every metric about a cluster has.
var clusterLabels = []string{"namespace", "cluster"}

func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("argosy_"+name, help, append(clusterLabels[:len(clusterLabels):len(clusterLabels)],
		labels...), nil)
}

// The metrics. Times are seconds since 1970, so that an age is time() minus one of them.
var (
	scraped = prometheus.NewDesc("argosy_exporter_up", "Whether the states of clusters could be read (1) or not (0).",
		nil, nil)
	info = metric("cluster_info", "A cluster, with the version of its control plane and that of its documents.",
		"control_plane_version", "wanted_version", "hosted")
	condition = metric("cluster_condition", "1 for the status that a condition of a cluster has, 0 for the others.",
		"condition", "status")
	machines = metric("cluster_machines", "Machines of a cluster by their state.", "state")
	versions = metric("cluster_machine_versions", "Machines of a cluster by the version of their kubelet.", "version")
	drifted  = metric("cluster_drifted_machines", "Machines that differ from the documents.")
	omitted  = metric("cluster_omitted_machines", "Machines that the state of the cluster had no room for.")
	expiry   = metric("cluster_certificate_expiry_timestamp_seconds",
		"When the first certificate of a kind ends.", "certificate")
	backupTime = metric("cluster_backup_timestamp_seconds", "When the last archive was made.")
	backupSize = metric("cluster_backup_size_bytes", "Size of the last archive.")

	rolloutStart = metric("cluster_rollout_start_timestamp_seconds",
		"When the last rollout began.", "version")
	rolloutMachines = metric("cluster_rollout_machines", "Machines that take part in the last rollout.", "version")
	rolloutUpgraded = metric("cluster_rollout_upgraded_machines", "Machines that the last rollout upgraded.", "version")
	rolloutFailed   = metric("cluster_rollout_failed_machines", "Machines that failed in the last rollout.", "version")
	rolloutHalted   = metric("cluster_rollout_halted", "Whether the last rollout begins no machine any more (1).",
		"version")

	operationTime = metric("cluster_operation_timestamp_seconds",
		"When the last operation of a kind on the cluster as a whole ended.", "operation")
	operationDuration = metric("cluster_operation_duration_seconds",
		"How long the last operation of a kind on the cluster as a whole took.", "operation")
	operationSuccess = metric("cluster_operation_success",
		"Whether the last operation of a kind on the cluster as a whole succeeded (1) or not (0).", "operation")

	machineOperations = metric("cluster_machine_operations_total",
		"Ended operations on machines, by success or the class of their error.", "operation", "result")
	machineRetries = metric("cluster_machine_retries_total",
		"Repeated attempts of operations on machines, by the class of their error.", "operation", "class")
	machineBytes  = metric("cluster_machine_received_bytes_total", "Bytes that machines received.", "operation")
	phaseDuration = metric("cluster_machine_phase_duration_seconds",
		"How long phases took on machines where they did work.", "operation", "phase")

	machineInfo = metric("machine_info", "A machine, with its node, version and state.", "machine", "node", "version",
		"state")
	machineDuration = metric("machine_operation_duration_seconds", "How long the last operation on a machine took.",
		"machine", "operation")
	machineTime = metric("machine_change_timestamp_seconds", "When the row of a machine changed last.", "machine")
)

// Metrics are the descriptions of all metrics.
var Metrics = []*prometheus.Desc{
	scraped, info, condition, machines, versions, drifted, omitted, expiry, backupTime, backupSize, rolloutStart,
	rolloutMachines, rolloutUpgraded, rolloutFailed, rolloutHalted, operationTime, operationDuration, operationSuccess,
	machineOperations, machineRetries, machineBytes, phaseDuration, machineInfo, machineDuration, machineTime,
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, one := range Metrics {
		out <- one
	}
}

// scrapeTimeout bounds one read of all states; Prometheus waits for 10 s by default.
const scrapeTimeout = 8 * time.Second

// Collect implements prometheus.Collector. Where the states cannot be read, it has only argosy_exporter_up.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	states, err := c.states.List(ctx, c.namespace)
	if err != nil {
		c.log.Warn("the states of clusters could not be read", "error", err.Error())
		out <- prometheus.MustNewConstMetric(scraped, prometheus.GaugeValue, 0)
		return
	}
	out <- prometheus.MustNewConstMetric(scraped, prometheus.GaugeValue, 1)
	for i := range states {
		cluster{states[i].Namespace, states[i].Cluster, out}.send(&states[i].Status)
	}
}

var conditionStatuses = []metav1.ConditionStatus{
	metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown,
}

// cluster sends the metrics of one cluster.
type cluster struct {
	namespace, name string
	out             chan<- prometheus.Metric
}

func (c cluster) gauge(desc *prometheus.Desc, value float64, labels ...string) {
	c.out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value,
		append([]string{c.namespace, c.name}, labels...)...)
}

func (c cluster) counter(desc *prometheus.Desc, value int64, labels ...string) {
	c.out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value),
		append([]string{c.namespace, c.name}, labels...)...)
}

func (c cluster) send(status *state.Status) {
	hosted := "false"
	if status.Hosted {
		hosted = "true"
	}
	c.gauge(info, 1, status.ControlPlaneVersion, status.WantedVersion, hosted)
	for _, one := range status.Conditions {
		for _, value := range conditionStatuses {
			c.gauge(condition, boolean(one.Status == value), one.Type, strings.ToLower(string(value)))
		}
	}
	c.sendMachines(status)
	for i := range status.Totals {
		c.sendTotal(&status.Totals[i])
	}
	for _, one := range status.Certificates {
		c.gauge(expiry, seconds(one.Ends), one.Name)
	}
	if status.Backup != nil {
		c.gauge(backupTime, seconds(status.Backup.When))
		c.gauge(backupSize, float64(status.Backup.Bytes))
	}
	if rollout := status.Rollout; rollout != nil {
		c.gauge(rolloutStart, seconds(rollout.Started), rollout.Version)
		c.gauge(rolloutMachines, float64(rollout.Machines), rollout.Version)
		c.gauge(rolloutUpgraded, float64(rollout.Upgraded), rollout.Version)
		c.gauge(rolloutFailed, float64(rollout.Failed), rollout.Version)
		c.gauge(rolloutHalted, boolean(rollout.Halted != ""), rollout.Version)
	}
	for _, one := range status.Operations {
		c.gauge(operationTime, seconds(one.When), one.Name)
		c.gauge(operationDuration, float64(one.Seconds), one.Name)
		c.gauge(operationSuccess, boolean(one.Succeeded), one.Name)
	}
}

func (c cluster) sendMachines(status *state.Status) {
	byState, byVersion, differing := status.CountStates(), map[string]int{}, 0
	for i := range status.Machines {
		row := &status.Machines[i]
		if row.Version != "" {
			byVersion[row.Version]++
		}
		if row.Drifted {
			differing++
		}
		c.gauge(machineInfo, 1, row.Name, row.Node, row.Version, string(row.State))
		c.gauge(machineTime, seconds(row.When), row.Name)
		if row.Operation != "" {
			c.gauge(machineDuration, float64(row.Seconds), row.Name, row.Operation)
		}
	}
	for _, one := range state.MachineStates {
		c.gauge(machines, float64(byState[one]), string(one))
	}
	for version, number := range byVersion {
		c.gauge(versions, float64(number), version)
	}
	c.gauge(drifted, float64(differing))
	c.gauge(omitted, float64(status.Omitted))
}

// sendTotal sends the counters of one operation. A summary has the sum and the number of a phase's durations.
func (c cluster) sendTotal(total *state.Total) {
	c.counter(machineOperations, total.Succeeded, total.Operation, "succeeded")
	for _, one := range total.Failed {
		c.counter(machineOperations, one.Count, total.Operation, one.Class)
	}
	for _, one := range total.Retries {
		c.counter(machineRetries, one.Count, total.Operation, one.Class)
	}
	c.counter(machineBytes, total.Bytes, total.Operation)
	for _, phase := range total.Phases {
		c.out <- prometheus.MustNewConstSummary(phaseDuration, uint64(max(phase.Count, 0)), phase.Seconds, nil,
			c.namespace, c.name, total.Operation, phase.Name)
	}
}

func boolean(value bool) float64 {
	if value {
		return 1
	}
	return 0
}

// seconds returns a time as Prometheus has it; 0 for none.
func seconds(at metav1.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return float64(at.Unix())
}
