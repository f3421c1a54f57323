package drain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/kubectl/pkg/util/podutils"
)

// blocker returns why a pod is not evicted, in a few words: the state of its PodDisruptionBudget, or else the API
// server's own answer.
func (d Drainer) blocker(ctx context.Context, pod corev1.Pod, refusal error) string {
	budgets := d.budgets(ctx, pod)
	if len(budgets) > 1 {
		return fmt.Sprintf("PDBs %s hold for it, and Kubernetes evicts no pod that has more than one",
			named(budgets, func(b policyv1.PodDisruptionBudget) string { return b.Name }))
	}
	line, _, _ := strings.Cut(refusal.Error(), "\n")
	if len(budgets) == 1 && !fromWebhook(refusal) {
		return cmp.Or(refusedBy(budgets[0], pod), line)
	}
	return line
}

// refusedBy returns why a budget lets a pod not be evicted; "" where its status does not tell. The first line that
// applies is the reason:
//
//	the budget's status                      the pod      the reason
//	is of an earlier generation              any          the disruption controller has not judged it yet
//	DisruptionAllowed is False, SyncFailed   any          the controller's own message
//	allows none                              is Ready     how many are healthy, and how many are needed
//	allows none, and enough are healthy      not Ready    the counts: a pod that is not Ready may go then
//	allows none, and too few are healthy     not Ready    the counts, and unhealthyPodEvictionPolicy as the way out
func refusedBy(budget policyv1.PodDisruptionBudget, pod corev1.Pod) string {
	status := budget.Status
	if status.ObservedGeneration < budget.Generation {
		return fmt.Sprintf("PDB %s was not judged yet by the disruption controller", budget.Name)
	}
	failed := meta.FindStatusCondition(status.Conditions, policyv1.DisruptionAllowedCondition)
	if failed != nil && failed.Status == metav1.ConditionFalse && failed.Reason == policyv1.SyncFailedReason {
		return fmt.Sprintf("PDB %s allows none, since the disruption controller cannot count its pods: %s", budget.Name,
			failed.Message)
	}
	if status.DisruptionsAllowed > 0 {
		return ""
	}
	counts := fmt.Sprintf("PDB %s allows none: %d healthy, %d needed", budget.Name, status.CurrentHealthy,
		status.DesiredHealthy)
	if status.CurrentHealthy >= status.DesiredHealthy || podutils.IsPodReady(&pod) ||
		pod.Status.Phase != corev1.PodRunning {
		return counts
	}
	return counts + "; the pod is not Ready itself, and could go if the budget had unhealthyPodEvictionPolicy " +
		"AlwaysAllow"
}

// fromWebhook reports whether the API server passes on the answer of an admission webhook, or could not reach one.
func fromWebhook(refusal error) bool {
	text := refusal.Error()
	return strings.Contains(text, "admission webhook ") || strings.Contains(text, "failed calling webhook ")
}

// undecided reports whether a webhook refused a dry run in a way that tells nothing of the eviction itself: it failed,
// answered with 5xx to have the eviction asked for again, as those do that move pods themselves, or takes no dry runs.
func undecided(refusal error) bool {
	if !fromWebhook(refusal) {
		return false
	}
	var status apierrors.APIStatus
	if !errors.As(refusal, &status) {
		return false
	}
	return status.Status().Code >= http.StatusInternalServerError ||
		strings.Contains(refusal.Error(), "does not support dry run")
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
