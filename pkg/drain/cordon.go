package drain

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"argosy.dev/argosy/internal/apply"
)

// CordonedBy is the annotation with the operation of Argosy's that cordoned a node. An operation takes back its own
// cordon only, never a user's.
const CordonedBy = "argosy.dev/cordoned-by"

// Owns reports whether a node is cordoned by the operation: it has its name, and the API server has noted no other
// client as the one that set spec.unschedulable.
func Owns(node *corev1.Node, operation string) bool {
	if node.Annotations[CordonedBy] != operation || !node.Spec.Unschedulable {
		return false
	}
	others := false
	for _, entry := range node.ManagedFields {
		var fields struct {
			Spec map[string]any `json:"f:spec"`
		}
		if entry.Manager == "" || entry.FieldsV1 == nil || json.Unmarshal(entry.FieldsV1.Raw, &fields) != nil {
			continue
		}
		if _, sets := fields.Spec["f:unschedulable"]; !sets {
			continue
		}
		if entry.Manager == apply.Manager {
			return true
		}
		others = true
	}
	return !others
}

// Cordon keeps new pods away from a node, and reports whether it is the operation's own cordon:
//
//	the node                       becomes                     own
//	takes pods                     cordoned, with the name     yes
//	cordoned by this operation     as it is                    yes: an earlier run did it
//	cordoned by another one        as it is                    no
//	cordoned by a user             as it is                    no
//
// A name is the same in all runs of an operation, e.g. "remove". Where a user uncordoned the node and cordoned it
// again, the annotation is still there, and the cordon the user's; see [Owns].
func (d Drainer) Cordon(ctx context.Context, node, operation string) (own bool, err error) {
	err = d.change(ctx, node, func(n *corev1.Node) *cordonPatch {
		own = !n.Spec.Unschedulable || Owns(n, operation)
		if n.Spec.Unschedulable {
			return nil
		}
		return patchOf(n, true, operation)
	})
	if err != nil {
		return false, fmt.Errorf("cordoning node %q: %w", node, err)
	}
	return own, nil
}

// Adopt makes operation the owner of a cordon that another operation of Argosy's made for it. Other cordons stay as
// they are.
func (d Drainer) Adopt(ctx context.Context, node, from, operation string) error {
	err := d.change(ctx, node, func(n *corev1.Node) *cordonPatch {
		if !Owns(n, from) {
			return nil
		}
		return patchOf(n, true, operation)
	})
	if err != nil {
		return fmt.Errorf("taking over the cordon of node %q: %w", node, err)
	}
	return nil
}

// Uncordon takes the operation's own cordon back, and reports whether there was one. A node that is gone has none.
func (d Drainer) Uncordon(ctx context.Context, node, operation string) (undone bool, err error) {
	err = d.change(ctx, node, func(n *corev1.Node) *cordonPatch {
		undone = Owns(n, operation) || n.Annotations[CordonedBy] == operation && !n.Spec.Unschedulable
		if !undone {
			return nil
		}
		return patchOf(n, false, "")
	})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("uncordoning node %q: %w", node, err)
	}
	return undone, nil
}

// uncordonTimeout bounds the uncordoning after a cancellation; Argo gives a pod 30 s to end.
const uncordonTimeout = 10 * time.Second

// UncordonAfter takes the operation's own cordon back after failure, also when ctx is cancelled, and returns failure
// with the state of the node: uncordoned, or why it stays cordoned.
func (d Drainer) UncordonAfter(ctx context.Context, node, operation string, failure error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), uncordonTimeout)
	defer cancel()
	undone, err := d.Uncordon(ctx, node, operation)
	switch {
	case err != nil:
		return fmt.Errorf("%w; and node %s stays cordoned: %w; uncordon it with `kubectl uncordon %s`", failure, node,
			err, node)
	case undone:
		return fmt.Errorf("%w; node %s is uncordoned", failure, node)
	}
	return failure
}

// change reads a node and applies the patch that change returns, and repeats both on a conflict.
//
//nolint:wrapcheck // Its callers name the node.
func (d Drainer) change(ctx context.Context, name string, change func(*corev1.Node) *cordonPatch) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		node, err := d.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return apply.Classify(err)
		}
		patch := change(node)
		if patch == nil {
			return nil
		}
		_, err = apply.PatchNode(ctx, d.Client, name, patch)
		return err
	})
}

// cordonPatch sets the annotation and spec.unschedulable or, with null, removes them. The resource version makes it
// fail when the node has changed since it was read.
type cordonPatch struct {
	Metadata struct {
		ResourceVersion string             `json:"resourceVersion"`
		Annotations     map[string]*string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		Unschedulable *bool `json:"unschedulable"`
	} `json:"spec"`
}

func patchOf(node *corev1.Node, cordoned bool, operation string) *cordonPatch {
	var patch cordonPatch
	patch.Metadata.ResourceVersion = node.ResourceVersion
	patch.Metadata.Annotations = map[string]*string{CordonedBy: nil}
	if cordoned {
		patch.Metadata.Annotations[CordonedBy] = &operation
		patch.Spec.Unschedulable = &cordoned
	}
	return &patch
}
