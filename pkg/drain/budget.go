package drain

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// blocker returns why a pod is not evicted, in a few words: its PodDisruptionBudget with how many pods are healthy
// and how many it needs, or else the API server's own answer.
func (d Drainer) blocker(ctx context.Context, pod corev1.Pod, refusal error) string {
	budgets := d.budgets(ctx, pod)
	if len(budgets) > 1 {
		return fmt.Sprintf("PDBs %s hold for it, and Kubernetes evicts no pod that has more than one",
			named(budgets, func(b policyv1.PodDisruptionBudget) string { return b.Name }))
	}
	if len(budgets) == 1 && budgets[0].Status.DisruptionsAllowed <= 0 {
		status := budgets[0].Status
		return fmt.Sprintf("PDB %s allows none: %d healthy, %d needed", budgets[0].Name, status.CurrentHealthy,
			status.DesiredHealthy)
	}
	line, _, _ := strings.Cut(refusal.Error(), "\n")
	return line
}

// budgets returns the PodDisruptionBudgets that hold for a pod. Only messages use them, so an error counts as none.
func (d Drainer) budgets(ctx context.Context, pod corev1.Pod) []policyv1.PodDisruptionBudget {
	list, err := d.Client.PolicyV1().PodDisruptionBudgets(pod.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	var found []policyv1.PodDisruptionBudget
	for _, budget := range list.Items {
		selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
		if err == nil && selector.Matches(labels.Set(pod.Labels)) {
			found = append(found, budget)
		}
	}
	return found
}

// neverEvictable reports whether an eviction is refused for good because the pod has several budgets. The API server
// answers with an internal error:
// https://github.com/kubernetes/kubernetes/blob/v1.34.4/pkg/registry/core/pod/storage/eviction.go.
func neverEvictable(refusal error) bool {
	return apierrors.IsInternalError(refusal) && strings.Contains(refusal.Error(), "more than one PodDisruptionBudget")
}
