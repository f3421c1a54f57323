package scale

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/spec"
)

// proof is a run of workflows with many machines.
type proof struct {
	machines int
	// limit of each workflow.
	limit time.Duration

	t       *testing.T
	a       *api
	fleet   *fleet
	nodes   *nodes
	kubelet *kubelet
	curves  *curves
	current atomic.Value // the name of the workflow that runs
}

func TestTwoHundredMachinesJoin(t *testing.T) {
	p := &proof{t: t, machines: 200, limit: 10 * time.Minute}
	p.begin()
	p.join()
	p.curves.write(t)
	assert.DeepEqual(t, p.fleet.violated(), []string(nil))
}

func (p *proof) begin() {
	p.t.Helper()
	folder := p.t.TempDir()
	p.a = startAPI(p.t, folder)
	p.a.startArgo()
	p.kubelet = p.a.startKubelet()
	p.fleet = newFleet(p.t, p.a, p.machines)
	p.a.documents(p.fleet, repository(p.t))
	p.nodes = followNodes(p.t, p.fleet)
	p.curves = &curves{
		Machines: p.machines, Measured: time.Now().UTC().Format(time.DateOnly), began: time.Now(),
	}
	p.curves.follow(p.t, p.a, p.kubelet, p.nodes, func() string {
		name, _ := p.current.Load().(string)
		return name
	})
}

// repository has a bundle, which simulated machines do not read.
func repository(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version, file, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		name := "kubernetes-" + version + "-amd64.tar.gz"
		switch {
		case version != serverVersion:
			http.NotFound(w, r)
		case file == "SHA256SUMS":
			_, _ = fmt.Fprintf(w, "%s  %s\n", strings.Repeat("0", 64), name)
		case file == name:
			_, _ = w.Write([]byte("a bundle"))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// submit submits a workflow, and returns it when it has ended.
func (p *proof) submit(template string, parameters map[string]string) *wfv1.Workflow {
	p.t.Helper()
	name := p.a.submit(template, parameters)
	p.current.Store(name)
	p.curves.note(p.t, "%s is submitted", template)
	deadline := time.Now().Add(p.limit)
	for {
		workflow, _, err := p.a.workflow(name)
		switch {
		case err != nil:
			p.t.Fatalf("reading workflow %s: %v", name, err)
		case workflow.Status.Phase.Completed():
			p.curves.note(p.t, "%s has ended: %s", template, workflow.Status.Phase)
			return workflow
		case time.Now().After(deadline):
			p.t.Fatalf("workflow %s has not ended within %s: %s", name, p.limit, p.told(workflow))
		}
		time.Sleep(time.Second)
	}
}

// told returns the messages of a workflow's nodes that are at work.
func (p *proof) told(workflow *wfv1.Workflow) string {
	var lines []string
	for _, node := range workflow.Status.Nodes {
		if node.Type == wfv1.NodeTypePlugin {
			lines = append(lines, fmt.Sprintf("%s %s: %s", node.DisplayName, node.Phase, node.Message))
		}
	}
	return strings.Join(lines, "\n")
}

// took returns how long a step took, in seconds; 0 where it was not run.
func took(workflow *wfv1.Workflow, step string) float64 {
	for _, node := range workflow.Status.Nodes {
		if node.DisplayName == step && node.Type == wfv1.NodeTypeRetry {
			return node.FinishedAt.Sub(node.StartedAt.Time).Seconds()
		}
	}
	return 0
}

// join joins all machines, 50 at a time.
func (p *proof) join() {
	p.t.Helper()
	since := p.curves.at()
	workflow := p.submit("join", map[string]string{"cluster": "fleet"})
	assert.Equal(p.t, workflow.Status.Phase, wfv1.WorkflowSucceeded, p.told(workflow))
	p.measure("join", workflow, since)
	for _, m := range p.fleet.machines {
		assert.Equal(p.t, m.began[spec.KindJoin], 1, "machine %s was joined once", m.name)
	}
	assert.Assert(p.t, p.fleet.most[spec.KindJoin] <= 50, "%d joins at once", p.fleet.most[spec.KindJoin])
}

// measure notes the figures of a workflow.
func (p *proof) measure(verb string, workflow *wfv1.Workflow, since float64) {
	c := p.curves
	c.result(p.t, verb+": plan, as Argo saw it", took(workflow, "plan"), "s", 15*float64(p.machines)/1000)
	c.result(p.t, verb+": all", c.at()-since, "s", 0)
	const mib = 1048.576 // in KB
	for _, one := range []struct {
		name, unit string
		goal       float64
		of         func(*sample) float64
	}{
		{"plugin's memory", "MiB", 200, func(s *sample) float64 { return s.Memory }},
		{"WorkflowTaskSet", "KB", mib, func(s *sample) float64 { return s.TaskSet }},
		{"Workflow", "KB", mib, func(s *sample) float64 { return s.Workflow }},
		{"requests to the cluster", "a second", 0, func(s *sample) float64 { return s.Cluster }},
		{"requests to the host cluster", "a second", 0, func(s *sample) float64 { return s.Host }},
	} {
		c.result(p.t, verb+": "+one.name+", highest", c.highest(since, one.of), one.unit, one.goal)
		c.result(p.t, verb+": "+one.name+", median", c.median(since, one.of), one.unit, 0)
	}
}
