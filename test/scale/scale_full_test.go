//go:build full

package scale

import (
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
)

func TestAThousandMachinesAreUpgradedThroughKillsAndOutages(t *testing.T) {
	p := &proof{
		machines: number(t, 1000), podsOnEach: 10, kills: 5, outages: 2, outage: time.Minute, limit: 45 * time.Minute,
	}
	p.run(t)
}

// The rest of a join is that of a thousand.
func TestTenThousandMachinesArePlanned(t *testing.T) {
	p := &proof{t: t, machines: 10000, limit: 20 * time.Minute}
	p.begin()
	since := p.curves.at()
	with := map[string]string{"cluster": "fleet", "dryRun": "true"}
	workflow := p.submit("join", with, func(*wfv1.Workflow) {})
	assert.Equal(t, workflow.Status.Phase, wfv1.WorkflowSucceeded, p.told(workflow))
	memory := func(s *sample) float64 { return s.Memory }
	p.curves.result(t, "plan of 10,000: plugin's memory, highest", p.curves.highest(since, memory), "MiB", 500)
	p.curves.result(t, "plan of 10,000: as Argo saw it", took(workflow, "plan"), "s", 0)
	assert.DeepEqual(t, p.fleet.violated(), []string(nil))
}
