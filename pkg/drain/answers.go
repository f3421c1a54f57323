package drain

import (
	"encoding/json"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Answers remembers what the API server answered to preflights: that it evicts pods, and which pods a dry run allowed
// to be evicted. A plan of 10,000 pods asks once for those that are alike: of the same namespace, controller, labels,
// annotations and phase, of which all or none are ready. Those are the properties by which budgets select and count
// pods, and by which admission tells them apart. Refusals are not remembered, since each has a reason of its own.
// Budgets change, so that answers hold for one plan.
type Answers struct {
	mu     sync.Mutex
	evicts bool
	kinds  map[string]bool
}

func (a *Answers) canEvict() bool {
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.evicts
}

func (a *Answers) setCanEvict() {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.evicts = true
}

// allow reports whether a pod like this one was allowed to be evicted.
func (a *Answers) allow(pod corev1.Pod) bool {
	if a == nil {
		return false
	}
	kind := kindOf(pod)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.kinds[kind]
}

// allowed notes that a dry run allowed the pod to be evicted.
func (a *Answers) allowed(pod corev1.Pod) {
	kind := kindOf(pod)
	if a == nil || kind == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.kinds == nil {
		a.kinds = map[string]bool{}
	}
	a.kinds[kind] = true
}

// kindOf returns what alike pods have in common; empty for a pod without a controller, which is like no other.
func kindOf(pod corev1.Pod) string {
	controller := metav1.GetControllerOf(&pod)
	if controller == nil {
		return ""
	}
	ready := corev1.ConditionUnknown
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			ready = condition.Status
		}
	}
	kind, err := json.Marshal(struct {
		Namespace           string
		Controller          metav1.OwnerReference
		Labels, Annotations map[string]string
		Phase               corev1.PodPhase
		Ready               corev1.ConditionStatus
	}{pod.Namespace, *controller, pod.Labels, pod.Annotations, pod.Status.Phase, ready})
	if err != nil {
		return ""
	}
	return string(kind)
}
