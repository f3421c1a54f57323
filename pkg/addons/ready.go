package addons

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/pkg/apply"
)

// State says whether an addon works.
type State struct {
	// Why it does not work yet: what is waited for, and what keeps it. "" when it works.
	Why string
	// NeedsMachines says that nothing is wrong but that no machine has joined which could run it.
	NeedsMachines bool
}

// workload is a Deployment or DaemonSet as it is now.
type workload struct {
	title     string // "DaemonSet kube-flannel-ds"
	namespace string
	selector  *metav1.LabelSelector
	unseen    bool // its controller has not looked at it since it was last changed
	movable   bool // its pods may run on any node, so that a node that is away does not count
	rolling   bool // pods of before a change are there as well
	wanted    int32
	updated   int32
	available int32
}

// NotReady says whether an addon that is on works: whether its pods are those that it wants now, and ready. A pod of a
// DaemonSet on a node that has gone away does not count: that is the node's trouble.
func NotReady(ctx context.Context, client kubernetes.Interface, addon Addon) (State, error) {
	var nodes *nodes
	for _, object := range addon.Objects {
		state, err := look(ctx, client, object)
		if state == nil && err == nil {
			continue
		}
		if err == nil && nodes == nil {
			nodes, err = listNodes(ctx, client)
		}
		var found State
		if err == nil {
			found, err = state.judge(ctx, client, nodes)
		}
		if err != nil {
			return State{}, fmt.Errorf("looking at %s %q of addon %q: %w", object.GetKind(), object.GetName(),
				addon.Name, apply.Classify(err))
		}
		if found.Why != "" {
			found.Why = addon.Name + ": " + found.Why
			return found, nil
		}
	}
	return State{}, nil
}

// look reads the workload that object became; nil when it is none.
func look(ctx context.Context, client kubernetes.Interface, object *unstructured.Unstructured) (*workload, error) {
	namespace, name := object.GetNamespace(), object.GetName()
	w := &workload{title: object.GetKind() + " " + name, namespace: namespace}
	switch object.GetKind() {
	case "Deployment":
		live, err := client.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return w.missing(err)
		}
		w.selector, w.movable, w.wanted = live.Spec.Selector, true, 1
		if live.Spec.Replicas != nil {
			w.wanted = *live.Spec.Replicas
		}
		w.unseen = live.Status.ObservedGeneration < live.Generation
		w.rolling = live.Status.Replicas > live.Status.UpdatedReplicas
		w.updated, w.available = live.Status.UpdatedReplicas, live.Status.AvailableReplicas
	case "DaemonSet":
		live, err := client.AppsV1().DaemonSets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return w.missing(err)
		}
		w.selector = live.Spec.Selector
		w.unseen = live.Status.ObservedGeneration < live.Generation
		w.wanted, w.updated, w.available = live.Status.DesiredNumberScheduled, live.Status.UpdatedNumberScheduled,
			live.Status.NumberAvailable
	default:
		return nil, nil
	}
	return w, nil
}

// missing is a workload that is not there, which is a state and not an error.
func (w *workload) missing(err error) (*workload, error) {
	if apierrors.IsNotFound(err) {
		return w, nil
	}
	return nil, err
}

// judge compares what a workload wants with what it has, and asks its pods when that differs.
func (w *workload) judge(ctx context.Context, client kubernetes.Interface, nodes *nodes) (State, error) {
	switch {
	case w.selector == nil:
		return State{Why: w.title + " is not there"}, nil
	case w.unseen:
		return State{Why: w.title + " was changed just now"}, nil
	case w.updated >= w.wanted && w.available >= w.wanted:
		return State{}, nil
	case w.movable && nodes.count == 0:
		return State{Why: w.title + " waits for machines to join", NeedsMachines: true}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(w.selector)
	if err != nil {
		return State{}, err
	}
	pods, err := client.CoreV1().Pods(w.namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return State{}, err
	}
	if w.outnumbers(pods.Items, nodes) {
		return State{Why: fmt.Sprintf("%s: %d of %d pods; each machine has one, and the others wait for machines to join", w.title, w.available, w.wanted), NeedsMachines: true}, nil
	}
	excused, reason := w.ask(pods.Items, nodes)
	if w.available+excused >= w.wanted && w.updated+excused >= w.wanted {
		return State{}, nil
	}
	why := fmt.Sprintf("%s: %d of %d pods", w.title, min(w.available, w.updated), w.wanted)
	if reason != "" {
		why += "; " + reason
	}
	return State{Why: why}, nil
}

// outnumbers says whether a workload of which a machine can have one pod alone wants more of them than there are
// machines: each machine that is not away has one that is ready, and the others have none to run on.
func (w *workload) outnumbers(pods []corev1.Pod, nodes *nodes) bool {
	if !w.movable || w.rolling || w.updated < w.wanted {
		return false
	}
	served := map[string]bool{}
	for i := range pods {
		pod := &pods[i]
		switch {
		case !takesPort(pod):
			return false
		case pod.Spec.NodeName == "":
		case whyPod(pod) == "":
			served[pod.Spec.NodeName] = true
		case !nodes.away[pod.Spec.NodeName]:
			return false // it has a machine and does not work there
		}
	}
	return len(served) > 0 && len(served) >= nodes.count-len(nodes.away)
}

// takesPort says whether a pod takes a port of its node, so that it is the only one of its kind there.
func takesPort(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.HostPort != 0 })
	})
}

