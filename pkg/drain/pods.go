package drain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
)

// pageSize is how many pods a request lists.
const pageSize = 500

// pods returns the pods of a node that a drain evicts: all but those of DaemonSets, which would come back, and static
// ones.
func (d Drainer) pods(ctx context.Context, node string) ([]corev1.Pod, error) {
	list, errs := d.helper(ctx).GetPodsForDeletion(node)
	if len(errs) > 0 {
		return nil, fmt.Errorf("listing the pods of node %q: %w", node, apply.Classify(errors.Join(errs...)))
	}
	pods := list.Pods()
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(nameOf(a), nameOf(b)) })
	return pods, nil
}

// refusals returns why the policy keeps pods from being evicted, in sentences.
func (d Drainer) refusals(pods []corev1.Pod) []string {
	var refusals []string
	if single := slices.DeleteFunc(slices.Clone(pods),
		func(p corev1.Pod) bool { return !isSingle(p) }); len(single) > 0 && !d.Policy.Force {
		refusals = append(refusals, fmt.Sprintf("no controller brings back %s: delete them, or say force",
			named(single, nameOf)))
	}
	if empty := slices.DeleteFunc(slices.Clone(pods),
		func(p corev1.Pod) bool { return !hasEmptyDir(p) }); len(empty) > 0 && !d.Policy.DeleteEmptyDirData {
		refusals = append(refusals, fmt.Sprintf("drain.deleteEmptyDirData is false, and the emptyDir volumes of %s "+
			"end with them", named(empty, nameOf)))
	}
	return refusals
}

// isSingle reports whether no controller makes the pod again. A pod of a DaemonSet counts where that is gone: pods of
// DaemonSets that exist are not evicted at all.
func isSingle(pod corev1.Pod) bool {
	if finished(pod) {
		return false
	}
	owner := metav1.GetControllerOf(&pod)
	return owner == nil || owner.Kind == "DaemonSet" && owner.APIVersion == appsv1.SchemeGroupVersion.String()
}

func hasEmptyDir(pod corev1.Pod) bool {
	return !finished(pod) && slices.ContainsFunc(pod.Spec.Volumes,
		func(v corev1.Volume) bool { return v.EmptyDir != nil })
}

func finished(pod corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func nameOf(pod corev1.Pod) string { return pod.Namespace + "/" + pod.Name }

// owner returns the controller of a pod, such as "Deployment web"; empty where it has none.
func (d Drainer) owner(ctx context.Context, pod corev1.Pod) string {
	owner := metav1.GetControllerOf(&pod)
	if owner == nil {
		return ""
	}
	if owner.Kind == "ReplicaSet" {
		// Only messages use it: without an answer, the ReplicaSet's name is enough.
		set, err := d.Client.AppsV1().ReplicaSets(pod.Namespace).Get(ctx, owner.Name, metav1.GetOptions{})
		if err == nil && metav1.GetControllerOf(set) != nil {
			owner = metav1.GetControllerOf(set)
		}
	}
	return owner.Kind + " " + owner.Name
}

// maxNamed bounds a list in a message, of which Argo keeps 1 KiB.
const maxNamed = 5

// named lists items by name, maxNamed of them at most.
func named[T any](items []T, name func(T) string) string {
	var names []string
	for _, item := range items[:min(len(items), maxNamed)] {
		names = append(names, name(item))
	}
	text := strings.Join(names, ", ")
	if more := len(items) - maxNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
