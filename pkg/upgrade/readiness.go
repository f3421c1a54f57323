package upgrade

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/kubectl/pkg/util/podutils"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/operation"
)

// serving returns the pods of a node that are ready now: those that stay through an upgrade, since they belong to
// DaemonSets or the node is not drained, have to be ready again after it.
func (u *Upgrader) serving(ctx context.Context, node string) ([]corev1.Pod, error) {
	pods, err := u.podsOf(ctx, node)
	return slices.DeleteFunc(pods, func(pod corev1.Pod) bool { return !isReady(pod) }), err
}

func (u *Upgrader) podsOf(ctx context.Context, node string) ([]corev1.Pod, error) {
	list, err := u.Target.Client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String(),
	})
	if err != nil {
		return nil, fmt.Errorf("listing the pods of node %q: %w", node, apply.Classify(err))
	}
	return list.Items, nil
}

func isReady(pod corev1.Pod) bool { return pod.DeletionTimestamp == nil && podutils.IsPodReady(&pod) }

// waitServing returns a node once it is Ready at version, the pods that served before are ready again, and both have
// held for upgrade.minReady without a break.
func (w *machineUpgrade) waitServing(ctx context.Context, version string, served []corev1.Pod,
	in func(phase string) operation.Progress,
) (*corev1.Node, error) {
	upgrader, name, settles := w.upgrader, w.machine.NodeName, w.upgrader.Cluster.Fleet.Upgrade.MinReady.Duration
	limit := upgrader.Cluster.Fleet.Limits.ReadyTimeout.Duration + settles
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errclass.Errorf(errclass.Permanent,
		"timed out after %s; see `kubectl describe node %s`, and `journalctl -u kubelet` on the machine", limit, name))
	defer cancel()
	node, err := upgrader.WaitReady(ctx, name, version, in(phaseReady))
	if err != nil {
		return nil, err
	}
	since := time.Now()
	for {
		why, err := upgrader.notServing(ctx, name, version, served)
		switch {
		case err != nil && ctx.Err() == nil && !errclass.IsTransient(err):
			return nil, err
		case err != nil:
			why = err.Error()
		}
		left := settles - time.Since(since)
		switch {
		case why != "":
			since = time.Now()
			operation.Reportf(in(phaseServing), "%s", why)
		case left <= 0 || w.cancelled != nil && w.cancelled():
			return node, nil
		default:
			operation.Reportf(in(phaseServing),
				"node %s is Ready, and must stay Ready for another %s (upgrade.minReady)", name,
				left.Round(time.Second))
		}
		select {
		case <-ctx.Done():
			return nil, errclass.Errorf(errclass.Permanent, "waiting for node %q to serve at %s: %s: %w", name, version,
				why, context.Cause(ctx))
		case <-time.After(gateEvery):
		}
	}
}

// gateEvery is how often a node is checked while upgrade.minReady lasts.
const gateEvery = 500 * time.Millisecond

// notServing returns why a node does not serve; "" when it is Ready and the pods that were ready before are.
func (u *Upgrader) notServing(ctx context.Context, name, version string, served []corev1.Pod) (string, error) {
	node, err := u.Target.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("reading node %q: %w", name, apply.Classify(err))
	}
	if why := join.NotReady(node, version); why != "" {
		return why, nil
	}
	pods, err := u.podsOf(ctx, name)
	if err != nil {
		return "", err
	}
	var missing []string
	for _, pod := range pods {
		served := slices.ContainsFunc(served, func(one corev1.Pod) bool { return one.UID == pod.UID })
		if served && pod.DeletionTimestamp == nil && !isReady(pod) {
			missing = append(missing, pod.Namespace+"/"+pod.Name)
		}
	}
	if len(missing) > 0 {
		return fmt.Sprintf("%s of node %s not ready again: %s", count.Of(len(missing), "pod"), name,
			strings.Join(missing[:min(len(missing), maxNamed)], ", ")), nil
	}
	return "", nil
}

// maxNamed bounds a list in a message, of which Argo keeps 1 KiB.
const maxNamed = 5
