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

// answer is a phase, a message and outputs of a step, as Argo gets them.
type answer struct {
	phase   wfv1.NodePhase
	message string
	outputs []wfv1.Parameter
}

// running returns the answer while the run goes on.
func running(message string) answer {
	return answer{phase: wfv1.NodeRunning, message: message}
}

func (a answer) succeeded() bool { return a.phase == wfv1.NodeSucceeded || a.phase == wfv1.NodeSkipped }

// failed returns an answer with an explanation and all outputs, which are empty.
func failed(outputs []string, message string) answer {
	return answer{phase: wfv1.NodeFailed, message: message, outputs: parameters(outputs, nil)}
}

// panicked returns the answer to a bug of ours.
func panicked(outputs []string, cause any) answer {
	bug := failed(outputs, fmt.Sprintf("the argosy plugin has a bug and panicked: %v", cause))
	bug.phase = wfv1.NodeError
	return bug
}

// answerTo turns a result into an answer, or into a failure that names the mistake of the step.
func answerTo(outputs []string, result Result) answer {
	if err := checkResult(outputs, result); err != nil {
		return failed(outputs, fmt.Sprintf("the step ended %s, and its result cannot be used: %v", result.Phase, err))
	}
	return answer{
		phase:   wfv1.NodePhase(result.Phase),
		message: result.Message,
		outputs: parameters(outputs, result.Outputs),
	}
}

func checkResult(outputs []string, result Result) error {
	if result.Phase != Succeeded && result.Phase != Failed && result.Phase != Skipped {
		return fmt.Errorf("phase %q is none of Succeeded, Failed and Skipped", result.Phase)
	}
	total := 0
	for name, value := range result.Outputs {
		if !slices.Contains(outputs, name) {
			return fmt.Errorf("output %q is not declared", name)
		}
		if len(value) > maxOutput {
			return fmt.Errorf("output %q has %d bytes, more than the %d that one output may have", name, len(value),
				maxOutput)
		}
		total += len(value)
	}
	if total > maxOutputs {
		return fmt.Errorf("the outputs have %d bytes together, more than the %d that a step may have", total,
			maxOutputs)
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

// reply encodes the answer. Argo merges each reply into the one before, so no field may be left out that an earlier
// reply could have set. It calls again whenever there is a requeue, also after a failure, so only Running carries one.
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

// trim cuts a message to maxMessage bytes, between two runes.
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
