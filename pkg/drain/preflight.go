package drain

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/errclass"
)

// Preflight is the result of a drain that was only tried.
type Preflight struct {
	Node string `json:"node"`
	// Pods that would be evicted.
	Pods []Pod `json:"pods,omitempty"`
	// Volumes that are local to the node's machine.
	Volumes []Volume `json:"volumes,omitempty"`
	// Refusals are the reasons, in sentences, for which a drain would not begin, or never end.
	Refusals []string `json:"refusals,omitempty"`
}

// Pod is one that would be evicted.
type Pod struct {
	// Name is "namespace/name".
	Name string `json:"name"`
	// Owner of a pod that may not be evicted now, e.g. "Deployment web".
	Owner string `json:"owner,omitempty"`
	// Single: no controller brings it back.
	Single bool `json:"single,omitempty"`
	// EmptyDir: its emptyDir volumes end with it.
	EmptyDir bool `json:"emptyDir,omitempty"`
	// Blocked is why it is not evicted now; empty where it would be.
	Blocked string `json:"blocked,omitempty"`
}

const (
	// triedInParallel is how many evictions of one node are tried in parallel.
	triedInParallel = 8
	// tryTimeout bounds one of them: while a budget is new, client-go itself waits and repeats.
	tryTimeout = 10 * time.Second
)

// Inspect returns the pods of a node that a drain would evict, and its local volumes, and tries no evictions. volumes
// are those that Volumes listed.
func (d Drainer) Inspect(ctx context.Context, node *corev1.Node, volumes []corev1.PersistentVolume) (Preflight, error) {
	found := Preflight{Node: node.Name, Volumes: localTo(node, volumes)}
	pods, err := d.pods(ctx, node.Name)
	for _, pod := range pods {
		found.Pods = append(found.Pods, podOf(pod))
	}
	return found, err
}

func podOf(pod corev1.Pod) Pod {
	return Pod{Name: nameOf(pod), Single: isSingle(pod), EmptyDir: hasEmptyDir(pod)}
}

// Preflight tries the eviction of each pod of a node without doing it, by dry run in the API server, so that admission
// and budgets answer as they will. volumes are those that Volumes listed. It changes nothing. With d.Answers, a pod is
// not tried where one like it was allowed to be evicted.
func (d Drainer) Preflight(ctx context.Context, node *corev1.Node, volumes []corev1.PersistentVolume) (Preflight,
	error,
) {
	found := Preflight{Node: node.Name, Volumes: localTo(node, volumes)}
	if err := d.canEvict(); err != nil {
		return found, err
	}
	pods, err := d.pods(ctx, node.Name)
	if err != nil {
		return found, err
	}
	found.Refusals = d.refusals(pods)
	tried, never, err := d.tryEvictions(ctx, pods)
	if err != nil {
		return found, err
	}
	found.Pods = tried
	if len(never) > 0 {
		found.Refusals = append(found.Refusals, named(never, func(p Pod) string { return p.Name + ": " + p.Blocked }))
	}
	return found, nil
}

// tryEvictions tries the evictions, and returns also the pods that can never be evicted.
func (d Drainer) tryEvictions(ctx context.Context, pods []corev1.Pod) (tried, never []Pod, err error) {
	tried = make([]Pod, len(pods))
	forGood := make([]bool, len(pods))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(triedInParallel)
	for i, pod := range pods {
		group.Go(func() error {
			var err error
			tried[i], forGood[i], err = d.tryEviction(ctx, pod)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	for i, pod := range tried {
		if forGood[i] {
			never = append(never, pod)
		}
	}
	return tried, never, nil
}

// tryEviction tries one eviction:
//
//	the API server answers a dry run with        the pod
//	yes, not found, a conflict, terminating      would be evicted
//	too many requests: a budget                  is waited for
//	5xx of a webhook, or one without dry runs    is waited for: only the eviction itself tells
//	nothing within tryTimeout                    is waited for
//	another error that a repetition may cure     is tried again with all others
//	anything else                                can never be evicted
func (d Drainer) tryEviction(ctx context.Context, pod corev1.Pod) (tried Pod, never bool, err error) {
	tried = podOf(pod)
	if d.Answers.allow(pod) {
		return tried, false, nil
	}
	limited, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	helper := d.helper(limited)
	helper.DryRunStrategy = cmdutil.DryRunServer
	refusal := helper.EvictPod(pod, policyv1.SchemeGroupVersion)
	switch {
	case refusal == nil:
		d.Answers.allowed(pod)
		return tried, false, nil
	case apierrors.IsNotFound(refusal), apierrors.IsConflict(refusal), terminating(refusal):
		return tried, false, nil
	case apierrors.IsTooManyRequests(refusal), undecided(refusal):
	case ctx.Err() == nil && limited.Err() != nil:
		refusal = fmt.Errorf("a dry run of its eviction was not answered within %s", tryTimeout)
	case neverEvictable(refusal):
		never = true
	case errclass.IsTransient(apply.Classify(refusal)):
		return tried, false, fmt.Errorf("trying the eviction of pod %s: %w", tried.Name, apply.Classify(refusal))
	default:
		never = true
	}
	tried.Owner, tried.Blocked = d.owner(ctx, pod), d.blocker(ctx, pod, refusal)
	return tried, never, nil
}

// Refusal returns an error when the drain would not begin, or never end; nil otherwise.
func (p Preflight) Refusal() error { return refusal(p.Node, p.Refusals) }

func refusal(node string, refusals []string) error {
	if len(refusals) == 0 {
		return nil
	}
	return errclass.Errorf(errclass.Permanent, "node %s can't be drained: %s", node, strings.Join(refusals, "; "))
}

// Reasons returns the findings of a preflight for people, in sentences, without its refusals.
func (p Preflight) Reasons() []string {
	reasons := []string{fmt.Sprintf("%s of node %s to evict", count.Of(len(p.Pods), "pod"), p.Node)}
	if blocked := p.filter(func(pod Pod) bool { return pod.Blocked != "" }); len(blocked) > 0 {
		reasons = append(reasons, "will be waited for: "+named(blocked, func(pod Pod) string {
			return fmt.Sprintf("%s of %s (%s)", pod.Name, pod.Owner, pod.Blocked)
		}))
	}
	for _, kind := range []struct {
		is   func(Pod) bool
		says string
	}{
		{func(pod Pod) bool { return pod.Single }, "no controller brings back"},
		{func(pod Pod) bool { return pod.EmptyDir }, "emptyDir volumes end of"},
	} {
		if pods := p.filter(kind.is); len(pods) > 0 {
			reasons = append(reasons, kind.says+" "+named(pods, func(pod Pod) string { return pod.Name }))
		}
	}
	return reasons
}

func (p Preflight) filter(is func(Pod) bool) []Pod {
	return slices.DeleteFunc(slices.Clone(p.Pods), func(pod Pod) bool { return !is(pod) })
}
