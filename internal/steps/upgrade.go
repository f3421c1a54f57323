package steps

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/internal/state"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// upgrader opens cluster for its machines to go to version. It is opened once in a workflow, after the control plane
// has moved, so that all machines mean the same.
func (e *Env) upgrader(ctx context.Context, call plugin.Call, in upgradeInput) (*upgrade.Upgrader, error) {
	if _, err := in.until(time.Time{}); err != nil {
		return nil, err
	}
	if _, err := parseBool("scheduled", in.Scheduled); err != nil {
		return nil, err
	}
	return e.upgrades.get(ctx, call, in.Cluster, func(ctx context.Context, _, _ string) (*upgrade.Upgrader, error) {
		return e.openUpgrade(ctx, call, in)
	})
}

// checkAgain holds the parameters of a step on one machine against the cluster once more: a workflow can call the step
// without its plan, or with another plan. It refuses a version that machines may not have beside the control plane as
// it is now, and bounds the plan by the documents' policy.
func checkAgain(ctx context.Context, u *upgrade.Upgrader, plan *rollout.Plan) error {
	runs, err := u.CurrentVersion(ctx)
	if err != nil {
		return err
	}
	if err := rollout.CheckTarget(runs, u.Version, false, nil); err != nil {
		return err
	}
	settings, total := u.Cluster.Fleet.Upgrade, len(u.Cluster.Fleet.Machines)
	unavailable := u.Cluster.MaxUnavailable()
	most, err := intstr.GetScaledValueFromIntOrPercent(&unavailable, total, false)
	if err != nil {
		return errclass.Errorf(errclass.Configuration, "reading upgrade.maxUnavailable of argosy.yaml: %w", err)
	}
	failures := settings.FailureBudget.IntOrString()
	budget, err := intstr.GetScaledValueFromIntOrPercent(&failures, total, false)
	if err != nil {
		return errclass.Errorf(errclass.Configuration, "reading upgrade.failureBudget of argosy.yaml: %w", err)
	}
	plan.MaxUnavailable = min(plan.MaxUnavailable, max(most, 1))
	plan.FailureBudget = min(plan.FailureBudget, budget)
	return nil
}

// openUpgrade opens cluster as it is now.
func (e *Env) openUpgrade(ctx context.Context, call plugin.Call, in upgradeInput) (*upgrade.Upgrader, error) {
	scheduled, err := parseBool("scheduled", in.Scheduled)
	if err != nil {
		return nil, err
	}
	upgrader, err := e.open.Upgrade(ctx, call.Workflow.Namespace, in.Cluster)
	if err != nil {
		return nil, err
	}
	upgrader.OnlyControlPlane = scheduled && !upgrader.Cluster.VCluster.PrivateNodes.AutoUpgrade.Enabled
	upgrader.Runner = e.runner(call, in.Cluster)
	// A word is for the plan to understand; machines follow the control plane.
	if version, err := parseVersion(in.Version); err == nil {
		upgrader.Version = version
	}
	upgrader.Rollout = call.Workflow.UID
	started, err := e.started(ctx, call, upgrader.Cluster.Fleet.Limits.RetryBudget.Duration)
	if err != nil {
		return nil, err
	}
	if !started.IsZero() {
		upgrader.Run = started.UTC().Format(time.RFC3339)
	}
	upgrader.Until, err = in.until(started)
	return upgrader, err
}

// started returns when the workflow of a call was started or retried last. Argo has no variable for it. Waiting for a
// mutex comes before.
func (e *Env) started(ctx context.Context, call plugin.Call, budget time.Duration) (started time.Time, err error) {
	if e.workflows == nil {
		return time.Time{}, nil
	}
	err = operation.Retrying(ctx, budget, operation.NoProgress{}, func(ctx context.Context) error {
		workflow, err := e.workflows.Workflow(ctx, call.Workflow.Namespace, call.Workflow.Name)
		if err != nil {
			return fmt.Errorf("reading when workflow %q was started: %w", call.Workflow.Name, apply.Classify(err))
		}
		started = workflow.Status.StartedAt.Time
		return nil
	})
	return started, err
}

