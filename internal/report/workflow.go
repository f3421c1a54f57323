package report

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/packer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// labelWorkflow is the label of our workflows with the name of their template.
const labelWorkflow = "argosy.dev/workflow"

// Member is how one machine of a group ended, as the step of the group keeps it.
type Member struct {
	Machine string          `json:"machine"`
	Phase   string          `json:"phase"`
	Message string          `json:"message"`
	Report  json.RawMessage `json:"report"`
}

// Members reads the ConfigMap with the machines of a group's step.
type Members func(configMap string) ([]Member, error)

// Of makes the report of a workflow as it is now. Groups whose machines cannot be read stay groups, and the report
// notes that. It decompresses the workflow's nodes in place.
func Of(workflow *wfv1.Workflow, members Members) *Report {
	r := &Report{
		APIVersion: APIVersion, Workflow: workflow.Name, Namespace: workflow.Namespace,
		Operation: workflow.Labels[labelWorkflow], Cluster: parameter(workflow.Spec.Arguments.Parameters, "cluster"),
		Result:  cmp.Or(string(workflow.Status.Phase), string(wfv1.WorkflowRunning)),
		Started: workflow.Status.StartedAt.UTC(), Ended: workflow.Status.FinishedAt.UTC(),
	}
	if workflow.Status.IsOffloadNodeStatus() {
		r.Notes = append(r.Notes, "the node status of this workflow is offloaded to a database, which a report cannot "+
			"read")
		return r
	}
	if err := packer.DecompressWorkflow(workflow); err != nil {
		r.Notes = append(r.Notes, "decompressing the node status: "+err.Error())
		return r
	}
	c := collector{report: r, members: members, machines: map[string]*machine{}}
	c.collect(workflow.Status.Nodes)
	return r
}

func parameter(parameters []wfv1.Parameter, name string) string {
	for _, p := range parameters {
		if p.Name == name && p.Value != nil {
			return p.Value.String()
		}
	}
	return ""
}

type collector struct {
	report   *Report
	members  Members
	machines map[string]*machine
	last     time.Time
}

// machine is a Machine while its steps are added.
type machine struct {
	Machine
	begun, ended time.Time
	// steps counts the attempts of each step.
	steps map[string]int
}

func (c *collector) collect(nodes wfv1.Nodes) {
	sorted := make([]wfv1.NodeStatus, 0, len(nodes))
	for _, node := range nodes {
		if node.Type == wfv1.NodeTypePlugin || node.Type == wfv1.NodeTypeSuspend {
			sorted = append(sorted, node)
		}
	}
	slices.SortFunc(sorted, func(a, b wfv1.NodeStatus) int {
		return cmp.Or(a.StartedAt.Compare(b.StartedAt.Time), cmp.Compare(a.ID, b.ID))
	})
	for _, node := range sorted {
		if node.StartedAt.IsZero() {
			continue
		}
		c.setLast(node)
		if name := inputOf(node, "machine"); name != "" && node.Type == wfv1.NodeTypePlugin {
			c.addMachineNode(name, node)
			continue
		}
		c.report.Steps = append(c.report.Steps, c.step(node))
	}
	if c.report.Ended.IsZero() || c.report.Ended.Unix() <= 0 {
		c.report.Ended = later(c.last, c.report.Started)
	}
	c.finish()
}

