package workflows_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/pkg/plugins/executor"
	"github.com/argoproj/argo-workflows/v3/util/template"
	"github.com/argoproj/argo-workflows/v3/workflow/packer"
	"golang.org/x/sync/errgroup"
	"gotest.tools/v3/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/internal/steps"
)

// simulatedArgo runs one workflow of a template as Argo's controller and agent do, with Argo's own types and expansion
// of templates, and measures what they would store. A simulation: it has no API server, and repeats nothing.
type simulatedArgo struct {
	t        *testing.T
	template wfv1.WorkflowTemplate
	name     string
	global   map[string]any
	url      string
	// depth of templates that are within each other, of which Argo allows 100.
	depth, deepest int

	mu    sync.Mutex
	nodes wfv1.Nodes
	// Bytes of the largest object of its kind so far.
	taskSet, parameter int
}

// agentWorkers is how many tasks Argo's agent asks about at a time.
const agentWorkers = 16

const (
	agentToken  = "0123456789abcdefghijklmnopqrstuv"
	workflowUID = "11111111-2222-3333-4444-555555555555"
)

// outcome is how a node ended.
type outcome struct {
	phase   wfv1.NodePhase
	outputs map[string]string
}

func (o outcome) failed() bool { return o.phase == wfv1.NodeFailed || o.phase == wfv1.NodeError }

// Workflow is the workflow as the API server has it: its node status compressed where it is large.
func (a *simulatedArgo) Workflow(context.Context, string, string) (*wfv1.Workflow, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var parameters []wfv1.Parameter
	for key, value := range a.global {
		if name, is := strings.CutPrefix(key, "workflow.parameters."); is {
			parameters = append(parameters, wfv1.Parameter{Name: name, Value: wfv1.AnyStringPtr(value)})
		}
	}
	spec := a.template.Spec
	workflow := &wfv1.Workflow{
		ObjectMeta: metav1.ObjectMeta{
			Name: a.name, Namespace: "team-a", UID: workflowUID, Labels: a.template.Spec.WorkflowMetadata.Labels,
		},
		Spec: wfv1.WorkflowSpec{
			Arguments:           wfv1.Arguments{Parameters: parameters},
			WorkflowTemplateRef: &wfv1.WorkflowTemplateRef{Name: a.template.Name},
		},
		Status: wfv1.WorkflowStatus{
			StartedAt: metav1.Now(), Nodes: maps.Clone(a.nodes), StoredWorkflowSpec: &spec,
		},
	}
	return workflow, packer.CompressWorkflowIfNeeded(workflow)
}

// start serves the plugin over HTTP for a workflow with these parameters.
func start(t *testing.T, template string, fleet *simulatedFleet, parameters map[string]string) *simulatedArgo {
	t.Helper()
	a := &simulatedArgo{
		t: t, template: templates(t)[template+".yaml"], name: template + "-x7k2p", nodes: wfv1.Nodes{},
		global: map[string]any{
			"workflow.name": template + "-x7k2p", "workflow.status": "Succeeded",
			"workflow.creationTimestamp.RFC3339": "2026-01-02T03:04:05Z",
		},
	}
	for _, parameter := range a.template.Spec.Arguments.Parameters {
		if parameter.Value != nil {
			a.global["workflow.parameters."+parameter.Name] = parameter.Value.String()
		}
	}
	for name, value := range parameters {
		a.global["workflow.parameters."+name] = value
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	address := listener.Addr().String()
	assert.NilError(t, listener.Close())
	tokens := filepath.Join(t.TempDir(), "token")
	assert.NilError(t, os.WriteFile(tokens, []byte(agentToken), 0o400))
	server, err := plugin.NewServer(plugin.Options{
		Address: address, TokenFile: tokens, Timing: plugin.Timing{Wait: 50 * time.Millisecond, Grace: time.Second},
		Steps: steps.All(steps.NewEnv(fleet.openers(), discard), a, fleet.records()),
	})
	assert.NilError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() { stop(); assert.NilError(t, <-ended) })
	a.url = "http://" + address
	for {
		response, err := http.Get(a.url + "/healthz")
		if err == nil {
			_ = response.Body.Close()
			return a
		}
	}
}

