package steps

import (
	"cmp"
	"context"
	"errors"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/internal/state"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/operation"
)

// recordedStep records how a step went in the state of its cluster. That never fails the step.
type recordedStep struct {
	plugin.Step
	env *Env
}

// machineSteps are the steps that work on one machine.
var machineSteps = map[string]struct {
	// done is the reason of an event about a success.
	done string
	// changes is true where the machine is not the node meanwhile that it was.
	changes bool
	// after a success; empty leaves the state as it was.
	after state.MachineState
}{
	state.OperationJoin:      {"Joined", true, state.Ready},
	state.OperationReconcile: {"Reconciled", true, state.Ready},
	"upgrade-stage":          {"Staged", false, ""},
	state.OperationUpgrade:   {"Upgraded", true, state.Ready},
	state.OperationRollback:  {"RolledBack", true, state.Ready},
	state.OperationRemove:    {"Removed", true, state.Removed},
	state.OperationReset:     {"Reset", true, state.Removed},
	state.OperationImport:    {"ImagesImported", false, ""},
}

// clusterSteps are the steps that work on a cluster as a whole, with the reason of an event about a success; empty
// makes none. Steps in neither list are not recorded.
var clusterSteps = map[string]string{
	"plan": "", "verify": "", "reconcile-plan": "", "remove-plan": "", "reset-plan": "", "images-plan": "",
	"upgrade-plan": "", "upgrade-verify": "", "rollback-plan": "",
	"provision-control-plane": "Provisioned", "provision-addons": "", "provision-verify": "", "backup": "BackedUp",
	"restore": "Restored",
}

func (s recordedStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	execution, err := s.Step.Prepare(call)
	cluster := call.Input("cluster")
	if err != nil || s.env.State == nil || cluster == "" {
		return execution, err
	}
	run := execution.Run
	if machine := call.Input("machine"); machine != "" {
		if isGroup(machine) {
			return execution, nil // each of its machines is recorded
		}
		execution.Run = func(ctx context.Context, report func(string)) (plugin.Result, error) {
			return s.onMachine(ctx, call, cluster, machine, func(ctx context.Context) (plugin.Result, error) {
				return run(ctx, report)
			})
		}
		return execution, nil
	}
	execution.Run = func(ctx context.Context, report func(string)) (plugin.Result, error) {
		return s.onCluster(ctx, call, cluster, func() (plugin.Result, error) { return run(ctx, report) })
	}
	return execution, nil
}

// onMachine records the begin and the end of work on a machine.
func (s recordedStep) onMachine(ctx context.Context, call plugin.Call, cluster, machine string,
	run func(ctx context.Context) (plugin.Result, error),
) (plugin.Result, error) {
	step, known := machineSteps[s.Name()]
	if !known {
		return run(ctx)
	}
	started := time.Now()
	if step.changes {
		s.env.record(call, cluster, state.Began(machine, s.Name(), started))
	}
	measured, measurements := operation.Measuring(ctx)
	result, err := run(measured)
	if detached(ctx) {
		return result, err
	}
	end := state.End{
		Machine: machine, Operation: s.Name(), State: step.after, Node: result.Outputs["node"],
		Version: result.Outputs["version"], Message: result.Message, At: time.Now(), Took: time.Since(started),
		Retries: measurements.Retries(), Bytes: measurements.Bytes(),
	}
	for _, phase := range measurements.Phases() {
		end.Phases = append(end.Phases, state.PhaseTotal{Name: phase.Name, Count: 1, Seconds: phase.Seconds})
	}
	switch {
	case err != nil:
		end.State, end.Message, end.Failed = state.Failed, err.Error(), errclass.ClassOf(err)
		event := failureOf(s.Name(), err)
		s.env.State.Event(call.Workflow.Namespace, cluster, event)
	case result.Phase == plugin.Failed:
		end.State, end.Failed = state.Failed, errclass.Permanent
	case result.Phase == plugin.Skipped:
		end.Version, end.Skipped = "", true // it has the version of before
	case result.Outputs["changed"] == "true":
		s.env.State.Event(call.Workflow.Namespace, cluster, successOf(s.Name(), machine+": "+result.Message))
	}
	s.env.record(call, cluster, state.Ended(end))
	return result, err
}

// onCluster records the end of work on a cluster, and waits until all is written: the plugin may end afterwards.
func (s recordedStep) onCluster(ctx context.Context, call plugin.Call, cluster string,
	run func() (plugin.Result, error),
) (plugin.Result, error) {
	started := time.Now()
	result, err := run()
	reason, known := clusterSteps[s.Name()]
	if detached(ctx) || !known && s.Name() != (summaryStep{}).Name() && s.Name() != (upgradeGateStep{}).Name() {
		return result, err
	}
	if known {
		done := state.Operation{
			Name: s.Name(), Succeeded: err == nil && result.Phase != plugin.Failed, When: metav1.Now(),
			Seconds: int64(time.Since(started).Round(time.Second).Seconds()), Workflow: call.Workflow.Name,
		}
		if !done.Succeeded {
			done.Message = result.Message
		}
		if err != nil {
			done.Message = err.Error()
		}
		s.env.record(call, cluster, state.Operated(done))
		switch {
		case err != nil:
			s.env.State.Event(call.Workflow.Namespace, cluster, failureOf(s.Name(), err))
		case reason != "":
			s.env.State.Event(call.Workflow.Namespace, cluster, successOf(s.Name(), result.Message))
		}
	}
	s.env.State.Flush(ctx, call.Workflow.Namespace, cluster)
	return result, err
}

// detached reports whether the work goes on without this process, which does not know how it ends.
func detached(ctx context.Context) bool { return errors.Is(context.Cause(ctx), plugin.ErrDetach) }

// record takes changes of the state of a cluster in the namespace of a call's workflow.
func (e *Env) record(call plugin.Call, cluster string, changes ...state.Change) {
	e.State.Record(call.Workflow.Namespace, cluster, changes...)
}

// nodeEvent makes an event about a machine's node, in its own cluster.
func (e *Env) nodeEvent(ctx context.Context, call plugin.Call, joiner *join.Joiner, node string, event state.Event) {
	if e.State == nil || detached(ctx) || joiner.Target == nil || joiner.Target.Client == nil {
		return
	}
	state.OnNode(ctx, joiner.Target.Client, e.logger(call, joiner.Cluster.Name), node, event)
}

// successOf returns the event of a step that succeeded.
func successOf(step, message string) state.Event {
	return state.Event{Reason: cmp.Or(machineSteps[step].done, clusterSteps[step], "Done"), Message: message}
}

// failed has the reasons of events about steps that failed.
var failed = map[string]string{
	state.OperationJoin: "JoinFailed", state.OperationReconcile: "ReconcileFailed", "upgrade-stage": "StageFailed",
	state.OperationRollback: "RollbackFailed",
	state.OperationUpgrade:  "UpgradeFailed", state.OperationRemove: "RemoveFailed",
	state.OperationReset:  "ResetFailed",
	state.OperationImport: "ImportFailed", "backup": "BackupFailed", "restore": "RestoreFailed",
	"provision-control-plane": "ProvisionFailed", "provision-addons": "ProvisionFailed",
	"provision-verify": "ProvisionFailed", "plan": "PlanFailed", "reconcile-plan": "PlanFailed",
	"upgrade-plan": "PlanFailed", "rollback-plan": "PlanFailed",
}

// failureOf returns the event of a step that failed.
func failureOf(step string, err error) state.Event {
	return state.Event{Warning: true, Reason: cmp.Or(failed[step], "Failed"), Message: err.Error()}
}
