package drain

import (
	"context"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	typedpolicy "k8s.io/client-go/kubernetes/typed/policy/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/errclass"
)

// remaining is a pod that has not ended yet.
type remaining struct {
	pod corev1.Pod
	// refusal is the API server's error for the last eviction; nil when it accepted, or was not asked yet.
	refusal error
	gone    bool
}

func (r remaining) name() string { return nameOf(r.pod) }

// evictions are how far a drain has come.
type evictions struct {
	stop context.CancelCauseFunc

	mu  sync.Mutex
	all []remaining
}

func newEvictions(pods []corev1.Pod, stop context.CancelCauseFunc) *evictions {
	p := &evictions{stop: stop}
	for _, pod := range pods {
		p.all = append(p.all, remaining{pod: pod})
	}
	return p
}

func (p *evictions) pods() []corev1.Pod {
	var pods []corev1.Pod
	for _, one := range p.all {
		pods = append(pods, one.pod)
	}
	return pods
}

// left returns the pods that have not ended, those first that may not be evicted.
func (p *evictions) left() []remaining {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(p.all), func(r remaining) bool { return r.gone })
	slices.SortStableFunc(left, func(a, b remaining) int {
		switch {
		case (a.refusal == nil) == (b.refusal == nil):
			return 0
		case a.refusal != nil:
			return -1
		}
		return 1
	})
	return left
}

func (p *evictions) ended(namespace, name string) {
	p.change(namespace, name, func(r *remaining) { r.gone = true })
}

func (p *evictions) refused(namespace, name string, refusal error) {
	p.change(namespace, name, func(r *remaining) { r.refusal = refusal })
}

// change changes the pod of that name, and returns it as it was listed.
func (p *evictions) change(namespace, name string, change func(*remaining)) corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.all {
		if p.all[i].pod.Namespace == namespace && p.all[i].pod.Name == name {
			change(&p.all[i])
			return p.all[i].pod
		}
	}
	return corev1.Pod{}
}

// evictor is the client through which kubectl's drain evicts. It records the answer to each eviction, and evicts only
// the very pods that were listed: between two attempts a StatefulSet may have made another pod of the same name on
// another node.
type evictor struct {
	kubernetes.Interface
	watch *evictions
}

func (e evictor) PolicyV1() typedpolicy.PolicyV1Interface {
	return policyOf{e.Interface.PolicyV1(), e.watch, e.CoreV1()}
}

type policyOf struct {
	typedpolicy.PolicyV1Interface
	watch *evictions
	pods  typedcore.PodsGetter
}

func (p policyOf) Evictions(namespace string) typedpolicy.EvictionInterface {
	return evictionsOf{p.PolicyV1Interface.Evictions(namespace), p.watch, p.pods}
}

type evictionsOf struct {
	typedpolicy.EvictionInterface
	watch *evictions
	pods  typedcore.PodsGetter
}

// retrySeconds is how long kubectl's drain waits after a refusal, whatever the answer asks for.
const retrySeconds = 5

// Evict answers as kubectl's drain understands it:
//
//	the API server answers            kubectl's drain is told   so that it
//	yes                               yes                       waits for the pod's end
//	not found                         not found                 is done with the pod
//	conflict, and the pod is gone     not found                 is done with the pod
//	conflict, another has the name    not found                 is done with the pod
//	conflict, and the pod is there    too many requests         asks again
//	too many requests: a budget       the same                  asks again
//	its namespace is being deleted    the same                  asks again, or waits for the pod's end
//	it can't answer now               too many requests         asks again
//	anything else                     the same                  is ended, with all others
//
//nolint:wrapcheck // kubectl's drain gets the API server's own answers.
func (e evictionsOf) Evict(ctx context.Context, eviction *policyv1.Eviction) error {
	pod := e.watch.change(eviction.Namespace, eviction.Name, func(*remaining) {})
	if eviction.DeleteOptions == nil {
		eviction.DeleteOptions = &metav1.DeleteOptions{}
	}
	eviction.DeleteOptions.Preconditions = &metav1.Preconditions{UID: &pod.UID}
	err := e.EvictionInterface.Evict(ctx, eviction)
	switch {
	case err == nil:
		e.watch.refused(eviction.Namespace, eviction.Name, nil)
		return nil
	case apierrors.IsNotFound(err), apierrors.IsConflict(err) && e.gone(ctx, pod):
		e.watch.ended(eviction.Namespace, eviction.Name)
		return apierrors.NewNotFound(corev1.Resource("pods"), eviction.Name)
	case ctx.Err() != nil:
		return err
	}
	e.watch.refused(eviction.Namespace, eviction.Name, err)
	switch {
	case apierrors.IsTooManyRequests(err), terminating(err):
		return err
	case !neverEvictable(err) && errclass.IsTransient(apply.Classify(err)):
		return apierrors.NewTooManyRequests(err.Error(), retrySeconds)
	}
	e.watch.stop(fmt.Errorf("evicting pod %s: %w", nameOf(pod), err))
	return err
}

// gone reports whether a pod has ended, also where another one has its name. If that cannot be read, it has not.
func (e evictionsOf) gone(ctx context.Context, pod corev1.Pod) bool {
	found, err := e.pods.Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	return apierrors.IsNotFound(err) || err == nil && found.UID != pod.UID
}

func terminating(err error) bool {
	return apierrors.IsForbidden(err) && apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}