// upgradeInput are the parameters of every step of an upgrade.
type upgradeInput struct {
	Cluster string `json:"cluster"`
	Version string `json:"version"`
	Machine string `json:"machine"`
	// Rollout is who is upgraded in which wave: a rollout.Plan in JSON.
	Rollout string `json:"rollout"`
	// Wave is the name of one of its waves.
	Wave string `json:"wave"`
	// Window is how long after Started the rollout may begin machines; empty for no end.
	Window  string `json:"window"`
	Started string `json:"started"`
	// Scheduled is "true" for a CronWorkflow: then autoUpgrade.enabled decides whether machines follow.
	Scheduled string `json:"scheduled"`
}

// until is when nothing more is begun; zero for never. begun is when the workflow was started or retried, or could make
// its plan, which may be long after its creation; zero where that is not known.
func (in upgradeInput) until(begun time.Time) (time.Time, error) {
	if in.Window == "" {
		return time.Time{}, nil
	}
	window, err := time.ParseDuration(in.Window)
	if err != nil || window <= 0 {
		return time.Time{}, fmt.Errorf("the parameter \"window\" is %q: give a time such as 4h, or nothing for no end",
			in.Window)
	}
	started, err := time.Parse(time.RFC3339, in.Started)
	if err != nil {
		return time.Time{}, fmt.Errorf("the parameter \"started\" is %q: give the workflow's creation as RFC 3339 "+
			"writes it: %w", in.Started, err)
	}
	if begun.After(started) {
		started = begun
	}
	return started.Add(window), nil
}

// inline returns the plan that parameter "rollout" holds; nil where it names the ConfigMap with the plan.
func (in upgradeInput) inline() (*rollout.Plan, error) {
	if in.Rollout != "" && !strings.HasPrefix(in.Rollout, "{") {
		return nil, nil
	}
	var plan rollout.Plan
	if err := json.Unmarshal([]byte(in.Rollout), &plan); err != nil {
		return nil, fmt.Errorf("the parameter \"rollout\" is %q: give the output \"rollout\" of step upgrade-plan: %w",
			in.Rollout, err)
	}
	return &plan, nil
}

// rolloutOf returns the plan that parameter "rollout" holds or names.
func (e *Env) rolloutOf(ctx context.Context, call plugin.Call, in upgradeInput, cluster *config.Cluster) (rollout.Plan,
	error,
) {
	inline, err := in.inline()
	if inline != nil || err != nil {
		return *cmp.Or(inline, &rollout.Plan{}), err
	}
	var plan rollout.Plan
	err = e.kept(ctx, call, in.Rollout, cluster, &plan)
	return plan, err
}

// rolloutOutputs sets outputs "rollout" and "waves". Those of many machines would be in each step of the workflow: the
// plan is kept in a ConfigMap, and waves are of groups.
func (e *Env) rolloutOutputs(ctx context.Context, call plugin.Call, cluster *config.Cluster, plan rollout.Plan,
	result plugin.Result,
) error {
	waves := slices.Clone(plan.Waves)
	if len(waves) == 0 {
		waves = []rollout.Wave{} // of which the template makes nothing
	}
	if plan.Size() <= maxOwnSteps {
		result.Outputs["waves"], result.Outputs["rollout"] = encode(waves), encode(plan)
		return nil
	}
	for i, wave := range waves {
		waves[i].Machines = nil
		for _, g := range groupsOf(wave.Machines, plan.Size()) {
			waves[i].Machines = append(waves[i].Machines, g.name())
		}
	}
	kept, err := e.keep(ctx, call, "rollout", cluster, plan)
	result.Outputs["waves"], result.Outputs["rollout"] = encode(waves), kept
	return err
}

