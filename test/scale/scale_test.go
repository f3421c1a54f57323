package scale

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/node/spec"
)

// proof is a run of workflows with many machines.
type proof struct {
	machines, podsOnEach int
	// kills of the agent pod, and outages of the virtual cluster's API server, during the upgrade.
	kills, outages int
	outage         time.Duration
	// limit of each workflow.
	limit time.Duration

	t       *testing.T
	a       *api
	fleet   *fleet
	nodes   *nodes
	kubelet *kubelet
	curves  *curves
	current string
}

func TestTwoHundredMachinesJoinAndAreUpgraded(t *testing.T) {
	p := &proof{machines: number(t, 200), podsOnEach: 2, kills: 1, limit: 15 * time.Minute}
	p.run(t)
}

// number returns how many machines a test has: that of $ARGOSY_SCALE_MACHINES, for smaller computers, or else usual.
func number(t *testing.T, usual int) int {
	t.Helper()
	wanted := os.Getenv("ARGOSY_SCALE_MACHINES")
	if wanted == "" {
		return usual
	}
	machines, err := strconv.Atoi(wanted)
	assert.NilError(t, err)
	return machines
}

// run joins all machines, and then upgrades them, while it kills and shuts what it was told to.
func (p *proof) run(t *testing.T) {
	p.t = t
	p.begin()
	p.join()
	p.fleet.deploy(t, p.podsOnEach)
	p.upgrade()
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
	p.nodes = followNodes(p.t, p.fleet, p.machines)
	p.curves = &curves{
		Machines: p.machines, Pods: p.machines * p.podsOnEach, began: time.Now(),
		Measured: time.Now().UTC().Format(time.DateOnly),
	}
	p.curves.follow(p.t, p.a, p.kubelet, p.nodes, func() string {
		p.nodes.mu.Lock()
		defer p.nodes.mu.Unlock()
		return p.current
	})
}

// repository has the bundles of both versions, which simulated machines do not read.
func repository(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version, file, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		name := "kubernetes-" + version + "-amd64.tar.gz"
		switch {
		case version != oldVersion && version != newVersion:
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

// submit submits a workflow, and calls each with it every second until it has ended.
func (p *proof) submit(template string, parameters map[string]string, each func(*wfv1.Workflow)) *wfv1.Workflow {
	p.t.Helper()
	name := p.a.submit(template, parameters)
	p.nodes.mu.Lock()
	p.current = name
	p.nodes.mu.Unlock()
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
		each(workflow)
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
	workflow := p.submit("join", map[string]string{"cluster": "fleet"}, func(*wfv1.Workflow) {})
	assert.Equal(p.t, workflow.Status.Phase, wfv1.WorkflowSucceeded, p.told(workflow))
	p.measure("join", workflow, since)
	for _, m := range p.fleet.machines {
		assert.Equal(p.t, m.began[spec.KindJoin], 1, "machine %s was joined once", m.name)
	}
	most := p.fleet.most[string(spec.KindJoin)]
	assert.Assert(p.t, most <= 50, "%d joins at once", most)
	p.curves.result(p.t, "join: machines at the API server at once, highest", float64(p.fleet.most[joining]), "", 0)
}

// measure notes the figures of a workflow.
func (p *proof) measure(verb string, workflow *wfv1.Workflow, since float64) {
	c := p.curves
	c.result(p.t, verb+": plan, as Argo saw it", took(workflow, "plan"), "s", 15*float64(p.machines)/1000)
	c.result(p.t, verb+": all", c.at()-since, "s", 0)
	p.t.Logf("%s: requests to the cluster: %s", verb, p.a.cluster.counts())
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

// upgrade upgrades all machines, of which some fail, through a canary rack and an approval.
func (p *proof) upgrade() {
	p.t.Helper()
	since := p.curves.at()
	p.nodes.mu.Lock()
	p.nodes.limit, p.nodes.most = max(1, p.machines*5/100), 0
	p.nodes.mu.Unlock()
	approved := map[string]bool{}
	trouble := p.troubles()
	with := map[string]string{"cluster": "fleet", "version": newVersion}
	workflow := p.submit("upgrade", with, func(w *wfv1.Workflow) {
		// The step stays in the workflow's nodes as it was until the controller has come to it.
		if id := p.a.approve(p.t, w, approved); id != "" {
			approved[id] = true
			p.curves.note(p.t, "canaries are approved")
		}
		trouble()
	})
	p.measure("upgrade", workflow, since)
	p.nodes.mu.Lock()
	p.curves.result(p.t, "upgrade: out of service, highest", float64(p.nodes.most), "nodes", float64(p.nodes.limit))
	p.nodes.mu.Unlock()
	ends := wfv1.WorkflowSucceeded
	if slices.ContainsFunc(p.fleet.machines, func(m *machine) bool { return m.fails }) {
		ends = wfv1.WorkflowFailed
	}
	assert.Equal(p.t, workflow.Status.Phase, ends, p.told(workflow))
	limit := p.nodes.limit
	waves := (rackSize(p.machines) + limit - 1) / limit
	assert.Equal(p.t, len(approved), waves, "after each wave of canaries there is an approval")
	p.check()
}

// troubles returns a function that makes the troubles of the upgrade, each when so many more machines are upgraded.
func (p *proof) troubles() func() {
	all, done := p.kills+p.outages, 0
	var shut time.Time
	return func() {
		p.nodes.mu.Lock()
		upgraded := p.nodes.upgraded
		p.nodes.mu.Unlock()
		switch {
		case !shut.IsZero():
			if time.Since(shut) > p.outage {
				p.a.cluster.open(p.t)
				shut = time.Time{}
				p.curves.note(p.t, "the API server is back")
			}
		case done == all || upgraded < p.machines*(done+1)/(all+2):
		case p.outages > 0 && done%3 == 1:
			p.a.cluster.close()
			shut = time.Now()
			done++
			p.curves.note(p.t, "the API server is away")
		default:
			if p.kubelet.kill() {
				done++
				p.curves.note(p.t, "the agent pod is killed")
			}
		}
	}
}

// check checks every machine and its node after the upgrade.
func (p *proof) check() {
	p.t.Helper()
	list, err := p.a.client.CoreV1().Nodes().List(p.t.Context(), metav1.ListOptions{})
	assert.NilError(p.t, err)
	versions := map[string]string{}
	for _, node := range list.Items {
		assert.Check(p.t, !node.Spec.Unschedulable, "node %s is cordoned", node.Name)
		versions[node.Name] = node.Status.NodeInfo.KubeletVersion
	}
	for _, m := range p.fleet.machines {
		want, once := newVersion, 1
		if m.fails {
			want = oldVersion
		}
		if m.boots {
			once = 2 // the machine has lost its power, and the operation with it
		}
		assert.Check(p.t, versions[m.name] == want, "node %s is at %s", m.name, versions[m.name])
		assert.Check(p.t, m.began[spec.KindUpgrade] == once, "machine %s: upgrade began %d times", m.name,
			m.began[spec.KindUpgrade])
	}
	assert.Check(p.t, p.nodes.most <= p.nodes.limit)
}