// ask returns how many pods are not ready only because their node has gone away, and why the first of the others is
// not.
func (w *workload) ask(pods []corev1.Pod, nodes *nodes) (excused int32, reason string) {
	for i := range pods {
		pod := &pods[i]
		why := whyPod(pod)
		switch {
		case why == "":
		case !w.movable && nodes.away[pod.Spec.NodeName]:
			excused++
		case reason == "":
			reason = "pod " + pod.Name
			if pod.Spec.NodeName != "" {
				reason += " on " + pod.Spec.NodeName
			}
			reason += ": " + why
		}
	}
	return excused, reason
}

// nodes are what matters of a cluster's nodes.
type nodes struct {
	count int
	away  map[string]bool // those whose kubelet does not report any more
}

func listNodes(ctx context.Context, client kubernetes.Interface) (*nodes, error) {
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, errors.Join(errors.New("listing nodes"), err)
	}
	found := &nodes{count: len(list.Items), away: map[string]bool{}}
	for _, node := range list.Items {
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionUnknown {
				found.away[node.Name] = true
			}
		}
	}
	return found, nil
}

// whyPod says why a pod is not ready; "" when it is.
func whyPod(pod *corev1.Pod) string {
	if pod.DeletionTimestamp != nil {
		return "it is ending"
	}
	for _, condition := range pod.Status.Conditions {
		switch {
		case condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue:
			return ""
		case condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse:
			return "it can't be scheduled: " + condition.Message
		}
	}
	for _, status := range append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...),
		pod.Status.ContainerStatuses...) {
		if why := whyContainer(status); why != "" {
			return why
		}
	}
	if pod.Status.Message != "" {
		return pod.Status.Message
	}
	return "it is starting"
}

// whyContainer says what holds a container up; "" when nothing does.
func whyContainer(status corev1.ContainerStatus) string {
	waiting, ended := status.State.Waiting, status.LastTerminationState.Terminated
	if now := status.State.Terminated; now != nil && now.ExitCode != 0 {
		ended = now
	}
	switch {
	case waiting != nil && strings.Contains(waiting.Reason, "Image"):
		return fmt.Sprintf("%s %s: %s", waiting.Reason, status.Image, cause(waiting.Message))
	case ended != nil && !status.Ready:
		why := fmt.Sprintf("container %s ended with exit code %d", status.Name, ended.ExitCode)
		if message := cause(ended.Message); message != "" {
			why += ": " + message
		}
		return why
	case waiting != nil && waiting.Reason != "PodInitializing" && waiting.Reason != "ContainerCreating":
		return fmt.Sprintf("container %s: %s %s", status.Name, waiting.Reason, cause(waiting.Message))
	case status.State.Running != nil && !status.Ready && status.Started != nil && *status.Started:
		return fmt.Sprintf("container %s runs and is not ready", status.Name)
	}
	return ""
}

// longestCause of trouble that is worth a message, in bytes.
const longestCause = 300

// cause is the end of a long message: kubelet and runtime put what went wrong after where it did.
func cause(message string) string {
	message = strings.TrimSpace(message)
	if len(message) <= longestCause {
		return message
	}
	return "…" + message[len(message)-longestCause:]
}
