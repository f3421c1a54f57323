package plugin

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/pkg/plugins/executor"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// maxMessage bounds a message, in bytes. It is written to the Workflow every few seconds while a step runs.
	maxMessage = 1 << 10
	// maxOutput and maxOutputs bound one output and all outputs of a step, in bytes. They live in the WorkflowTaskSet
	// and the Workflow, which etcd limits to 1.5 MiB for all steps together.
	maxOutput  = 64 << 10
	maxOutputs = 256 << 10
)

// answer is what Argo is told about a step.
type answer struct {
	phase   wfv1.NodePhase
	message string
	outputs []wfv1.Parameter
}

// running is the answer while the run goes on.
func running(message string) answer {
	return answer{phase: wfv1.NodeRunning, message: message}
}

func (a answer) succeeded() bool { return a.phase == wfv1.NodeSucceeded || a.phase == wfv1.NodeSkipped }

// failed is the answer when there is nothing but an explanation. Its outputs are all there, and empty.
func failed(outputs []string, message string) answer {
	return answer{phase: wfv1.NodeFailed, message: message, outputs: parameters(outputs, nil)}
}

// panicked is the answer to a bug of ours.
func panicked(outputs []string, cause any) answer {
	bug := failed(outputs, fmt.Sprintf("the argosy plugin has a bug and panicked: %v", cause))
	bug.phase = wfv1.NodeError
	return bug
}

// of turns a result into an answer, or into a failure that names what the step did wrong.
func of(outputs []string, result Result) answer {
	if err := checkResult(outputs, result); err != nil {
		return failed(outputs, fmt.Sprintf("the step ended %s, but its answer can not be given: %v", result.Phase, err))
	}
	return answer{
		phase:   wfv1.NodePhase(result.Phase),
		message: result.Message,
		outputs: parameters(outputs, result.Outputs),
	}
}

func checkResult(outputs []string, result Result) error {
	if result.Phase != Succeeded && result.Phase != Failed && result.Phase != Skipped {
		return fmt.Errorf("%q is not a phase to end in", result.Phase)
	}
	total := 0
	for name, value := range result.Outputs {
		if !slices.Contains(outputs, name) {
			return fmt.Errorf("output %q is not declared", name)
		}
		if len(value) > maxOutput {
			return fmt.Errorf("output %q has %d bytes, at most %d are allowed", name, len(value), maxOutput)
		}
		total += len(value)
	}
	if total > maxOutputs {
		return fmt.Errorf("the outputs have %d bytes together, at most %d are allowed", total, maxOutputs)
	}
	return nil
}

func parameters(names []string, values map[string]string) []wfv1.Parameter {
	found := make([]wfv1.Parameter, 0, len(names))
	for _, name := range names {
		found = append(found, wfv1.Parameter{Name: name, Value: wfv1.AnyStringPtr(strings.ToValidUTF8(values[name],
			"?"))})
	}
	return found
}

// reply encodes the answer. Argo merges each reply into the one before, so nothing may be left out that an earlier
// reply could have set; and it calls again whenever there is a requeue, also after a failure, so only Running carries
// one.
func (a answer) reply(requeue time.Duration) executor.ExecuteTemplateReply {
	node := &wfv1.NodeResult{Phase: a.phase, Message: trim(a.message)}
	if node.Message == "" {
		node.Message = string(a.phase)
	}
	if a.phase == wfv1.NodeRunning {
		return executor.ExecuteTemplateReply{Node: node, Requeue: &metav1.Duration{Duration: requeue}}
	}
	if len(a.outputs) > 0 {
		node.Outputs = &wfv1.Outputs{Parameters: a.outputs}
	}
	return executor.ExecuteTemplateReply{Node: node}
}

// trim cuts a message to what Argo should store, between two runes.
func trim(message string) string {
	message = strings.TrimSpace(strings.ToValidUTF8(message, "?"))
	if len(message) <= maxMessage {
		return message
	}
	const mark = "…"
	end := maxMessage - len(mark)
	for !utf8.RuneStart(message[end]) {
		end--
	}
	return message[:end] + mark
}
