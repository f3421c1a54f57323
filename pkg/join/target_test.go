package join_test

import (
	"slices"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/pkg/join"
)

// A thousand nodes have some 20 MB of images' names.
func TestNodesAreListedInPagesAndWithoutTheirImages(t *testing.T) {
	node := func(name string) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{
			NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1.37.2"}, Images: []corev1.ContainerImage{{SizeBytes: 1}},
		}}
	}
	pages := map[string]*corev1.NodeList{
		"":     {ListMeta: metav1.ListMeta{Continue: "more"}, Items: []corev1.Node{node("n1"), node("n2")}},
		"more": {Items: []corev1.Node{node("n3")}},
	}
	client := fake.NewClientset()
	var limits []int64
	client.PrependReactor("list", "nodes", func(action k8stesting.Action) (bool, runtime.Object, error) {
		options := action.(k8stesting.ListActionImpl).ListOptions
		limits = append(limits, options.Limit)
		return true, pages[options.Continue], nil
	})
	nodes, err := (&join.Target{Client: client}).Nodes(t.Context(), "fleet")
	assert.NilError(t, err)
	assert.Equal(t, len(nodes), 3)
	for name, found := range nodes {
		assert.Equal(t, found.Name, name)
		assert.Equal(t, found.Status.NodeInfo.KubeletVersion, "v1.37.2")
		assert.Equal(t, len(found.Status.Images), 0)
	}
	assert.Assert(t, len(limits) == 2 && slices.Min(limits) > 0, "limits of the lists: %v", limits)
}
