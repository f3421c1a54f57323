package join

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/config"
)

// Annotations of a node that name what Argosy set on it, so that it takes away what the documents do not ask for any
// more, and never what others set: keys of labels, and taints as key:effect, with commas between.
const (
	labelsAnnotation = "argosy.dev/labels"
	taintsAnnotation = "argosy.dev/taints"
)

// Mark sets the labels and taints of the documents on a machine's node, and returns the changes in words.
func (j *Joiner) Mark(ctx context.Context, machine config.Machine, node *corev1.Node) ([]string, error) {
	return markNode(ctx, j.Target.Client, node, machine.Labels, j.Cluster.Taints(machine))
}

// markNode sets labels and taints where they differ, takes away those of ours that are not wanted any more, and
// returns the changes in words. Labels and taints that others set stay.
func markNode(ctx context.Context, client kubernetes.Interface, node *corev1.Node, labels map[string]string,
	taints []config.Taint,
) ([]string, error) {
	patch, changed := markPatch(node, labels, taints)
	if len(changed) == 0 {
		return nil, nil
	}
	if _, err := apply.PatchNode(ctx, client, node.Name, patch); err != nil {
		return nil, fmt.Errorf("setting %s on node %q: %w", strings.Join(changed, ", "), node.Name, err)
	}
	return changed, nil
}

// labelsPatch is a merge patch of labels and taints, in which null removes.
type labelsPatch struct {
	Metadata labelsPatchMeta  `json:"metadata"`
	Spec     *labelsPatchSpec `json:"spec,omitempty"`
}

type labelsPatchMeta struct {
	Labels      map[string]*string `json:"labels,omitempty"`
	Annotations map[string]*string `json:"annotations,omitempty"`
	// ResourceVersion makes a patch of taints fail when the node was changed meanwhile: a merge patch
	// replaces the whole list.
	ResourceVersion string `json:"resourceVersion,omitempty"`
}

type labelsPatchSpec struct {
	Taints []corev1.Taint `json:"taints"`
}

// markPatch returns the changes that node needs, and their words: "label zone=a", "label rack removed".
func markPatch(node *corev1.Node, labels map[string]string, taints []config.Taint) (labelsPatch, []string) {
	var patch labelsPatch
	patch.Metadata.Labels = map[string]*string{}
	var changed []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if have, ok := node.Labels[key]; !ok || have != labels[key] {
			value := labels[key]
			patch.Metadata.Labels[key] = &value
			changed = append(changed, "label "+key+"="+value)
		}
	}
	for _, key := range owned(node, labelsAnnotation) {
		_, wanted := labels[key]
		if _, there := node.Labels[key]; there && !wanted {
			patch.Metadata.Labels[key] = nil
			changed = append(changed, "label "+key+" removed")
		}
	}
	merged, taintChanges := mergeTaints(node.Spec.Taints, taints, owned(node, taintsAnnotation))
	if len(taintChanges) > 0 {
		patch.Metadata.ResourceVersion = node.ResourceVersion
		patch.Spec = &labelsPatchSpec{Taints: merged}
	}
	changed = append(changed, taintChanges...)
	patch.Metadata.Annotations = ownership(node, labels, taints)
	if len(patch.Metadata.Annotations) > 0 && len(changed) == 0 {
		changed = append(changed, "the note which labels and taints are Argosy's")
	}
	return patch, changed
}

// owned are the entries of an annotation.
func owned(node *corev1.Node, annotation string) []string {
	return strings.FieldsFunc(node.Annotations[annotation], func(r rune) bool { return r == ',' })
}

// ownership returns the new values of the annotations that differ.
func ownership(node *corev1.Node, labels map[string]string, taints []config.Taint) map[string]*string {
	var ids []string
	for _, taint := range taints {
		ids = append(ids, taintID(taint.Key, taint.Effect))
	}
	slices.Sort(ids)
	changed := map[string]*string{}
	for annotation, entries := range map[string][]string{
		labelsAnnotation: slices.Sorted(maps.Keys(labels)),
		taintsAnnotation: ids,
	} {
		wanted := strings.Join(entries, ",")
		have, there := node.Annotations[annotation]
		switch {
		case wanted == "" && there:
			changed[annotation] = nil
		case wanted != have:
			changed[annotation] = &wanted
		}
	}
	return changed
}

// taintID tells taints apart: two of one key and effect are the same.
func taintID(key, effect string) string { return key + ":" + effect }

// mergeTaints adds wanted to have, and takes away those of ours that are not wanted.
func mergeTaints(have []corev1.Taint, wanted []config.Taint, ours []string) ([]corev1.Taint, []string) {
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
	merged = slices.DeleteFunc(merged, func(taint corev1.Taint) bool {
		obsolete := slices.Contains(ours, taintID(taint.Key, string(taint.Effect))) &&
			!slices.ContainsFunc(wanted, func(w config.Taint) bool {
				return w.Key == taint.Key &&
					w.Effect == string(taint.Effect)
			})
		if obsolete {
			changed = append(changed, "taint "+taint.ToString()+" removed")
		}
		return obsolete
	})
	return merged, changed
}
