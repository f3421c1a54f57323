package plugin

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Step is one kind of work that a template can ask for.
type Step interface {
	// Name returns the value of "step" in a template's plugin object.
	Name() string
	// Outputs returns the names of all output parameters, in the order in which they are answered. Every terminal
	// answer carries all of them: Argo waits for ever for a declared output that is missing.
	Outputs() []string
	// Prepare decodes the inputs of a call. It touches nothing and returns at once. An error is answered as Failed with
	// its text, so it should tell the user how to correct the inputs.
	Prepare(call Call) (Execution, error)
}

// Execution is the work that one or several identical calls wait for.
type Execution struct {
	// Key identifies the work: calls of one step with the same key share one run, even from different workflows. An
	// empty key is shared only by repetitions of the same call.
	Key string
	// Run does the work, for as long as it takes. It reports progress in one line, whenever there is news; Argo shows
	// the newest. An error is answered as Failed with its text and the outputs of the result. When ctx ends,
	// context.Cause is errCancelled or
	// ErrDetach.
	Run func(ctx context.Context, report func(message string)) (Result, error)
}

// Phase is how a run ended.
type Phase string

// The ways to end. An error returned by Execution.Run is Failed.
const (
	Succeeded Phase = "Succeeded"
	Failed    Phase = "Failed"
	// Skipped counts as success in Argo, and its outputs can be used.
	Skipped Phase = "Skipped"
)

// Result is the outcome of a run.
type Result struct {
	Phase Phase
	// Message is one to a few lines for people, of which at most 1 KiB is shown. It is stored in the Workflow: no
	// secrets.
	Message string
	// Outputs by name; missing ones are answered empty. They are stored in the Workflow: no secrets.
	Outputs map[string]string
}

// The causes with which a run's context ends; both are found with errors.Is on context.Cause.
var (
	// errCancelled: the user no longer wants the work. Stop it at the next safe point, wherever it runs.
	errCancelled = errors.New("cancelled")
	// ErrDetach: this process ends, and the work is still wanted. Stop watching it and let it go on elsewhere; the next
	// call, in the next process, finds it. The result is not used.
	ErrDetach = errors.New("the plugin is shutting down; the work goes on without it")
)

// outputName is the pattern that the schema of WorkflowTaskSet demands of parameter names. One bad name makes the
// agent's patch fail, and with it every step whose answer is in the same patch.
var outputName = regexp.MustCompile(`^[-a-zA-Z0-9_]+$`)

// registry finds steps by name.
type registry map[string]Step

func newRegistry(steps []Step) (registry, error) {
	found := make(registry, len(steps))
	for _, step := range steps {
		name := step.Name()
		if !outputName.MatchString(name) {
			return nil, fmt.Errorf("registering step %q: a name consists of letters, digits, - and _", name)
		}
		if _, twice := found[name]; twice {
			return nil, fmt.Errorf("registering step %q: it is registered twice", name)
		}
		if err := checkOutputs(step.Outputs()); err != nil {
			return nil, fmt.Errorf("registering step %q: %w", name, err)
		}
		found[name] = step
	}
	return found, nil
}

func checkOutputs(names []string) error {
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if !outputName.MatchString(name) {
			return fmt.Errorf("output %q: a name consists of letters, digits, - and _", name)
		}
		if seen[name] {
			return fmt.Errorf("output %q is declared twice", name)
		}
		seen[name] = true
	}
	return nil
}

// find returns the step of a call, or an error with the names of all steps.
func (r registry) find(call Call) (Step, error) {
	if step, ok := r[call.Step]; ok {
		return step, nil
	}
	known := make([]string, 0, len(r))
	for name := range r {
		known = append(known, name)
	}
	slices.Sort(known)
	if call.Step == "" {
		return nil, fmt.Errorf("the template's plugin object names no step: set \"step\" to one of %s",
			strings.Join(known, ", "))
	}
	return nil, fmt.Errorf("unknown step %q: this plugin knows %s; %s", call.Step, strings.Join(known, ", "),
		call.otherRelease())
}
