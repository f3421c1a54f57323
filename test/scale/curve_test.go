package scale

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/atomicfile"
)

// sample holds the figures of one moment of a run.
type sample struct {
	// Seconds since the beginning of the run.
	Seconds float64 `json:"seconds"`
	// Memory of the plugin, resident, in MiB; 0 where none runs.
	Memory float64 `json:"memory"`
	// Requests of the plugin a second, to the API servers of the virtual cluster and of the host cluster.
	Cluster float64 `json:"cluster"`
	Host    float64 `json:"host"`
	// TaskSet and Workflow are the sizes of these objects, as they are stored, in KB.
	TaskSet  float64 `json:"taskSet"`
	Workflow float64 `json:"workflow"`
	// Nodes that exist, that are out of service, and that run the new version.
	Nodes    int `json:"nodes"`
	Out      int `json:"out"`
	Upgraded int `json:"upgraded"`
}

// event is something that the test did at a moment of the run.
type event struct {
	Seconds float64 `json:"seconds"`
	Name    string  `json:"name"`
}

// curves are all that was measured in a run.
type curves struct {
	Machines int       `json:"machines"`
	Pods     int       `json:"pods"`
	Measured string    `json:"measured"`
	Results  []result  `json:"results"`
	Events   []event   `json:"events"`
	Samples  []*sample `json:"samples"`

	began time.Time
	mu    sync.Mutex
}

// result is a figure of the whole run, with its goal where it has one.
type result struct {
	Name string  `json:"name"`
	Is   float64 `json:"is"`
	Unit string  `json:"unit"`
	Goal float64 `json:"goal,omitempty"`
}

func (c *curves) at() float64 { return time.Since(c.began).Seconds() }

func (c *curves) note(t testing.TB, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Events = append(c.Events, event{rounded(c.at()), fmt.Sprintf(format, args...)})
	t.Logf("%4.0f s: %s", c.at(), fmt.Sprintf(format, args...))
}

// result notes a figure and its goal, 0 for none. Goals are for the report: tests assert no times and no memory of a
// computer that others work on.
func (c *curves) result(t testing.TB, name string, is float64, unit string, goal float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Results = append(c.Results, result{name, rounded(is), unit, rounded(goal)})
	t.Logf("%s: %.1f %s (goal %.0f)", name, is, unit, goal)
}

// sampleEvery is the time between two samples.
const sampleEvery = 4 * time.Second

// follow samples until the test ends. name is the workflow that runs now.
func (c *curves) follow(t *testing.T, a *api, k *kubelet, n *nodes, name func() string) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cluster, host, before := int64(0), int64(0), time.Now()
		for t.Context().Err() == nil {
			time.Sleep(sampleEvery)
			now := time.Now()
			s := &sample{Seconds: rounded(c.at()), Memory: rounded(memory(k.plugin(), "VmRSS"))}
			since := now.Sub(before).Seconds()
			nowCluster, nowHost := a.cluster.requests.Load(), a.host.requests.Load()
			s.Cluster, s.Host = rounded(float64(nowCluster-cluster)/since), rounded(float64(nowHost-host)/since)
			cluster, host, before = nowCluster, nowHost, now
			if workflow := name(); workflow != "" {
				s.TaskSet = float64(a.taskSetSize(workflow)) / 1000
				if _, size, err := a.workflow(workflow); err == nil {
					s.Workflow = float64(size) / 1000
				}
			}
			n.mu.Lock()
			s.Nodes, s.Out, s.Upgraded = len(n.byName), n.out, n.upgraded
			n.mu.Unlock()
			c.mu.Lock()
			c.Samples = append(c.Samples, s)
			c.mu.Unlock()
			c.write(t)
		}
	}()
	t.Cleanup(func() { <-ended })
}

// rounded returns a number with one digit after the point.
func rounded(number float64) float64 { return math.Round(10*number) / 10 }

// highest returns the highest value of the samples since a moment.
func (c *curves) highest(since float64, of func(*sample) float64) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	most := 0.0
	for _, s := range c.Samples {
		if s.Seconds >= since {
			most = max(most, of(s))
		}
	}
	return most
}

// median returns the median of the samples since a moment that are not 0.
func (c *curves) median(since float64, of func(*sample) float64) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []float64
	for _, s := range c.Samples {
		if s.Seconds >= since && of(s) > 0 {
			all = append(all, of(s))
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// write writes the curves to the file that $ARGOSY_SCALE_CURVES names, if any.
func (c *curves) write(t *testing.T) {
	t.Helper()
	path := os.Getenv("ARGOSY_SCALE_CURVES")
	if path == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	encoded, err := json.Marshal(c)
	if err == nil {
		err = atomicfile.Write(path, append(encoded, '\n'), 0o644)
	}
	assert.Check(t, err)
}

// memory returns a field of a process's status, in MiB; 0 where there is no such process.
func memory(pid int, field string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		var kib float64
		if n, _ := fmt.Sscanf(line, field+": %f kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	return 0
}
