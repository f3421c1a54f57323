package steps

import (
	"cmp"
	"context"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/internal/traces"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
)

// traceMachine sends the spans of work on a machine. Work that goes on without this process is sent by the one that
// sees its end.
func (e *Env) traceMachine(ctx context.Context, call plugin.Call, cluster string, machine config.Machine,
	timeline operation.Timeline, err error,
) {
	if detached(ctx) {
		return
	}
	e.Traces.Machine(traces.RunOf(call.Workflow.UID), traces.Done{
		Name: call.Step + " " + machine.Name,
		Attributes: map[string]string{
			"namespace": call.Workflow.Namespace, "workflow": call.Workflow.Name, "cluster": cluster, "step": call.Step,
			"machine": machine.Name, "node": machine.NodeName,
		},
		Failure: traces.FailureOf(err),
	}, timeline)
}

// traceRun sends the span of the whole run, and all that was not sent yet: the plugin may end afterwards.
func (e *Env) traceRun(ctx context.Context, call plugin.Call, workflow *wfv1.Workflow, message string) {
	if e.Traces == nil {
		return
	}
	done := traces.Done{
		Name: cmp.Or(workflow.Labels[workflowLabel], "workflow") + " " + workflow.Name,
		Attributes: map[string]string{
			"namespace": call.Workflow.Namespace, "workflow": workflow.Name, "cluster": call.Input("cluster"),
			"result": call.Input("status"),
		},
		Began: workflow.Status.StartedAt.Time, Ended: time.Now(),
	}
	if status := call.Input("status"); status == string(wfv1.WorkflowFailed) || status == string(wfv1.WorkflowError) {
		done.Failure = cmp.Or(message, status)
	}
	e.Traces.Run(traces.RunOf(call.Workflow.UID), done)
	if err := e.Traces.Flush(ctx); err != nil {
		e.log.Warn("traces were not sent", "error", err.Error())
	}
}
