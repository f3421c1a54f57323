package config

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Upgrade is how machines are upgraded to another version of Kubernetes, beside privateNodes.autoUpgrade of
// vcluster.yaml.
type Upgrade struct {
	// Canaries are upgraded before all others: names, or a label selector such as rack=a. If one of them fails, nothing
	// else is touched, whatever failureBudget is.
	// +example=gpu-1,gpu-2
	Canaries string `json:"canaries,omitempty"`
	// MaxUnavailable is how many machines may be out of service at once, for whatever reason, as a number or as a
	// percentage, rounded down, and 1 at least. Default: privateNodes.autoUpgrade.concurrency.
	// +example=25%
	MaxUnavailable Amount `json:"maxUnavailable,omitempty"`
	// WaveSize is how many machines make up a wave, as a number or as a percentage, rounded up. A wave is staged before
	// any of it is cordoned, and pauses and approvals lie between waves. Default: maxUnavailable.
	// +example=10
	WaveSize Amount `json:"waveSize,omitempty"`
	// FailureBudget is how many machines may fail, as a number or as a percentage, before no other one is begun.
	// Default 0.
	// +example=2
	FailureBudget Amount `json:"failureBudget,omitempty"`
	// ZoneLabel is the node label by whose values waves are ordered; no wave mixes them.
	// +example=topology.kubernetes.io/zone
	ZoneLabel string `json:"zoneLabel,omitempty"`
	// Pause between two waves.
	// +example=30m
	Pause metav1.Duration `json:"pause,omitzero"`
	// Approval decides after which waves a person has to approve the next one.
	Approval string `json:"approval,omitempty" enum:"never,canaries,always"`
	// MinReady is how long a node has to be Ready at its new version, and its pods to run, before it takes new ones.
	// Default 10s.
	// +example=2m
	MinReady metav1.Duration `json:"minReady,omitzero"`
	// ControlPlaneGrace is how long the control plane has to run its new version before the first machine follows.
	// Default 2m.
	// +example=10m
	ControlPlaneGrace metav1.Duration `json:"controlPlaneGrace,omitzero"`
	// NodeGrace is the age below which a node is left for the next time. Default 2m.
	// +example=10m
	NodeGrace metav1.Duration `json:"nodeGrace,omitzero"`
	// Drain evicts the pods of a node before its machine is upgraded. Without it they run on, as long as containerd
	// stays.
	// +example=false
	Drain bool `json:"drain,omitempty"`
	// OnDrainTimeout applies to a machine whose pods don't leave within drain.timeout, mostly because of a
	// PodDisruptionBudget: stop fails it, skip leaves it as it is and goes on without counting it as failed, force
	// deletes the pods that are left.
	OnDrainTimeout string `json:"onDrainTimeout,omitempty" enum:"stop,skip,force"`
	// Rules are exceptions for some machines; the first that fits a machine counts.
	Rules []UpgradeRule `json:"rules,omitempty"`
	// Rollback puts a machine that does not come up at the new version back to the old one. Default true.
	// +example=false
	Rollback bool `json:"rollback,omitempty"`
}

// UpgradeRule is an exception for some machines. Keys that it leaves out have the value of all machines.
type UpgradeRule struct {
	// Machines are names, or a label selector.
	// +example=gpu=yes
	Machines string `json:"machines"`
	// Drain instead of upgrade.drain.
	// +example=false
	Drain *bool `json:"drain,omitempty"`
	// DrainTimeout instead of drain.timeout.
	// +example=30m
	DrainTimeout metav1.Duration `json:"drainTimeout,omitzero"`
	// OnDrainTimeout instead of upgrade.onDrainTimeout.
	OnDrainTimeout string `json:"onDrainTimeout,omitempty" enum:"stop,skip,force"`
}

// The values of upgrade.onDrainTimeout.
const (
	DrainStop  = "stop"
	DrainSkip  = "skip"
	DrainForce = "force"
)

// The values of upgrade.approval.
const (
	ApproveNever    = "never"
	ApproveCanaries = "canaries"
	ApproveAlways   = "always"
)

// Amount is a number of machines, or a percentage of them: "3", "25%".
type Amount string

var amount = regexp.MustCompile(`^\d{1,6}%?$`)

// IntOrString returns the amount as Kubernetes' type; an empty one is 0.
func (a Amount) IntOrString() intstr.IntOrString {
	if number, err := strconv.Atoi(string(a)); err == nil {
		return intstr.FromInt32(int32(number))
	}
	if a == "" {
		return intstr.FromInt32(0)
	}
	return intstr.FromString(string(a))
}