// groupIn returns the group of that name in one of the plan's waves.
func groupIn(plan rollout.Plan, name string) (group, error) {
	var groups []group
	for _, wave := range plan.Waves {
		groups = append(groups, groupsOf(wave.Machines, plan.Size())...)
	}
	return groupNamed(groups, name)
}

// rolloutStep is the work of a step of a rollout.
type rolloutStep func(ctx context.Context, upgrader *upgrade.Upgrader, report func(string)) (plugin.Result, error)

// rolloutExecution prepares a step of a rollout; steps of one key share one run, and those without run by themselves.
func (e *Env) rolloutExecution(call plugin.Call, in upgradeInput, key string, do rolloutStep) plugin.Execution {
	return plugin.Execution{Key: key, Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
		upgrader, err := e.upgrader(ctx, call, in)
		if err != nil {
			return plugin.Result{}, err
		}
		return do(ctx, upgrader, report)
	}}
}

// waveStep is the work of a step on one machine of a plan.
type waveStep func(ctx context.Context, upgrader *upgrade.Upgrader, machine config.Machine, plan rollout.Plan,
	progress operation.Progress) (plugin.Result, error)

// waveExecution prepares a step of a rollout for one machine, or for a group of machines of a wave. A result with the
// reason why the machine was left counts as skipped.
func (e *Env) waveExecution(call plugin.Call, step plugin.Step, each func(*upgrade.Upgrader, rollout.Plan) eachMachine,
	do waveStep,
) (plugin.Execution, error) {
	var in upgradeInput
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	if _, err := in.inline(); err != nil {
		return plugin.Execution{}, err
	}
	key := machineInput{Cluster: in.Cluster, Machine: in.Machine}.key(call)
	return e.rolloutExecution(call, in, key,
		func(ctx context.Context, upgrader *upgrade.Upgrader, report func(string)) (plugin.Result, error) {
			plan, err := e.rolloutOf(ctx, call, in, upgrader.Cluster)
			if err != nil {
				return plugin.Result{}, err
			}
			if err := checkAgain(ctx, upgrader, &plan); err != nil {
				return plugin.Result{}, err
			}
			work := e.timed(call, in.Cluster, func(ctx context.Context, machine config.Machine,
				progress operation.Progress,
			) (plugin.Result, error) {
				return do(ctx, upgrader, machine, plan, progress)
			})
			if isGroup(in.Machine) {
				members, err := groupIn(plan, in.Machine)
				if err != nil {
					return plugin.Result{}, err
				}
				return e.runGroup(ctx, members, &groupWork{
					call: call, step: step, cluster: upgrader.Cluster, do: work, report: report,
					each: each(upgrader, plan),
				})
			}
			machine, err := findMachine(upgrader.Cluster, in.Machine)
			if err != nil {
				return plugin.Result{}, err
			}
			return work(ctx, machine, report)
		}), nil
}

// phaseOf returns Skipped for a machine that was left as it is; left is the reason.
func phaseOf(left string) plugin.Phase {
	if left != "" {
		return plugin.Skipped
	}
	return plugin.Succeeded
}

// upgradeStageStep has one machine receive all that its upgrade will need.
type upgradeStageStep struct{ env *Env }

func (upgradeStageStep) Name() string      { return "upgrade-stage" }
func (upgradeStageStep) Outputs() []string { return []string{"table", "report"} }

func (s upgradeStageStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	each := func(u *upgrade.Upgrader, _ rollout.Plan) eachMachine {
		return inLimiter(s.env.aheadFor(call, u.Cluster.Name, u.Cluster.Fleet.Limits.Concurrency))
	}
	return s.env.waveExecution(call, s, each, func(ctx context.Context, upgrader *upgrade.Upgrader,
		machine config.Machine,
		plan rollout.Plan, progress operation.Progress,
	) (plugin.Result, error) {
		limiter := s.env.limiterFor(call, upgrader.Cluster.Name, upgrader.Cluster.Fleet.Limits.Concurrency)
		staged, err := upgrader.Stage(ctx, machine, plan, limiter, progress)
		if err != nil {
			return plugin.Result{}, err
		}
		return plugin.Result{
			Phase: phaseOf(staged.Left), Message: staged.String(),
			Outputs: map[string]string{"report": encode(staged)},
		}, nil
	})
}

