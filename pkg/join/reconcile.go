package join

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"argosy.dev/argosy/internal/apply"
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
	if err := r.checkDrained(ctx, found); err != nil {
		return err
	}
	if err := r.work(ctx, found); err != nil {
		return err
	}
	if err := r.finish(ctx, found); err != nil || !r.outcome.Changed {
		return err
	}
	return r.proveSame(ctx)
}

// checkDrained refuses a change for which no pods may run while the node is not drained: running containers would keep
// CPUs and memory that the kubelet gives to others.
func (r *run) checkDrained(ctx context.Context, found Inspection) error {
	name := r.machine.NodeName
	needed := func(change spec.Change) bool { return change.Effect == spec.NeedsDrain }
	if found.Running() || !slices.ContainsFunc(changesOf(found.Facts.Plan), needed) {
		return nil
	}
	way := fmt.Sprintf("run kubectl drain %s --ignore-daemonsets, reconcile, and kubectl uncordon %s", name, name)
	node, err := r.Target.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading node %q: %w", name, apply.Classify(err))
	}
	if !node.Spec.Unschedulable {
		return errclass.Errorf(errclass.Configuration, "another cpuManagerPolicy or memoryManagerPolicy needs a "+
			"drained node, and node %s is not cordoned; %s", name, way)
	}
	pods, err := r.Target.Client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", name).String(),
	})
	if err != nil {
		return fmt.Errorf("listing the pods of node %q: %w", name, apply.Classify(err))
	}
	for _, pod := range pods.Items {
		if pod.Spec.NodeName == name && keepsNodeBusy(pod) {
			return errclass.Errorf(errclass.Configuration, "another cpuManagerPolicy or memoryManagerPolicy needs a "+
				"drained node, and pod %s/%s is on node %s; %s", pod.Namespace, pod.Name, name, way)
		}
	}
	return nil
}

// keepsNodeBusy reports whether a drain would evict the pod: it has not ended, and is neither of a DaemonSet nor of a
// file on the machine.
func keepsNodeBusy(pod corev1.Pod) bool {
	owner := metav1.GetControllerOf(&pod)
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	over := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	return !over && !mirror && (owner == nil || owner.Kind != "DaemonSet")
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