// run runs the workflow and its exit handler, and returns how it ended.
func (a *simulatedArgo) run() wfv1.NodePhase {
	a.t.Helper()
	end := a.execute(a.name, a.template.Spec.Entrypoint, nil)
	a.global["workflow.status"] = string(end.phase)
	a.execute(a.name+".onExit", a.template.Spec.OnExit, nil)
	return end.phase
}

// node returns a node that worked on a machine, or a step, by the end of its name.
func (a *simulatedArgo) node(displayName string) wfv1.NodeStatus {
	a.t.Helper()
	for _, node := range a.nodes {
		if node.DisplayName == displayName && node.Type != wfv1.NodeTypeStepGroup {
			return node
		}
	}
	a.t.Fatalf("there is no node %q", displayName)
	return wfv1.NodeStatus{}
}

func (a *simulatedArgo) scope(inputs map[string]string) map[string]any {
	scope := maps.Clone(a.global)
	for name, value := range inputs {
		scope["inputs.parameters."+name] = value
	}
	return scope
}

// execute runs a template.
func (a *simulatedArgo) execute(name, of string, inputs map[string]string) outcome {
	tmpl := a.template.GetTemplateByName(of)
	assert.Assert(a.t, tmpl != nil, of)
	switch {
	case tmpl.Plugin != nil:
		return a.plugins(*tmpl, []work{{name, of, inputs}})[0]
	case tmpl.Suspend != nil:
		a.record(name, wfv1.NodeTypeSuspend, of, wfv1.NodeSucceeded, "", inputs, map[string]string{"decision": "go on"})
		return outcome{phase: wfv1.NodeSucceeded, outputs: map[string]string{"decision": "go on"}}
	}
	a.depth++
	defer func() { a.depth-- }()
	a.deepest = max(a.deepest, a.depth)
	end := a.steps(name, *tmpl, a.scope(inputs))
	a.record(name, wfv1.NodeTypeSteps, of, end.phase, "", inputs, nil)
	return end
}

// work is one node to come.
type work struct {
	name, template string
	inputs         map[string]string
}

// steps runs the groups of a template of steps, each of which has one step here.
func (a *simulatedArgo) steps(name string, tmpl wfv1.Template, scope map[string]any) outcome {
	for i, group := range tmpl.Steps {
		assert.Equal(a.t, len(group.Steps), 1)
		step := group.Steps[0]
		end := outcome{phase: wfv1.NodeSucceeded}
		all := a.expand(fmt.Sprintf("%s[%d]", name, i), step, scope)
		outputs := map[string]string{}
		for _, one := range a.executeAll(step, all) {
			if one.failed() {
				end.phase = wfv1.NodeFailed
			}
			outputs = one.outputs
		}
		a.record(fmt.Sprintf("%s[%d]", name, i), wfv1.NodeTypeStepGroup, "", end.phase, "", nil, nil)
		for _, output := range a.template.GetTemplateByName(step.Template).Outputs.Parameters {
			scope["steps."+step.Name+".outputs.parameters."+output.Name] = nil
			if value, given := outputs[output.Name]; given {
				scope["steps."+step.Name+".outputs.parameters."+output.Name] = value
			}
		}
		if end.failed() && step.ContinueOn == nil {
			return end
		}
	}
	return outcome{phase: wfv1.NodeSucceeded}
}

// executeAll runs the calls of an expanded step: plugin templates together, others one after another.
func (a *simulatedArgo) executeAll(step wfv1.WorkflowStep, all []work) []outcome {
	tmpl := a.template.GetTemplateByName(step.Template)
	if tmpl.Plugin != nil && len(all) > 0 {
		return a.plugins(*tmpl, all)
	}
	var ends []outcome
	for _, one := range all {
		ends = append(ends, a.execute(one.name, one.template, one.inputs))
	}
	return ends
}