// upgradeStep takes one machine of a wave to the new version.
type upgradeStep struct{ env *Env }

func (upgradeStep) Name() string { return "upgrade" }
func (upgradeStep) Outputs() []string {
	return []string{"version", "changed", "unavailable", "table", "report"}
}

func (s upgradeStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	each := func(u *upgrade.Upgrader, plan rollout.Plan) eachMachine {
		return func(ctx context.Context, g group, do func(i int)) error { return u.InTurn(ctx, plan, g, do) }
	}
	return s.env.waveExecution(call, s, each, func(ctx context.Context, upgrader *upgrade.Upgrader,
		machine config.Machine,
		plan rollout.Plan, progress operation.Progress,
	) (plugin.Result, error) {
		outcome, err := upgrader.Upgrade(ctx, machine, plan, progress)
		if outcome.RolledBack && err != nil {
			event := state.Event{Warning: true, Reason: "RolledBack", Message: err.Error()}
			s.env.State.Event(call.Workflow.Namespace, upgrader.Cluster.Name, event)
			s.env.nodeEvent(ctx, call, upgrader.Joiner, machine.NodeName, event)
		}
		if err != nil {
			if !outcome.RolledBack {
				s.env.nodeEvent(ctx, call, upgrader.Joiner, machine.NodeName, failureOf(s.Name(), err))
			}
			return plugin.Result{Outputs: map[string]string{"report": encode(outcome)}}, err
		}
		if outcome.Changed {
			s.env.nodeEvent(ctx, call, upgrader.Joiner, outcome.Node, successOf(s.Name(), outcome.String()))
		}
		return plugin.Result{Phase: phaseOf(outcome.Left), Message: outcome.String(), Outputs: map[string]string{
			"version": outcome.Version, "changed": strconv.FormatBool(outcome.Changed),
			"unavailable": fmt.Sprintf("%.1f", outcome.Unavailable), "report": encode(outcome),
		}}, nil
	})
}

// upgradeGateStep returns the approval and the pause between a wave and the next one.
type upgradeGateStep struct{ env *Env }

func (upgradeGateStep) Name() string      { return "upgrade-gate" }
func (upgradeGateStep) Outputs() []string { return []string{"approve", "pause"} }

func (s upgradeGateStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in upgradeInput
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	inline, err := in.inline()
	if err != nil {
		return plugin.Execution{}, err
	}
	if inline != nil {
		if _, err := in.waveOf(*inline); err != nil {
			return plugin.Execution{}, err
		}
	}
	return s.env.rolloutExecution(call, in, "", func(ctx context.Context, upgrader *upgrade.Upgrader,
		_ func(string)) (plugin.Result,
		error,
	) {
		plan, err := s.env.rolloutOf(ctx, call, in, upgrader.Cluster)
		if err != nil {
			return plugin.Result{}, err
		}
		wave, err := in.waveOf(plan)
		if err != nil {
			return plugin.Result{}, err
		}
		gate, err := upgrader.After(ctx, plan, wave)
		if err != nil {
			return plugin.Result{}, err
		}
		message := fmt.Sprintf("wave %s is done", wave.Name)
		switch {
		case gate.Halt != nil:
			message = gate.Halt.Reason
		case gate.Unproven:
			message += "; no canary was upgraded, so that the next one needs an approval"
		case gate.Approve:
			message += "; the next one needs an approval"
		}
		halted := ""
		if gate.Halt != nil {
			halted = gate.Halt.Reason
		}
		s.env.record(call, in.Cluster, state.WaveEnded(wave.Name, halted))
		return plugin.Result{Phase: plugin.Succeeded, Message: message, Outputs: map[string]string{
			"approve": strconv.FormatBool(gate.Approve), "pause": strconv.Itoa(int(gate.Pause.Seconds())),
		}}, nil
	}), nil
}

