package scale

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/test/simulated"
)

// phaseTime is how long a simulated machine takes for each phase.
const phaseTime = 200 * time.Millisecond

// bootTime is how long a simulated machine is away that boots.
const bootTime = 5 * time.Second

// machine answers as argosy-node would. It is simulated: it has a node in the cluster, and nothing else.
type machine struct {
	fleet               *fleet
	name, address, rack string
	// fails has every upgrade fail, after which a rollback restores the old version; boots has the first one end with
	// the machine's power.
	fails, boots bool

	mu sync.Mutex
	// version of the kubelet; empty before the join. staged is that of the bundle on the machine.
	version, staged string
	// old is the version before an upgrade that failed.
	old string
	// booted is true where the machine has lost its power, and away when it answers again.
	booted bool
	away   time.Time
	// working is the operation that runs; empty when none does.
	working string
	// statuses are the last ones by operation, and changed is closed when one of them changes.
	statuses map[string]spec.Status
	changed  chan struct{}
	// began counts the operations that began, by kind.
	began map[spec.Kind]int
	// admitted are closed for the operations that may ask the API server.
	admitted map[string]chan struct{}
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
	case len(words) > 2 && words[len(words)-3] == "admit":
		_ = encoder.Encode(m.admit(last))
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
	wanted := asked.Join.KubernetesVersion
	joined, arrived := m.version != "", m.version == wanted
	plan := &spec.Status{ID: asked.ID, Kind: asked.Kind, Total: len(phases[asked.Kind])}
	for _, name := range phases[asked.Kind] {
		phase := spec.Phase{Name: name, Outcome: spec.Held, Detail: "as wanted"}
		wants := false
		switch {
		case name == "preflight":
		case asked.Kind == spec.KindJoin:
			wants = !joined
		case asked.Kind == spec.KindStage || name == "bundle":
			wants = m.staged != wanted && !arrived
		case asked.Kind == spec.KindUpgrade:
			wants = !arrived
		case asked.Kind == spec.KindRollback:
			wants = m.old != ""
		}
		if wants {
			phase.Outcome, phase.Detail = spec.Wanted, "will be done"
		}
		plan.Phases = append(plan.Phases, phase)
	}
	return plan
}

// joining is the phase in which a join asks the API server.
const joining = "kubeadm"

// phases of the operations, in the order in which they run.
var phases = map[spec.Kind][]string{
	spec.KindJoin:     {"preflight", "bundle", "containerd", "kubelet", joining, "healthy"},
	spec.KindStage:    {"preflight", "bundle"},
	spec.KindUpgrade:  {"preflight", "bundle", "backup", "kubeadm", "kubelet", "healthy"},
	spec.KindRollback: {"preflight", "restore", "healthy"},
}

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
	m.admitted[operation.ID] = make(chan struct{})
	m.began[operation.Kind]++
	m.fleet.began(string(operation.Kind))
	status := spec.Status{
		ID: operation.ID, Kind: operation.Kind, Cluster: operation.Cluster, Machine: m.name, State: spec.Running,
		Total: len(phases[operation.Kind]), Started: time.Now(),
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
	defer m.fleet.ended(string(operation.Kind))
	for i, name := range phases[operation.Kind] {
		m.mu.Lock()
		status.Phase, status.Index, status.Message = name, i+1, "working"
		m.set(status)
		m.mu.Unlock()
		if operation.Admission && name == joining {
			m.awaitAdmission(status)
		}
		leave := m.enter(operation, name)
		time.Sleep(phaseTime)
		if m.boots && !m.booted && operation.Kind == spec.KindUpgrade && name == "kubelet" {
			m.boot(status)
			return
		}
		err := m.carryOut(operation, name)
		leave()
		if err != nil {
			status.State, status.Finished = spec.Failed, time.Now()
			status.Error = err
			m.end(status)
			return
		}
		status.Phases = append(status.Phases, spec.Phase{
			Name: name, Outcome: spec.Applied, Detail: "done", Seconds: phaseTime.Seconds(),
		})
		status.Changed = true
	}
	status.State, status.Finished = spec.Succeeded, time.Now()
	m.end(status)
}

// awaitAdmission returns when the plugin has admitted the operation to the API server.
func (m *machine) awaitAdmission(status spec.Status) {
	status.AwaitsAdmission = true
	m.mu.Lock()
	admitted := m.admitted[status.ID]
	m.set(status)
	m.mu.Unlock()
	<-admitted
	status.AwaitsAdmission = false
	m.mu.Lock()
	m.set(status)
	m.mu.Unlock()
}

// enter counts a join that asks the API server, until it leaves that phase.
func (m *machine) enter(operation spec.Operation, phase string) (leave func()) {
	if operation.Kind != spec.KindJoin || phase != joining {
		return func() {}
	}
	m.fleet.began(joining)
	return func() { m.fleet.ended(joining) }
}

// admit lets an operation ask the API server.
func (m *machine) admit(id string) spec.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.admitted[id]:
	default:
		close(m.admitted[id])
	}
	return m.statuses[id]
}

func (m *machine) end(status spec.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.working = ""
	m.set(status)
}

// carryOut does in the cluster what a phase does there.
func (m *machine) carryOut(operation spec.Operation, phase string) *spec.Error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch wanted := operation.Join.KubernetesVersion; {
	case phase == "bundle":
		m.staged = wanted
	case operation.Kind == spec.KindJoin && phase == joining:
		m.version = wanted
		m.fleet.register(m, wanted)
	case operation.Kind == spec.KindUpgrade && phase == "kubelet" && m.fails:
		m.old, m.version = m.version, wanted
		m.fleet.report(m, wanted, false)
		return &spec.Error{
			Class: errclass.Permanent, Phase: phase, Message: "kubelet did not start within 1m0s",
			Hint: "journalctl -u kubelet", Tail: []string{"exit status 1"},
		}
	case operation.Kind == spec.KindUpgrade && phase == "kubelet":
		m.version = wanted
		m.fleet.report(m, wanted, true)
	// One that is begun again, since the plugin was killed before it saw the end, finds nothing to restore.
	case operation.Kind == spec.KindRollback && phase == "restore" && m.old != "":
		m.version, m.old = m.old, ""
		m.fleet.report(m, m.version, true)
	}
	return nil
}

// boot ends an operation with the machine's power, which is there again after a while. Then the operation has failed,
// since its unit is gone.
func (m *machine) boot(status spec.Status) {
	m.mu.Lock()
	m.booted, m.working = true, ""
	m.away = time.Now().Add(bootTime)
	m.fleet.report(m, m.version, false)
	m.mu.Unlock()
	m.fleet.server.Cut(m.address)
	time.Sleep(bootTime)
	m.mu.Lock()
	m.fleet.report(m, m.version, true)
	m.mu.Unlock()
	status.State, status.Finished = spec.Failed, time.Now()
	status.Message = "the operation's unit ended without a result"
	status.Error = &spec.Error{Class: errclass.Transient, Phase: status.Phase, Message: status.Message}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.working == "" {
		m.set(status)
	}
}

// answers reports whether the machine is not away.
func (m *machine) answers() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().After(m.away)
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