// zero reports whether the amount is 0 or 0%.
func (a Amount) zero() bool {
	number, err := strconv.Atoi(strings.TrimSuffix(string(a), "%"))
	return err == nil && number == 0
}

// amount checks an amount; least is 0 or 1.
func (d *document) amount(key string, value Amount, least int) {
	number, percent := strings.CutSuffix(string(value), "%")
	switch count, err := strconv.Atoi(number); {
	case value == "":
	case !amount.MatchString(string(value)) || err != nil:
		d.add(key, shown(string(value))+" is neither a number of machines nor a percentage", `write e.g. 3 or "25%"`)
	case percent && count > 100:
		d.add(key, shown(string(value))+" is more than all", "write 100% at most")
	case least > 0 && value.zero():
		d.add(key, "is 0", "write 1 at least")
	}
}

func (d *document) checkUpgrade(c *Cluster) {
	u := c.Fleet.Upgrade
	d.machines(c, "upgrade.canaries", u.Canaries)
	d.amount("upgrade.maxUnavailable", u.MaxUnavailable, 1)
	d.amount("upgrade.waveSize", u.WaveSize, 1)
	d.amount("upgrade.failureBudget", u.FailureBudget, 0)
	if u.ZoneLabel != "" {
		d.qualified("upgrade.zoneLabel", u.ZoneLabel)
	}
	for _, limit := range []struct {
		key   string
		value metav1.Duration
	}{
		{"upgrade.pause", u.Pause},
		{"upgrade.minReady", u.MinReady},
		{"upgrade.controlPlaneGrace", u.ControlPlaneGrace},
		{"upgrade.nodeGrace", u.NodeGrace},
	} {
		if limit.value.Duration < 0 {
			d.add(limit.key, "is negative", "write 0s, or how long")
		}
		d.notTooShort(limit.key, limit.value)
	}
	for i, rule := range u.Rules {
		key := "upgrade.rules[" + strconv.Itoa(i) + "]"
		if d.required(key+".machines", rule.Machines,
			"write names with commas between, or a label selector such as rack=a") {
			d.machines(c, key+".machines", rule.Machines)
		}
		if rule.DrainTimeout.Duration < 0 {
			d.add(key+".drainTimeout", "is negative", "write how long, e.g. 30m")
		}
		d.notTooShort(key+".drainTimeout", rule.DrainTimeout)
	}
}

// machines checks an expression that selects machines.
func (d *document) machines(c *Cluster, key, expression string) {
	if expression == "" || len(c.Fleet.Machines) == 0 {
		return
	}
	if _, err := c.Select(expression); err != nil {
		d.add(key, err.Error(), "")
	}
}

// UpgradeRuleFor returns the rule of one machine, with every field set.
func (c *Cluster) UpgradeRuleFor(m Machine) UpgradeRule {
	policy := c.Fleet.Upgrade
	rule := UpgradeRule{
		Machines: m.Name, Drain: &policy.Drain, DrainTimeout: c.Fleet.Drain.Timeout,
		OnDrainTimeout: policy.OnDrainTimeout,
	}
	at := slices.IndexFunc(policy.Rules, func(r UpgradeRule) bool { return c.selects(r.Machines, m) })
	if at < 0 {
		return rule
	}
	own := policy.Rules[at]
	rule.Drain = cmp.Or(own.Drain, rule.Drain)
	rule.DrainTimeout = cmp.Or(own.DrainTimeout, rule.DrainTimeout)
	rule.OnDrainTimeout = cmp.Or(own.OnDrainTimeout, rule.OnDrainTimeout)
	return rule
}

// selects reports whether an expression, which was checked, selects a machine.
func (c *Cluster) selects(expression string, m Machine) bool {
	selected, err := c.Select(expression)
	return err == nil && slices.ContainsFunc(selected, func(one Machine) bool { return one.Name == m.Name })
}

// MaxUnavailable returns how many machines, as a number or a percentage, may be out of service at once.
func (c *Cluster) MaxUnavailable() intstr.IntOrString {
	if own := c.Fleet.Upgrade.MaxUnavailable; own != "" {
		return own.IntOrString()
	}
	return c.VCluster.PrivateNodes.AutoUpgrade.Concurrency.IntOrString()
}