// waveOf returns the wave that the input names.
func (in upgradeInput) waveOf(plan rollout.Plan) (rollout.Wave, error) {
	wave, found := plan.Wave(in.Wave)
	if !found {
		return wave, fmt.Errorf("the parameter \"wave\" is %q: give the name of a wave of the parameter \"rollout\"",
			in.Wave)
	}
	return wave, nil
}

// upgradeVerifyStep succeeds when every machine that takes part is at the new version, or when the workflow was retried
// and machines that an earlier run left are to be upgraded now, which are its outputs. In a workflow that has failed it
// is this step that Argo retries.
type upgradeVerifyStep struct{ env *Env }

func (upgradeVerifyStep) Name() string      { return "upgrade-verify" }
func (upgradeVerifyStep) Outputs() []string { return []string{"run", "waves", "rollout"} }

func (s upgradeVerifyStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		upgradeInput
		Machines string `json:"machines"`
		// Run is the run of the workflow for which this step had machines upgraded before; empty for none.
		Run string `json:"run"`
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	if _, err := in.inline(); err != nil {
		return plugin.Execution{}, err
	}
	return s.env.rolloutExecution(call, in.upgradeInput, "", func(ctx context.Context, upgrader *upgrade.Upgrader,
		_ func(string),
	) (plugin.Result, error) {
		plan, err := s.env.rolloutOf(ctx, call, in.upgradeInput, upgrader.Cluster)
		if err != nil {
			return plugin.Result{}, err
		}
		machines, err := upgrader.Cluster.Select(in.Machines)
		if err != nil {
			return plugin.Result{}, err
		}
		if upgrader.Run != in.Run {
			again, err := upgrader.Again(ctx, machines)
			if err != nil {
				return plugin.Result{}, err
			}
			if len(again.Waves) > 0 {
				if again.Until, err = in.until(time.Now()); err != nil {
					return plugin.Result{}, err
				}
				result := againResult(upgrader.Run, again)
				return result, s.env.rolloutOutputs(ctx, call, upgrader.Cluster, again, result)
			}
		}
		message, err := upgrader.Verify(ctx, machines, plan)
		return plugin.Result{Phase: plugin.Succeeded, Message: message, Outputs: map[string]string{
			"run": upgrader.Run, "waves": encode([]rollout.Wave{}), "rollout": in.Rollout,
		}}, err
	}), nil
}

// againResult has the template upgrade the waves of again.
func againResult(run string, again rollout.Plan) plugin.Result {
	return plugin.Result{
		Phase: plugin.Succeeded,
		Message: fmt.Sprintf("the workflow was retried: %s that it left before in %s",
			count.Of(again.Size(), "machine"), count.Of(len(again.Waves), "wave")),
		Outputs: map[string]string{"run": run},
	}
}

// upgradeCleanStep leaves no node cordoned, however the workflow ended.
type upgradeCleanStep struct{ env *Env }

func (upgradeCleanStep) Name() string      { return "upgrade-clean" }
func (upgradeCleanStep) Outputs() []string { return nil }

func (s upgradeCleanStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in upgradeInput
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	return s.env.rolloutExecution(call, in, "", func(ctx context.Context, upgrader *upgrade.Upgrader,
		report func(string)) (plugin.Result,
		error,
	) {
		done, err := upgrader.Clean(ctx, operation.AsText(report))
		if err != nil {
			return plugin.Result{}, err
		}
		if len(done) == 0 {
			done = []string{"no node was left cordoned"}
		}
		return plugin.Result{Phase: plugin.Succeeded, Message: strings.Join(done, "\n")}, nil
	}), nil
}
