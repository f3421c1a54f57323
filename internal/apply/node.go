package apply

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// PatchNode changes a node by a merge patch, whose nulls remove, and returns the node as it is then. patch is encoded
// as JSON. A node has fields of many owners, among them the kubelet, so it is patched and not applied.
func PatchNode(ctx context.Context, client kubernetes.Interface, name string, patch any) (*corev1.Node, error) {
	body, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("encoding a patch of node %q: %w", name, err)
	}
	node, err := client.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, body,
		metav1.PatchOptions{FieldManager: Manager})
	return node, Classify(err)
}