// expand returns the calls of a step: nothing where its condition is false, and a call for each item.
func (a *simulatedArgo) expand(group string, step wfv1.WorkflowStep, scope map[string]any) []work {
	items := []*wfv1.Item{nil}
	if step.WithParam != "" && a.holds(step.When, scope) {
		items = nil
		assert.NilError(a.t, json.Unmarshal([]byte(a.replace(step.WithParam, scope)), &items))
	}
	var all []work
	for i, item := range items {
		scope, name := maps.Clone(scope), group+"."+step.Name
		if item != nil {
			name += fmt.Sprintf("(%d:%s)", i, withoutParentheses.Replace(described(item, scope)))
		}
		if !a.holds(step.When, scope) {
			a.record(name, wfv1.NodeTypeSkipped, step.Template, wfv1.NodeSkipped, "when is false", nil, nil)
			continue
		}
		inputs := map[string]string{}
		for _, parameter := range step.Arguments.Parameters {
			inputs[parameter.Name] = a.replace(parameter.Value.String(), scope)
		}
		all = append(all, work{name, step.Template, inputs})
	}
	return all
}

var withoutParentheses = strings.NewReplacer("(", "", ")", "")

// described adds an item of a fan-out to the scope, and returns its part of the names of nodes, as Argo makes them: a
// string is taken as it is, of a map each key and value, sorted.
func described(item *wfv1.Item, scope map[string]any) string {
	if item.GetType() != wfv1.Map {
		scope["item"] = item.String()
		return item.String()
	}
	var pairs []string
	for key, value := range item.GetMapVal() {
		scope["item."+key] = value.String()
		pairs = append(pairs, key+":"+value.String())
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

// holds evaluates a condition; of Argo's language it knows the part that the templates use.
func (a *simulatedArgo) holds(when string, scope map[string]any) bool {
	for _, part := range strings.Split(a.replace(when, scope), " && ") {
		left, right, unequal := strings.Cut(part, " != ")
		if !unequal {
			var equal bool
			left, right, equal = strings.Cut(part, " == ")
			if !equal {
				left, right = cmp.Or(part, "true"), "true"
			}
		}
		if (left == right) == unequal {
			return false
		}
	}
	return true
}

func (a *simulatedArgo) replace(text string, scope map[string]any) string {
	encoded, err := json.Marshal(text)
	assert.NilError(a.t, err)
	replaced, err := template.ReplaceStrictAny(string(encoded), scope, []string{"steps", "inputs", "item"})
	assert.NilError(a.t, err, text)
	var out string
	assert.NilError(a.t, json.Unmarshal([]byte(replaced), &out))
	return out
}

// plugins has the plugin work on all tasks, as the agent would, and records their nodes. All tasks and all answers are
// in the WorkflowTaskSet at once, which Argo's controller empties only when it comes to it.
func (a *simulatedArgo) plugins(tmpl wfv1.Template, all []work) []outcome {
	set := wfv1.WorkflowTaskSet{
		ObjectMeta: metav1.ObjectMeta{Name: a.name, Namespace: "team-a"},
		Spec:       wfv1.WorkflowTaskSetSpec{Tasks: map[string]wfv1.Template{}},
		Status:     wfv1.WorkflowTaskSetStatus{Nodes: map[string]wfv1.NodeResult{}},
	}
	ends := make([]outcome, len(all))
	var workers errgroup.Group
	workers.SetLimit(agentWorkers)
	pending := make([]wfv1.Template, len(all))
	for i, one := range all {
		pending[i] = a.processed(tmpl, one)
		set.Spec.Tasks[a.nodeID(one.name)] = pending[i]
	}
	for i, one := range all {
		workers.Go(func() error {
			result, err := a.ask(pending[i])
			if err != nil {
				return err
			}
			a.mu.Lock()
			set.Status.Nodes[a.nodeID(one.name)] = result
			a.mu.Unlock()
			ends[i] = outcome{result.Phase, map[string]string{}}
			for _, output := range result.Outputs.Parameters {
				ends[i].outputs[output.Name] = output.Value.String()
			}
			for name, kind := range map[string]wfv1.NodeType{
				one.name: wfv1.NodeTypeRetry, one.name + "(0)": wfv1.NodeTypePlugin,
			} {
				a.record(name, kind, one.template, result.Phase, result.Message, one.inputs, ends[i].outputs)
			}
			return nil
		})
	}
	assert.NilError(a.t, workers.Wait())
	a.taskSet = max(a.taskSet, a.size(set))
	return ends
}

func (a *simulatedArgo) size(object any) int {
	encoded, err := json.Marshal(object)
	assert.NilError(a.t, err)
	return len(encoded)
}

// processed is a template with all its variables replaced.
func (a *simulatedArgo) processed(tmpl wfv1.Template, one work) wfv1.Template {
	scope := a.scope(one.inputs)
	scope["node.name"], scope["retries"] = one.name, "0"
	encoded, err := json.Marshal(tmpl)
	assert.NilError(a.t, err)
	replaced, err := template.Replace(string(encoded), scope, false)
	assert.NilError(a.t, err)
	var out wfv1.Template
	assert.NilError(a.t, json.Unmarshal([]byte(replaced), &out))
	for i, parameter := range out.Inputs.Parameters {
		out.Inputs.Parameters[i].Value = wfv1.AnyStringPtr(one.inputs[parameter.Name])
	}
	return out
}

// ask calls the plugin until the task has ended.
func (a *simulatedArgo) ask(tmpl wfv1.Template) (wfv1.NodeResult, error) {
	body, err := json.Marshal(map[string]any{
		"workflow": map[string]any{"metadata": map[string]string{
			"name": a.name, "namespace": "team-a", "uid": workflowUID,
		}},
		"template": tmpl,
	})
	if err != nil {
		return wfv1.NodeResult{}, err
	}
	for {
		request, err := http.NewRequest(http.MethodPost, a.url+"/api/v1/template.execute", bytes.NewReader(body))
		if err != nil {
			return wfv1.NodeResult{}, err
		}
		request.Header.Set("Authorization", "Bearer "+agentToken)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return wfv1.NodeResult{}, err
		}
		var reply executor.ExecuteTemplateReply
		err = json.NewDecoder(response.Body).Decode(&reply)
		_ = response.Body.Close()
		switch {
		case err != nil:
			return wfv1.NodeResult{}, err
		case reply.Node == nil:
			return wfv1.NodeResult{}, fmt.Errorf("no answer to %s", body)
		case reply.Requeue == nil:
			if reply.Node.Outputs == nil {
				reply.Node.Outputs = &wfv1.Outputs{}
			}
			return *reply.Node, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (a *simulatedArgo) nodeID(name string) string {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name))
	return a.name + "-" + strconv.FormatUint(uint64(hash.Sum32()), 10)
}

// record notes a node as the controller would.
func (a *simulatedArgo) record(name string, kind wfv1.NodeType, of string, phase wfv1.NodePhase, message string,
	inputs, outputs map[string]string,
) {
	display := name[strings.LastIndex(name, "]")+1:]
	node := wfv1.NodeStatus{
		ID: a.nodeID(name), Name: name, DisplayName: strings.TrimPrefix(display, "."), Type: kind, TemplateName: of,
		TemplateScope: "namespaced/" + a.template.Name, Phase: phase, Message: message, StartedAt: metav1.Now(),
		FinishedAt: metav1.Now(), Progress: "1/1", BoundaryID: a.nodeID(a.name),
		Children: []string{a.nodeID(name + "(0)")},
	}
	if kind == wfv1.NodeTypePlugin || kind == wfv1.NodeTypeRetry || kind == wfv1.NodeTypeSteps {
		node.Inputs, node.Outputs = &wfv1.Inputs{}, &wfv1.Outputs{}
		for key, value := range inputs {
			a.parameter = max(a.parameter, len(value))
			node.Inputs.Parameters = append(node.Inputs.Parameters, wfv1.Parameter{
				Name: key, Value: wfv1.AnyStringPtr(value),
			})
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, value := range outputs {
		a.parameter = max(a.parameter, len(value))
		node.Outputs.Parameters = append(node.Outputs.Parameters, wfv1.Parameter{
			Name: key, Value: wfv1.AnyStringPtr(value),
		})
	}
	a.nodes[node.ID] = node
}
