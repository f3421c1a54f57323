package join

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/fault"
)

// fieldManager marks what Argosy set on a node.
const fieldManager = "argosy"

// waitReady returns the node once it is Ready at version. It reports each change of the reason why it is not.
func waitReady(ctx context.Context, client kubernetes.Interface, name, version string, report func(string)) (*corev1.Node, error) {
	reason := fmt.Sprintf("node %s has not registered", name)
	for {
		node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			if reason = notReady(node, version); reason == "" {
				return node, nil
			}
		} else if !apierrors.IsNotFound(err) && ctx.Err() == nil && !fault.IsTransient(classify(err)) {
			return nil, fmt.Errorf("reading node %q: %w", name, classify(err))
		}
		report("waiting: " + reason)
		if !nextChange(ctx, client, name) {
			return nil, fault.As(fault.Permanent, fmt.Errorf("waiting for node %q to be Ready at %s: %s: %w", name, version, reason, context.Cause(ctx)))
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
	return ok && readyCondition(node).Status == corev1.ConditionTrue
}

// notReady says why node is not Ready at version, or "" when it is.
func notReady(node *corev1.Node, version string) string {
	ready := readyCondition(node)
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

func readyCondition(node *corev1.Node) corev1.NodeCondition {
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

// markNode sets labels and taints where they differ and says what it changed. Labels and taints that others set stay.
func markNode(ctx context.Context, client kubernetes.Interface, node *corev1.Node, labels map[string]string, taints []config.Taint) ([]string, error) {
	patch, changed := markPatch(node, labels, taints)
	if len(changed) == 0 {
		return nil, nil
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("encoding labels and taints of node %q: %w", node.Name, err)
	}
	_, err = client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil {
		return nil, fmt.Errorf("setting %s on node %q: %w", strings.Join(changed, ", "), node.Name, classify(err))
	}
	return changed, nil
}

type nodePatch struct {
	Metadata *nodePatchMeta `json:"metadata,omitempty"`
	Spec     *nodePatchSpec `json:"spec,omitempty"`
}

type nodePatchMeta struct {
	Labels map[string]string `json:"labels,omitempty"`
	// ResourceVersion makes a patch of taints fail when somebody else changed the node meanwhile: a merge patch
	// replaces the whole list.
	ResourceVersion string `json:"resourceVersion,omitempty"`
}

type nodePatchSpec struct {
	Taints []corev1.Taint `json:"taints"`
}

// markPatch is what has to change on node, and in words.
func markPatch(node *corev1.Node, labels map[string]string, taints []config.Taint) (nodePatch, []string) {
	var patch nodePatch
	var changed []string
	wanted := map[string]string{}
	for key, value := range labels {
		if have, ok := node.Labels[key]; !ok || have != value {
			wanted[key] = value
			changed = append(changed, "label "+key+"="+value)
		}
	}
	slices.Sort(changed)
	if len(wanted) > 0 {
		patch.Metadata = &nodePatchMeta{Labels: wanted}
	}
	merged, taintChanges := mergeTaints(node.Spec.Taints, taints)
	if len(taintChanges) > 0 {
		if patch.Metadata == nil {
			patch.Metadata = &nodePatchMeta{}
		}
		patch.Metadata.ResourceVersion = node.ResourceVersion
		patch.Spec = &nodePatchSpec{Taints: merged}
	}
	return patch, append(changed, taintChanges...)
}

// mergeTaints adds wanted to have; a taint is the same when key and effect are.
func mergeTaints(have []corev1.Taint, wanted []config.Taint) ([]corev1.Taint, []string) {
	merged := slices.Clone(have)
	var changed []string
	for _, want := range wanted {
		taint := corev1.Taint{Key: want.Key, Value: want.Value, Effect: corev1.TaintEffect(want.Effect)}
		at := slices.IndexFunc(merged, func(t corev1.Taint) bool { return t.MatchTaint(&taint) })
		switch {
		case at < 0:
			merged = append(merged, taint)
		case merged[at].Value == taint.Value:
			continue
		default:
			merged[at].Value = taint.Value
		}
		changed = append(changed, "taint "+taint.ToString())
	}
	return merged, changed
}
