package scale

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/test/simulated"
)

// phaseTime is how long a simulated machine takes for each phase.
const phaseTime = 200 * time.Millisecond

// machine answers as argosy-node would. It is simulated: it has a node in the cluster, and nothing else.
type machine struct {
	fleet         *fleet
	name, address string

	mu sync.Mutex
	// version of the kubelet; empty before the join.
	version string
	// working is the operation that runs; empty when none does.
	working string
	// statuses are the last ones by operation, and changed is closed when one of them changes.
	statuses map[string]spec.Status
	changed  chan struct{}
	// began counts the operations that began, by kind.
	began map[spec.Kind]int
}

// run answers one command of the plugin's.
func (m *machine) run(session simulated.Session) {
	words := strings.Fields(session.Command)
	for i := range words {
		words[i] = strings.Trim(words[i], "'")
	}
	encoder := json.NewEncoder(session)
	switch last := words[len(words)-1]; {
	case last == "inspect":
		var question spec.Question
		if json.NewDecoder(session).Decode(&question) == nil {
			_ = encoder.Encode(m.inspect(question))
		}
	case last == "start":
		var operation spec.Operation
		if json.NewDecoder(session).Decode(&operation) == nil {
			_ = encoder.Encode(m.start(operation))
		}
	case len(words) > 2 && words[len(words)-3] == "watch":
		m.watch(last, session, encoder)
	default:
		m.fleet.violate("machine %s got a command that it does not know: %.300s", m.name, session.Command)
	}
}

func (m *machine) inspect(question spec.Question) spec.Facts {
	m.mu.Lock()
	defer m.mu.Unlock()
	facts := spec.Facts{
		Hostname: m.name, OS: "simulated", Arch: "amd64", CgroupVersion: 2, CPUs: 4, MemoryBytes: 16 << 30,
		DiskFreeBytes: 100 << 30, Time: time.Now(), Systemd: true, Addresses: []string{m.address}, Working: m.working,
	}
	if m.version != "" {
		facts.Record = &spec.Record{
			Cluster: "fleet", ClusterUID: m.fleet.uid, Machine: m.name, NodeName: m.name, Version: m.version,
		}
		facts.Kubelet = spec.Kubelet{Present: true, Active: true, NodeName: m.name, Version: m.version, Ours: true}
	}
	if asked, given := question.Operations["amd64"]; given {
		facts.Plan = m.plan(asked)
	}
	return facts
}

// plan returns the phases that an operation would carry out; the caller holds the lock.
func (m *machine) plan(asked spec.Operation) *spec.Status {
	plan := &spec.Status{ID: asked.ID, Kind: asked.Kind, Total: len(phases)}
	for _, name := range phases {
		phase := spec.Phase{Name: name, Outcome: spec.Held, Detail: "as wanted"}
		if m.version == "" && name != "preflight" {
			phase.Outcome, phase.Detail = spec.Wanted, "will be done"
		}
		plan.Phases = append(plan.Phases, phase)
	}
	return plan
}

// phases of a join, in the order in which they run.
var phases = []string{"preflight", "bundle", "containerd", "kubelet", "kubeadm", "healthy"}

// start begins an operation, or attaches to it where it runs.
func (m *machine) start(operation spec.Operation) spec.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.working == operation.ID {
		return m.statuses[operation.ID]
	}
	if m.working != "" {
		m.fleet.violate("machine %s was to begin %s while %s runs", m.name, operation.ID, m.working)
	}
	m.working = operation.ID
	m.began[operation.Kind]++
	m.fleet.began(operation.Kind)
	status := spec.Status{
		ID: operation.ID, Kind: operation.Kind, Cluster: operation.Cluster, Machine: m.name, State: spec.Running,
		Total: len(phases), Started: time.Now(),
	}
	m.set(status)
	go m.work(operation, status)
	return status
}

// set takes over a status; the caller holds the lock.
func (m *machine) set(status spec.Status) {
	status.Sequence = m.statuses[status.ID].Sequence + 1
	status.Phases = slices.Clone(status.Phases)
	m.statuses[status.ID] = status
	close(m.changed)
	m.changed = make(chan struct{})
}

// work carries an operation out, a phase at a time.
func (m *machine) work(operation spec.Operation, status spec.Status) {
	defer m.fleet.ended(operation.Kind)
	for i, name := range phases {
		m.mu.Lock()
		status.Phase, status.Index, status.Message = name, i+1, "working"
		m.set(status)
		m.mu.Unlock()
		time.Sleep(phaseTime)
		if name == "kubeadm" {
			m.register(operation.Join.KubernetesVersion)
		}
		status.Phases = append(status.Phases, spec.Phase{
			Name: name, Outcome: spec.Applied, Detail: "done", Seconds: phaseTime.Seconds(),
		})
		status.Changed = true
	}
	status.State, status.Finished = spec.Succeeded, time.Now()
	m.end(status)
}

func (m *machine) end(status spec.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.working = ""
	m.set(status)
}

// register makes the machine a node.
func (m *machine) register(version string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.version = version
	m.fleet.register(m)
}

// watch shows an operation's status and its changes until it is final, or the client has left.
func (m *machine) watch(id string, session simulated.Session, encoder *json.Encoder) {
	for {
		m.mu.Lock()
		status, changed := m.statuses[id], m.changed
		m.mu.Unlock()
		if status.ID == "" {
			_, _ = fmt.Fprintln(session, "no such operation")
			return
		}
		if encoder.Encode(status) != nil || status.State.Final() {
			return
		}
		select {
		case <-changed:
		case <-session.Ended:
			return
		}
	}
}
