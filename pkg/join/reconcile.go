package join

import (
	"context"
	"strings"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// Reconcile removes the differences between a node and the documents, and restarts only the services concerned; pods
// run on. It looks once more at the end, and fails if anything still differs. A machine that is no node yet is refused:
// it joins first. Otherwise it is like Join.
func (j *Joiner) Reconcile(ctx context.Context, machine config.Machine, limiter *operation.Limiter,
	progress operation.Progress,
) (Outcome, error) {
	r := &run{Joiner: j, machine: machine, progress: progress}
	return r.runJob(ctx, "reconciling", limiter, r.inspectJoined, r.reconcile)
}

// inspectJoined refuses a machine that has not joined yet.
func (r *run) inspectJoined(ctx context.Context) (Inspection, error) {
	found, err := r.inspect(ctx)
	if err != nil || found.Running() || found.Facts.Plan.Error != nil || found.onlyDiffers(r.Target) {
		return found, err
	}
	return found, errclass.Errorf(errclass.Configuration,
		"the machine is no node of cluster %s yet, or its join was not finished: submit workflow join first",
		r.Cluster.Name)
}

func (r *run) reconcile(ctx context.Context, found Inspection) error {
	if err := r.work(ctx, found); err != nil {
		return err
	}
	if err := r.finish(ctx, found); err != nil || !r.outcome.Changed {
		return err
	}
	return r.proveSame(ctx)
}

// proveSame inspects the machine once more, and fails if anything still differs.
func (r *run) proveSame(ctx context.Context) error {
	operation.Reportf(r.progress, "inspecting whether anything still differs")
	found, err := r.Inspect(ctx, r.machine, spec.KindJoin)
	if err != nil {
		return err
	}
	if left := operation.WantedPhases(found.Facts.Plan); len(left) > 0 {
		return errclass.Errorf(errclass.Permanent, "phases %s were carried out, and there still differs %s: "+
			"something on the machine changes it back",
			strings.Join(left, ", "), strings.Join(changesWithEffects(changesOf(found.Facts.Plan)), ", "))
	}
	return nil
}
