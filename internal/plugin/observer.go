package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// labelCompleted is set by the workflow controller on a Workflow that has ended.
const labelCompleted = "workflows.argoproj.io/completed"

// observer reads the state of a workflow that decides whether its steps are still wanted. Argo itself tells a plugin
// nothing about it.
type observer interface {
	// observe returns the fields that it could read, also beside an error; the others are zero, which never means
	// cancelled.
	observe(ctx context.Context, workflow Workflow) (observation, error)
}

// observation is the state of a workflow that decides whether a call is still wanted.
type observation struct {
	// Gone: there is no such Workflow, or another one has taken its name.
	Gone bool
	// Deleting: it has a deletion timestamp.
	Deleting bool
	// Completed: the controller is done with it.
	Completed bool
	// Shutdown is "", "Stop" or "Terminate".
	Shutdown wfv1.ShutdownStrategy
	// HasTasks: its WorkflowTaskSet exists, and Tasks are the plugin steps of ours that are listed in it.
	HasTasks bool
	Tasks    map[task]bool
}

// task identifies a plugin step by the fields of its template.
type task struct{ Step, Node, Attempt string }

// cancelled reports whether the work of a call is no longer wanted, and why. The first line that applies decides:
//
//	workflow   deletion   shutdown    completed   under onExit   TaskSet    task listed   verdict
//	gone       -          -           -           -              -          -             cancelled
//	there      set        -           -           -              -          -             cancelled
//	there      unset      Terminate   -           -              -          -             cancelled
//	there      unset      "", Stop    yes         -              -          -             cancelled
//	there      unset      Stop        no          no             -          -             cancelled
//	there      unset      "", Stop*   no          -              there      no            cancelled
//	there      unset      "", Stop*   no          -              there      yes           wanted
//	there      unset      "", Stop*   no          -              missing    -             wanted
//
// (* only steps under the exit handler get that far under Stop.) A step that was ended by hand leaves the TaskSet while
// its workflow goes on. A missing TaskSet decides nothing: its deletion never precedes the Workflow's.
func (o observation) cancelled(call Call) (reason string, cancelled bool) {
	name := call.Workflow.Name
	switch {
	case o.Gone:
		return fmt.Sprintf("workflow %q is gone", name), true
	case o.Deleting:
		return fmt.Sprintf("workflow %q is being deleted", name), true
	case o.Shutdown == wfv1.ShutdownStrategyTerminate:
		return fmt.Sprintf("workflow %q was terminated", name), true
	case o.Completed:
		return fmt.Sprintf("workflow %q has ended", name), true
	case o.Shutdown == wfv1.ShutdownStrategyStop && !underExit(call):
		return fmt.Sprintf("workflow %q was stopped", name), true
	case o.HasTasks && !o.Tasks[task{Step: call.Step, Node: call.Node, Attempt: call.Attempt}]:
		return fmt.Sprintf("step %q was ended in workflow %q", call.Node, name), true
	}
	return "", false
}

// over reports whether no step of the workflow is wanted any more.
func (o observation) over() bool {
	return o.Gone || o.Deleting || o.Completed || o.Shutdown == wfv1.ShutdownStrategyTerminate
}

// underExit reports whether the node belongs to the workflow's exit handler, which runs on after a stop.
func underExit(call Call) bool {
	rest, found := strings.CutPrefix(call.Node, call.Workflow.Name+".onExit")
	return found && (rest == "" || strings.ContainsAny(rest[:1], "[.("))
}

// argoObserver asks the API server. Reading two objects when asked costs less than keeping informers in a process that
// serves one workflow.
type argoObserver struct{ argo versioned.Interface }

func (o argoObserver) observe(ctx context.Context, workflow Workflow) (observation, error) {
	api := o.argo.ArgoprojV1alpha1()
	found, err := api.Workflows(workflow.Namespace).Get(ctx, workflow.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return observation{Gone: true}, nil
	}
	if err != nil {
		return observation{}, fmt.Errorf("reading workflow %q: %w", workflow.Name, err)
	}
	seen := observation{
		Gone:      workflow.UID != "" && string(found.UID) != workflow.UID,
		Deleting:  found.DeletionTimestamp != nil,
		Completed: found.Labels[labelCompleted] == "true",
		Shutdown:  found.Spec.Shutdown,
	}
	tasks, err := api.WorkflowTaskSets(workflow.Namespace).Get(ctx, workflow.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return seen, nil
	}
	if err != nil {
		return seen, fmt.Errorf("reading workflowtaskset %q: %w", workflow.Name, err)
	}
	seen.HasTasks, seen.Tasks = true, ourTasks(tasks)
	return seen, nil
}

// ourTasks returns the tasks of the templates in a TaskSet. Its keys are of no help: they are hashes of node names
// that, for a retried step, a plugin is never told.
func ourTasks(set *wfv1.WorkflowTaskSet) map[task]bool {
	found := map[task]bool{}
	for _, template := range set.Spec.Tasks {
		if template.Plugin == nil {
			continue
		}
		var object map[string]struct{ Step, Node, Attempt string }
		if err := json.Unmarshal(template.Plugin.Value, &object); err != nil {
			continue // another plugin's
		}
		if own, ok := object[ObjectKey]; ok {
			found[task(own)] = true
		}
	}
	return found
}
