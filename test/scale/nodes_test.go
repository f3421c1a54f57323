package scale

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/upgrade"
)

// nodes follows every change of every node, and notes each after which more are out of service than allowed.
type nodes struct {
	fleet *fleet
	limit int

	mu     sync.Mutex
	byName map[string]*corev1.Node
	// out, cordoned and upgraded count nodes as they are now; most is the highest number of out so far.
	out, cordoned, upgraded, most int
}

// followNodes follows nodes until the test ends. As many as limit may be out of service.
func followNodes(t *testing.T, f *fleet, limit int) *nodes {
	n := &nodes{fleet: f, limit: limit, byName: map[string]*corev1.Node{}}
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

// take counts a node as it is now.
func (n *nodes) take(node *corev1.Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.count(n.byName[node.Name], -1)
	n.byName[node.Name] = node
	n.count(node, 1)
	if n.most = max(n.most, n.out); n.out > n.limit {
		n.fleet.violate("%d nodes are out of service after a change of %s, and %d may be", n.out, node.Name, n.limit)
	}
}

func (n *nodes) count(node *corev1.Node, by int) {
	if node == nil {
		return
	}
	if outOfService(node) {
		n.out += by
	}
	if node.Spec.Unschedulable {
		n.cordoned += by
	}
	if node.Status.NodeInfo.KubeletVersion == newVersion {
		n.upgraded += by
	}
}

// outOfService reports whether a node is cordoned by the upgrade of its machine, or at work in it, or not Ready. Before
// its kubelet's first report it is a node that joins.
func outOfService(node *corev1.Node) bool {
	var noted struct {
		State string `json:"state"`
	}
	_ = json.Unmarshal([]byte(node.Annotations[upgrade.Annotation]), &noted)
	if noted.State == "working" || node.Spec.Unschedulable && drain.Owns(node, "upgrade") {
		return true
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
			return true
		}
	}
	return false
}