// setLast notes the end of the last step, for a report of a workflow that has not ended.
func (c *collector) setLast(node wfv1.NodeStatus) {
	if c.report.Started.IsZero() {
		c.report.Started = node.StartedAt.UTC()
	}
	c.last = later(c.last, later(node.StartedAt.UTC(), node.FinishedAt.UTC()))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func inputOf(node wfv1.NodeStatus, name string) string {
	if node.Inputs == nil {
		return ""
	}
	return parameter(node.Inputs.Parameters, name)
}

func reportOf(node wfv1.NodeStatus) []byte {
	if node.Outputs == nil {
		return nil
	}
	return []byte(parameter(node.Outputs.Parameters, "report"))
}

func (c *collector) step(node wfv1.NodeStatus) Step {
	return Step{
		Name: cmp.Or(node.TemplateName, node.DisplayName), Result: string(node.Phase),
		Start: c.offset(node.StartedAt.Time), Seconds: seconds(took(node.StartedAt, node.FinishedAt)),
		Message: node.Message,
	}
}

func took(begun, ended metav1.Time) time.Duration { return max(ended.Sub(begun.Time), 0) }

func (c *collector) offset(at time.Time) float64 { return seconds(at.Sub(c.report.Started)) }

// addMachineNode adds a step's node for a machine, or for each machine of a group.
func (c *collector) addMachineNode(name string, node wfv1.NodeStatus) {
	begun := attempt{
		step: node.TemplateName, result: string(node.Phase), message: node.Message, begun: node.StartedAt.UTC(),
		ended: node.FinishedAt.UTC(),
	}
	var group struct {
		ConfigMap string `json:"configMap"`
	}
	text := reportOf(node)
	if !strings.Contains(name, "+") || json.Unmarshal(text, &group) != nil || group.ConfigMap == "" {
		begun.report = text
		c.add(name, begun)
		return
	}
	all, err := c.members(group.ConfigMap)
	if err != nil {
		c.report.Notes = append(c.report.Notes, "machines of group "+name+" are not listed: "+err.Error())
		c.add(name, begun)
		return
	}
	for _, one := range all {
		begun.result, begun.message, begun.report = one.Phase, one.Message, one.Report
		c.add(one.Machine, begun)
	}
}

// attempt is one attempt of one step on a machine.
type attempt struct {
	step, result, message string
	report                []byte
	begun, ended          time.Time
}

func (c *collector) add(name string, a attempt) {
	m := c.machines[name]
	if m == nil {
		m = &machine{Machine: Machine{Name: name}, begun: a.begun, steps: map[string]int{}}
		c.machines[name] = m
	}
	m.steps[a.step]++
	m.Result, m.Message, m.ended = a.result, a.message, later(m.ended, a.ended)
	var said stepReport
	_ = json.Unmarshal(a.report, &said) // a step that was interrupted has none
	m.Failure = said.Failure
	m.Node, m.From = cmp.Or(said.Node, m.Node), cmp.Or(m.From, said.From)
	m.RolledBack = said.RolledBack
	switch {
	case said.RolledBack:
		m.Version = m.From
	case !failed(a.result):
		m.Version = cmp.Or(said.Version, m.Version)
	}
	m.Changed = m.Changed || said.Changed
	m.Done = append(m.Done, said.changes()...)
	if said.Timeline == nil {
		m.Phases = append(m.Phases, Phase{
			Name: a.step, Start: c.offset(a.begun), Seconds: max(seconds(a.ended.Sub(a.begun)), 0),
		})
		return
	}
	begin := c.offset(said.Timeline.Started)
	for _, phase := range said.Timeline.Phases {
		m.Phases = append(m.Phases, Phase{Name: phase.Name, Start: round(begin + phase.Start), Seconds: phase.Seconds})
	}
	m.ended = later(m.ended, said.Timeline.Ended())
}

func round(s float64) float64 { return seconds(time.Duration(s * float64(time.Second))) }

// finish fills the list of machines.
func (c *collector) finish() {
	for _, m := range c.machines {
		m.Start = c.offset(m.begun)
		m.Seconds = max(seconds(m.ended.Sub(m.begun)), 0)
		if len(m.Phases) > 0 {
			last := m.Phases[len(m.Phases)-1]
			m.Start = m.Phases[0].Start
			m.Seconds = round(last.Start + last.Seconds - m.Start)
		}
		for _, attempts := range m.steps {
			if attempts > 1 {
				m.Attempts += attempts
			}
		}
		c.report.Machines = append(c.report.Machines, m.Machine)
		ended := time.Duration((m.Start + m.Seconds) * float64(time.Second))
		c.report.Ended = later(c.report.Ended, c.report.Started.Add(ended))
	}
	slices.SortFunc(c.report.Machines, func(a, b Machine) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Name, b.Name))
	})
}
