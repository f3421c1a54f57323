package scale

import (
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"argosy.dev/argosy/pkg/join"
)

// nodes follows every change of every node.
type nodes struct {
	fleet *fleet

	mu    sync.Mutex
	ready map[string]bool
}

// followNodes follows nodes until the test ends.
func followNodes(t *testing.T, f *fleet) *nodes {
	t.Helper()
	n := &nodes{fleet: f, ready: map[string]bool{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for t.Context().Err() == nil {
			n.follow(t)
			time.Sleep(100 * time.Millisecond)
		}
	}()
	t.Cleanup(func() { <-ended })
	return n
}

// follow takes over all changes after a list, until the watch ends.
func (n *nodes) follow(t *testing.T) {
	list, err := n.fleet.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		return
	}
	for i := range list.Items {
		n.take(&list.Items[i])
	}
	changes, err := n.fleet.client.CoreV1().Nodes().Watch(t.Context(),
		metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return
	}
	defer changes.Stop()
	for change := range changes.ResultChan() {
		node, is := change.Object.(*corev1.Node)
		if !is {
			return
		}
		if change.Type == watch.Deleted {
			n.fleet.violate("node %s was deleted", node.Name)
		}
		n.take(node)
	}
}

// take notes a node as it is now. One that was Ready stays so, and is never cordoned.
func (n *nodes) take(node *corev1.Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ready := join.ReadyCondition(node).Status == corev1.ConditionTrue
	if n.ready[node.Name] && !ready || node.Spec.Unschedulable {
		n.fleet.violate("node %s is out of service after a join", node.Name)
	}
	n.ready[node.Name] = ready
}

// count returns how many nodes are Ready.
func (n *nodes) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	number := 0
	for _, ready := range n.ready {
		if ready {
			number++
		}
	}
	return number
}
