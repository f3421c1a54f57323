package join

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/operation"
)

// WaitReady returns a node once it is Ready at version, and has its serving certificate where the cluster's kubelets
// ask for one. It reports each change of the reason why it is not.
func (j *Joiner) WaitReady(ctx context.Context, node, version string,
	progress operation.Progress,
) (*corev1.Node, error) {
	ready, err := waitReady(ctx, j.Target.Client, node, version, progress)
	if err != nil {
		return nil, err
	}
	return ready, j.ensureServing(ctx, ready, progress)
}

// waitReady returns the node once it is Ready at version. It reports each change of the reason why it is not.
func waitReady(ctx context.Context, client kubernetes.Interface, name, version string,
	progress operation.Progress,
) (*corev1.Node, error) {
	reason := fmt.Sprintf("node %s has not registered", name)
	for {
		node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			if reason = NotReady(node, version); reason == "" {
				return node, nil
			}
		} else if !apierrors.IsNotFound(err) && ctx.Err() == nil && !errclass.IsTransient(apply.Classify(err)) {
			return nil, fmt.Errorf("reading node %q: %w", name, apply.Classify(err))
		}
		operation.Reportf(progress, "waiting: %s", reason)
		if !nextChange(ctx, client, name) {
			return nil, errclass.Errorf(errclass.Permanent, "waiting for node %q to be Ready at %s: %s: %w", name,
				version, reason, context.Cause(ctx))
		}
	}
}

// nextChange waits until the node changes, and for two seconds at most, since a watch may be lost without a word.
// It returns false when ctx ended.
func nextChange(ctx context.Context, client kubernetes.Interface, name string) bool {
	wait, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	changes, err := client.CoreV1().Nodes().Watch(wait, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String(),
	})
	if err != nil {
		<-wait.Done()
		return ctx.Err() == nil
	}
	defer changes.Stop()
	// The first event of a watch without a resource version is the present state, which the caller may not have seen.
	for seen := 0; ; seen++ {
		select {
		case event, open := <-changes.ResultChan():
			if !open || event.Type == watch.Error || seen > 0 || isReady(event.Object) {
				return ctx.Err() == nil
			}
		case <-wait.Done():
			return ctx.Err() == nil
		}
	}
}

func isReady(object any) bool {
	node, ok := object.(*corev1.Node)
	return ok && ReadyCondition(node).Status == corev1.ConditionTrue
}

// NotReady returns why node is not Ready at version; "" when it is.
func NotReady(node *corev1.Node, version string) string {
	ready := ReadyCondition(node)
	switch {
	case ready.Status == "":
		return "the kubelet has not reported yet"
	case ready.Status != corev1.ConditionTrue:
		return fmt.Sprintf("node %s is not Ready: %s", node.Name, firstLine(ready.Message))
	case node.Status.NodeInfo.KubeletVersion != version:
		return fmt.Sprintf("node %s runs kubelet %s, not %s", node.Name, node.Status.NodeInfo.KubeletVersion, version)
	}
	return ""
}

// ReadyCondition returns a node's condition Ready: its status is Unknown when the kubelet reports no more, and empty
// when it never did.
func ReadyCondition(node *corev1.Node) corev1.NodeCondition {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition
		}
	}
	return corev1.NodeCondition{}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
