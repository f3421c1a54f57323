// Package drain empties a node before its machine is touched: it cordons the node, tries evictions by dry run, evicts
// the pods, and uncordons. A drain only evicts, so that PodDisruptionBudgets hold; pods are deleted by Delete alone.
// The package never works on a machine.
package drain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/client-go/kubernetes"
	kubedrain "k8s.io/kubectl/pkg/drain"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/operation"
)

// Drainer empties nodes of one cluster. It is safe for use by many goroutines.
type Drainer struct {
	Client kubernetes.Interface
	Policy config.Drain
	// Answers is shared by the preflights of many nodes at one moment, so that alike pods are tried once. Nil tries
	// each pod.
	Answers *Answers
}

const (
	// deadKubeletGrace is how many seconds beyond its grace period a drain waits for a pod whose kubelet does not run:
	// no kubelet reports its end, and the pod garbage collector removes it with its node.
	deadKubeletGrace = 1
	// progressEvery is how often a drain checks whether there is progress to report.
	progressEvery = time.Second
)

var errTimeout = errors.New("drain timed out")

// Drain evicts the pods of a cordoned node, waits until they have ended, and returns how many have. Pods of DaemonSets
// and static pods stay. alive is true where the node's kubelet runs. progress gets an event at each change:
//
//	3 of 12 pods left, waiting for default/web-0 (PDB web allows none: 1 healthy, 1 needed)
//
// A refusal that waiting cannot change ends the drain at once, any other when the policy's timeout is over. The error
// then names each pod that is left, its owner, and its PodDisruptionBudget. Evicted pods do not come back.
func (d Drainer) Drain(ctx context.Context, node string, alive bool, progress operation.Progress) (int, error) {
	pods, err := d.pods(ctx, node)
	if err != nil {
		return 0, err
	}
	if err := refusal(node, d.refusals(pods)); err != nil {
		return 0, err
	}
	if len(pods) == 0 {
		return 0, nil
	}
	if err := d.canEvict(); err != nil {
		return 0, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, d.Policy.Timeout.Duration, errTimeout)
	defer cancel()
	limited, stop := context.WithCancelCause(limited)
	defer stop(nil)
	watch := newEvictions(pods, stop)
	err = d.evict(limited, watch, alive, progress)
	if err == nil {
		return len(pods), nil
	}
	return len(pods) - len(watch.left()), d.explain(ctx, limited, node, watch, err)
}

// evict runs kubectl's own drain, which repeats each eviction as long as the pod's budget allows none.
func (d Drainer) evict(ctx context.Context, watch *evictions, alive bool, progress operation.Progress) error {
	helper := d.helper(ctx)
	helper.Client = evictor{d.Client, watch}
	if !alive {
		helper.SkipWaitForDeleteTimeoutSeconds = deadKubeletGrace
	}
	helper.OnPodDeletionOrEvictionFinished = func(pod *corev1.Pod, _ bool, err error) {
		if err == nil {
			watch.ended(pod.Namespace, pod.Name)
			operation.Advanced(ctx)
		}
	}
	done, told := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		d.report(ctx, watch, done, progress)
	}()
	err := helper.DeleteOrEvictPods(watch.pods())
	close(done)
	<-told
	return err //nolint:wrapcheck // Drain explains it.
}

// helper returns kubectl's drain with everything forced: refusals makes its checks before, with errors that name the
// keys of argosy.yaml instead of kubectl's flags.
func (d Drainer) helper(ctx context.Context) *kubedrain.Helper {
	return &kubedrain.Helper{
		Ctx: ctx, Client: d.Client,
		Force: true, DeleteEmptyDirData: true, IgnoreAllDaemonSets: true,
		GracePeriodSeconds: d.Policy.GracePeriod, Timeout: d.Policy.Timeout.Duration, ChunkSize: pageSize,
		Out: io.Discard, ErrOut: io.Discard,
		AdditionalFilters: []kubedrain.PodFilter{exceptOwnPods},
	}
}

// deletionMargin is how long after its grace period a deleted pod may still exist.
const deletionMargin = 30 * time.Second

func longestGracePeriod(pods []corev1.Pod) time.Duration {
	longest := int64(0)
	for _, pod := range pods {
		if grace := pod.Spec.TerminationGracePeriodSeconds; grace != nil {
			longest = max(longest, *grace)
		}
	}
	return time.Duration(longest) * time.Second
}

