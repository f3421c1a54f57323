// Package drain empties a node before its machine is touched: it keeps new pods away, says what an eviction of those
// that are there would meet, evicts them, and gives the node back where that fails. It evicts only, so that
// PodDisruptionBudgets hold; it deletes no pod, and it never works on a machine.
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

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/operation"
)

// Drainer empties nodes of one cluster. It is safe for use by many goroutines.
type Drainer struct {
	Client kubernetes.Interface
	Policy config.Drain
}

const (
	// unanswered is how many seconds beyond its grace period a pod is waited for whose kubelet does not run: nobody is
	// there to say that it has ended, and it is collected with its node.
	unanswered = 1
	// progressEvery is how often it is looked at what is waited for.
	progressEvery = time.Second
)

var errTimeout = errors.New("the time of the drain is used up")

// Drain evicts the pods of a cordoned node, waits until they have ended, and returns how many have. Pods of DaemonSets
// and static pods stay. alive says that the node's kubelet runs. progress gets an event at each change:
//
//	3 of 12 pods left, waiting for default/web-0 (PDB web allows none: 1 healthy, 1 needed)
//
// What no waiting can help ends it at once, all else when the policy's time is used up. The error then names each pod
// that is left, its owner, and its PodDisruptionBudget. What was evicted does not come back.
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

// evict has kubectl's own drain evict the pods, each in its turn and again as long as its budget allows none.
func (d Drainer) evict(ctx context.Context, watch *evictions, alive bool, progress operation.Progress) error {
	helper := d.helper(ctx)
	helper.Client = evictor{d.Client, watch}
	if !alive {
		helper.SkipWaitForDeleteTimeoutSeconds = unanswered
	}
	helper.OnPodDeletionOrEvictionFinished = func(pod *corev1.Pod, _ bool, err error) {
		if err == nil {
			watch.ended(pod.Namespace, pod.Name)
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
	return err
}

// helper is kubectl's drain. What it would refuse is refused by us, in words that name what to set here, so it gets
// leave for all of it.
func (d Drainer) helper(ctx context.Context) *kubedrain.Helper {
	return &kubedrain.Helper{
		Ctx: ctx, Client: d.Client,
		Force: true, DeleteEmptyDirData: true, IgnoreAllDaemonSets: true,
		GracePeriodSeconds: d.Policy.GracePeriod, Timeout: d.Policy.Timeout.Duration, ChunkSize: pageSize,
		Out: io.Discard, ErrOut: io.Discard,
		AdditionalFilters: []kubedrain.PodFilter{butOwn},
	}
}

// endsWithin is how long a pod may take to be gone beyond its grace period.
const endsWithin = 30 * time.Second

func longestGrace(pods []corev1.Pod) time.Duration {
	longest := int64(0)
	for _, pod := range pods {
		if grace := pod.Spec.TerminationGracePeriodSeconds; grace != nil {
			longest = max(longest, *grace)
		}
	}
	return time.Duration(longest) * time.Second
}

// OwnLabel marks pods of Argosy's that work on a node while it is drained: they end by themselves.
const OwnLabel = "argosy.dev/works-on-node"

func butOwn(pod corev1.Pod) kubedrain.PodDeleteStatus {
	if pod.Labels[OwnLabel] != "" {
		return kubedrain.MakePodDeleteStatusSkip()
	}
	return kubedrain.MakePodDeleteStatusOkay()
}

// canEvict refuses a cluster in which kubectl's drain would delete pods instead.
func (d Drainer) canEvict() error {
	version, err := kubedrain.CheckEvictionSupport(d.Client)
	if err != nil {
		return fmt.Errorf("asking the API server whether it evicts pods: %w", apply.Classify(err))
	}
	if version != policyv1.SchemeGroupVersion {
		return errclass.With(errclass.Permanent, errors.New("the API server does not evict pods by policy/v1, and "+
			"Argosy deletes none in place of it"))
	}
	return nil
}

// report reports what is waited for until done.
func (d Drainer) report(ctx context.Context, watch *evictions, done <-chan struct{}, progress operation.Progress) {
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	last := ""
	for {
		if text := d.waiting(ctx, watch); text != last {
			total := len(watch.all)
			progress.Report(operation.Event{Detail: text, Unit: operation.Pods, Total: int64(total),
				Done: int64(total - len(watch.left()))})
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
	return fmt.Sprintf("%s (%s)", text, d.hindrance(ctx, left[0].pod, left[0].refusal))
}

// explain says why a drain did not come to its end; limited is the context that it ran in.
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
	// What may not be evicted has ended the context, so it was a question to the API server that went wrong.
	return errclass.Errorf(errclass.Transient, "draining node %s: %w", node, err)
}

// describe names pods that are left, and what keeps each.
func (d Drainer) describe(ctx context.Context, left []remaining) string {
	return named(left, func(pod remaining) string {
		text := pod.name()
		if owner := d.owner(ctx, pod.pod); owner != "" {
			text += " of " + owner
		}
		if pod.refusal != nil {
			return fmt.Sprintf("%s (%s)", text, d.hindrance(ctx, pod.pod, pod.refusal))
		}
		return text + " (evicted, and has not ended)"
	})
}

// Delete deletes what is left of a node's pods, whatever their budgets and the policy say: the last resort of who has
// said so.
func (d Drainer) Delete(ctx context.Context, node string, progress operation.Progress) (int, error) {
	pods, err := d.pods(ctx, node)
	if err != nil || len(pods) == 0 {
		return 0, err
	}
	operation.Reportf(progress, "deleting %d pods that did not leave: %s", len(pods), named(pods, nameOf))
	helper := d.helper(ctx)
	helper.DisableEviction = true
	// The drain's own time is used up. Pods that were told to end end within their grace, unless their kubelet is gone.
	helper.Timeout = max(d.Policy.Timeout.Duration, longestGrace(pods)+endsWithin)
	if err := helper.DeleteOrEvictPods(pods); err != nil {
		return 0, errclass.Errorf(errclass.Permanent, "deleting the pods of node %s: %w", node, err)
	}
	return len(pods), nil
}
