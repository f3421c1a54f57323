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

	"argosy.dev/argosy/internal/apply"
)

// State is the condition of an addon.
type State struct {
	// Reason why it does not work yet: the workload, and the cause. "" when it works.
	Reason string
	// NeedsMachines is set when the only reason is that there is no machine which could run it: none has joined, or all
	// are away.
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

// NotReady returns the State of an addon that is on: it works when its pods are up to date and ready. A pod of a
// DaemonSet on a node that is NotReady does not count: that is the node's problem.
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
			found, err = state.evaluate(ctx, client, nodes)
		}
		if err != nil {
			return State{}, fmt.Errorf("reading %s %q of addon %q: %w", object.GetKind(), object.GetName(),
				addon.Name, apply.Classify(err))
		}
		if found.Reason != "" {
			found.Reason = addon.Name + ": " + found.Reason
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

// evaluate compares the pods that a workload wants with those it has, and looks at them when the numbers differ.
func (w *workload) evaluate(ctx context.Context, client kubernetes.Interface, nodes *nodes) (State, error) {
	switch {
	case w.selector == nil:
		return State{Reason: w.title + " does not exist"}, nil
	case w.unseen:
		return State{Reason: w.title + " was changed just now"}, nil
	case w.updated >= w.wanted && w.available >= w.wanted:
		return State{}, nil
	case w.movable && nodes.count == 0:
		return State{Reason: w.title + " waits for machines to join", NeedsMachines: true}, nil
	case w.movable && nodes.count == len(nodes.away):
		return State{Reason: w.title + " waits for machines: all are away", NeedsMachines: true}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(w.selector)
	if err != nil {
		return State{}, fmt.Errorf("reading the selector of %s: %w", w.title, err)
	}
	pods, err := client.CoreV1().Pods(w.namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return State{}, fmt.Errorf("listing the pods of %s: %w", w.title, err)
	}
	if w.outnumbers(pods.Items, nodes) {
		reason := fmt.Sprintf("%s: %d of %d pods; each machine has one, and the others wait for machines to join",
			w.title,
			w.available, w.wanted)
		return State{Reason: reason, NeedsMachines: true}, nil
	}
	excused, cause := w.inspectPods(pods.Items, nodes)
	if w.available+excused >= w.wanted && w.updated+excused >= w.wanted {
		return State{}, nil
	}
	reason := fmt.Sprintf("%s: %d of %d pods", w.title, min(w.available, w.updated), w.wanted)
	if cause != "" {
		reason += "; " + cause
	}
	return State{Reason: reason}, nil
}

// outnumbers reports whether a workload that can have only one pod on a machine wants more of them than there are
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
		case podReason(pod) == "":
			served[pod.Spec.NodeName] = true
		case !nodes.away[pod.Spec.NodeName]:
			return false // it has a machine and does not work there
		}
	}
	return len(served) > 0 && len(served) >= nodes.count-len(nodes.away)
}

// takesPort reports whether a pod takes a port of its node, so that it is the only one of its kind there.
func takesPort(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.HostPort != 0 })
	})
}

// inspectPods returns the number of pods that are not ready only because their node is away, and the reason why the
// first of the others is not.
func (w *workload) inspectPods(pods []corev1.Pod, nodes *nodes) (excused int32, reason string) {
	for i := range pods {
		pod := &pods[i]
		cause := podReason(pod)
		switch {
		case cause == "":
		case !w.movable && nodes.away[pod.Spec.NodeName]:
			excused++
		case reason == "":
			reason = "pod " + pod.Name
			if pod.Spec.NodeName != "" {
				reason += " on " + pod.Spec.NodeName
			}
			reason += ": " + cause
		}
	}
	return excused, reason
}

// nodes are the numbers of a cluster's nodes that an evaluation needs.
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

// podReason returns the reason why a pod is not ready; "" when it is.
func podReason(pod *corev1.Pod) string {
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
		if reason := containerReason(status); reason != "" {
			return reason
		}
	}
	if pod.Status.Message != "" {
		return pod.Status.Message
	}
	return "it is starting"
}

// containerReason returns the reason why a container is not ready; "" when there is none.
func containerReason(status corev1.ContainerStatus) string {
	waiting, ended := status.State.Waiting, status.LastTerminationState.Terminated
	if now := status.State.Terminated; now != nil && now.ExitCode != 0 {
		ended = now
	}
	switch {
	case waiting != nil && strings.Contains(waiting.Reason, "Image"):
		return fmt.Sprintf("%s %s: %s", waiting.Reason, status.Image, cause(waiting.Message))
	case ended != nil && !status.Ready:
		reason := fmt.Sprintf("container %s ended with exit code %d", status.Name, ended.ExitCode)
		if message := cause(ended.Message); message != "" {
			reason += ": " + message
		}
		return reason
	case waiting != nil && waiting.Reason != "PodInitializing" && waiting.Reason != "ContainerCreating":
		return fmt.Sprintf("container %s: %s %s", status.Name, waiting.Reason, cause(waiting.Message))
	case status.State.Running != nil && !status.Ready && status.Started != nil && *status.Started:
		return fmt.Sprintf("container %s runs and is not ready", status.Name)
	}
	return ""
}

// maxCause bounds the text of a cause, in bytes.
const maxCause = 300

// cause returns the end of a long message: kubelet and the runtime put the cause last.
func cause(message string) string {
	message = strings.TrimSpace(message)
	if len(message) <= maxCause {
		return message
	}
	return "…" + message[len(message)-maxCause:]
}