// OwnLabel marks Argosy's own pods, which work on a node while it is drained and end by themselves.
const OwnLabel = "argosy.dev/works-on-node"

func exceptOwnPods(pod corev1.Pod) kubedrain.PodDeleteStatus {
	if pod.Labels[OwnLabel] != "" {
		return kubedrain.MakePodDeleteStatusSkip()
	}
	return kubedrain.MakePodDeleteStatusOkay()
}

// canEvict refuses a cluster in which kubectl's drain would delete pods instead.
func (d Drainer) canEvict() error {
	if d.Answers.canEvict() {
		return nil
	}
	version, err := kubedrain.CheckEvictionSupport(d.Client)
	if err != nil {
		return fmt.Errorf("asking the API server whether it evicts pods: %w", apply.Classify(err))
	}
	if version != policyv1.SchemeGroupVersion {
		return errclass.With(errclass.Permanent, errors.New("the API server has no evictions of policy/v1, and a "+
			"drain deletes no pods instead; drain the node by hand, or turn drain off"))
	}
	d.Answers.setCanEvict()
	return nil
}

// report reports the pods that are left, at each change and until done is closed.
func (d Drainer) report(ctx context.Context, watch *evictions, done <-chan struct{}, progress operation.Progress) {
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	last := ""
	for {
		if text := d.waiting(ctx, watch); text != last {
			total := len(watch.all)
			progress.Report(operation.Event{
				Detail: text, Unit: operation.Pods, Total: int64(total),
				Done: int64(total - len(watch.left())),
			})
			last = text
		}
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (d Drainer) waiting(ctx context.Context, watch *evictions) string {
	left := watch.left()
	if len(left) == 0 {
		return "all pods have ended"
	}
	text := fmt.Sprintf("%d of %d pods left, waiting for %s", len(left), len(watch.all), left[0].name())
	if left[0].refusal == nil {
		return text
	}
	return fmt.Sprintf("%s (%s)", text, d.blocker(ctx, left[0].pod, left[0].refusal))
}

// explain returns the error of a drain that did not finish; limited is the context that it ran in.
func (d Drainer) explain(ctx, limited context.Context, node string, watch *evictions, err error) error {
	cause := context.Cause(limited)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("draining node %s: %w", node, context.Cause(ctx))
	case errors.Is(cause, errTimeout):
		left := watch.left()
		return errclass.Errorf(errclass.Permanent, "draining node %s: after %s %d of %d pods are left: %s",
			node, d.Policy.Timeout.Duration, len(left), len(watch.all), d.describe(ctx, left))
	case cause != nil:
		return errclass.Errorf(errclass.Permanent, "draining node %s: %w", node, cause)
	}
	// A pod that may not be evicted ends the context, so this is a failed request to the API server.
	return errclass.Errorf(errclass.Transient, "draining node %s: %w", node, err)
}

// describe names pods that are left, each with its owner and the reason.
func (d Drainer) describe(ctx context.Context, left []remaining) string {
	return named(left, func(pod remaining) string {
		text := pod.name()
		if owner := d.owner(ctx, pod.pod); owner != "" {
			text += " of " + owner
		}
		if pod.refusal != nil {
			return fmt.Sprintf("%s (%s)", text, d.blocker(ctx, pod.pod, pod.refusal))
		}
		return text + " (evicted, and has not ended)"
	})
}

// Delete deletes the pods that are left on a node, against their budgets and the policy. Only drains with
// onDrainTimeout force use it.
func (d Drainer) Delete(ctx context.Context, node string, progress operation.Progress) (int, error) {
	pods, err := d.pods(ctx, node)
	if err != nil || len(pods) == 0 {
		return 0, err
	}
	operation.Reportf(progress, "deleting %s that did not leave: %s", count.Of(len(pods), "pod"), named(pods, nameOf))
	helper := d.helper(ctx)
	helper.DisableEviction = true
	// The drain's own time is over. Deleted pods end within their grace period, unless their kubelet is gone.
	helper.Timeout = max(d.Policy.Timeout.Duration, longestGracePeriod(pods)+deletionMargin)
	if err := helper.DeleteOrEvictPods(pods); err != nil {
		return 0, errclass.Errorf(errclass.Permanent, "deleting the pods of node %s: %w", node, err)
	}
	return len(pods), nil
}
