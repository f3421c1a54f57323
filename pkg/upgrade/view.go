package upgrade

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

const (
	// admitEvery is how often machines that wait for their turn ask the planner in a cluster of nodesPerTick nodes or
	// fewer. In larger ones they ask more rarely, so that the requests to the API server stay as many.
	admitEvery   = time.Second
	nodesPerTick = 250
	// nodesPerPage bounds how many nodes are in memory as the API server sends them, some 20 KB each.
	nodesPerPage = 100
)

// view is the cluster's nodes as they were listed last, each reduced to the fields that a rollout uses, some 1 KB. All
// machines that wait share it.
type view struct {
	mu     sync.Mutex
	byName map[string]*corev1.Node
	// began is when the list was asked for.
	began time.Time
	// request is the one to the rollout when the nodes were listed, and requestErr why that could not be read: then
	// request is that of before.
	request    Request
	requestErr error
	// version counts the changes of byName and of request.
	version int
	// firstTick is where ticks are counted from.
	firstTick time.Time
	// ended is closed when the next machine has ended.
	ended chan struct{}
}

// tick returns how often the machines that wait ask again.
func (v *view) tick() time.Duration {
	return admitEvery * time.Duration(max(1, (len(v.byName)+nodesPerTick-1)/nodesPerTick))
}

// nextTick returns when the machines that wait ask again, all of them at the same moment, and a channel that is closed
// before where a machine has ended.
func (v *view) nextTick() (time.Time, <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	if v.firstTick.IsZero() {
		v.firstTick = now
	}
	if v.ended == nil {
		v.ended = make(chan struct{})
	}
	tick := v.tick()
	return v.firstTick.Add((now.Sub(v.firstTick)/tick + 1) * tick), v.ended
}

// older reports whether the last list was asked for before a moment.
func (v *view) older(than time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.began.Before(than)
}

// noted takes over a node that this process has changed, so that the next decision sees it without another list.
func (v *view) noted(node *corev1.Node) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.byName == nil {
		return
	}
	v.byName = maps.Clone(v.byName) // others read the map that they were given
	v.byName[node.Name] = reduced(node)
	v.version++
}

// wake has the machines that wait ask at once, since one has ended.
func (v *view) wake() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.version++
	if v.ended != nil {
		close(v.ended)
		v.ended = nil
	}
}

// nodesSince returns the cluster's nodes by name, as they were at notBefore or later, and the version of the view.
// Callers do not change them.
func (u *Upgrader) nodesSince(ctx context.Context, notBefore time.Time) (map[string]*corev1.Node, int, error) {
	v := &u.view
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.byName != nil && !v.began.Before(notBefore) {
		return v.byName, v.version, nil
	}
	err := u.retrying(ctx, operation.NoProgress{}, func(ctx context.Context) error {
		began := time.Now()
		byName, err := u.listNodes(ctx, len(v.byName))
		if err != nil {
			return fmt.Errorf("listing the nodes of cluster %q: %w", u.Cluster.Name, apply.Classify(err))
		}
		v.byName, v.began = byName, began
		v.version++
		return nil
	})
	if err == nil {
		u.readRequest(ctx)
	}
	return v.byName, v.version, err
}

// listNodes lists the nodes in pages, of which one at a time is in memory.
//
//nolint:wrapcheck // nodesSince names the cluster.
func (u *Upgrader) listNodes(ctx context.Context, expected int) (map[string]*corev1.Node, error) {
	byName := make(map[string]*corev1.Node, expected)
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return u.Target.Client.CoreV1().Nodes().List(ctx, options)
	})
	pages.PageSize, pages.PageBufferSize = nodesPerPage, 0
	err := pages.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		if node, ok := object.(*corev1.Node); ok {
			byName[node.Name] = reduced(node)
		}
		return nil
	})
	return byName, err
}

// reduced returns a copy of a node with the fields that a rollout uses. It shares no memory with the node, whose status
// alone, with the names of its images, takes many times as much.
func reduced(node *corev1.Node) *corev1.Node {
	small := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: node.Name, ResourceVersion: node.ResourceVersion, CreationTimestamp: node.CreationTimestamp,
			Labels: maps.Clone(node.Labels),
		},
		Spec: corev1.NodeSpec{Unschedulable: node.Spec.Unschedulable},
		Status: corev1.NodeStatus{
			NodeInfo: corev1.NodeSystemInfo{KubeletVersion: node.Status.NodeInfo.KubeletVersion},
		},
	}
	for _, key := range []string{Annotation, drain.CordonedBy} {
		if value, found := node.Annotations[key]; found {
			if small.Annotations == nil {
				small.Annotations = map[string]string{}
			}
			small.Annotations[key] = value
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			small.Status.Conditions = append(small.Status.Conditions, condition)
		}
	}
	small.ManagedFields = cordonFields(node)
	return small
}

// cordonFields returns the entries of a node's managed fields that tell who set spec.unschedulable, and of those
// nothing else.
func cordonFields(node *corev1.Node) []metav1.ManagedFieldsEntry {
	if !node.Spec.Unschedulable {
		return nil
	}
	var found []metav1.ManagedFieldsEntry
	for _, entry := range node.ManagedFields {
		var fields struct {
			Spec map[string]json.RawMessage `json:"f:spec"`
		}
		if entry.FieldsV1 == nil || json.Unmarshal(entry.FieldsV1.Raw, &fields) != nil {
			continue
		}
		if _, sets := fields.Spec["f:unschedulable"]; sets {
			entry.FieldsV1 = &metav1.FieldsV1{Raw: []byte(`{"f:spec":{"f:unschedulable":{}}}`)}
			found = append(found, entry)
		}
	}
	return found
}

// situationKey holds the inputs of a situation beside the version of the view.
type situationKey struct {
	plan *rollout.Plan
	// wave is the index of the wave of the machines that ask.
	wave    int
	closed  time.Time
	request Request
}

// situations are those that machines asked about last. All that ask at one moment share one.
type situations struct {
	mu sync.Mutex
	// plans are the different plans of this rollout: each step brings a copy of its own.
	plans []*rollout.Plan
	// byKey are those of one version of the view.
	byKey   map[situationKey]*rollout.Situation
	version int
}

// shared returns the one copy of a plan that this process keeps.
func (s *situations) shared(plan rollout.Plan) *rollout.Plan {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, known := range s.plans {
		if known.Equal(plan) {
			return known
		}
	}
	s.plans = append(s.plans, &plan)
	return &plan
}

// situation returns how far a plan has come, for machines of its wave with that index, by nodes that were listed at
// notBefore or later.
func (u *Upgrader) situation(ctx context.Context, plan *rollout.Plan, wave int, notBefore time.Time) (
	*rollout.Situation, error,
) {
	if err := u.readRecord(ctx); err != nil {
		return nil, err
	}
	nodes, version, err := u.nodesSince(ctx, notBefore)
	if err != nil {
		return nil, err
	}
	key := situationKey{plan: plan, wave: wave, request: u.view.requested()}
	if !u.Until.IsZero() && !time.Now().Before(u.Until) {
		key.closed = u.Until
	}
	// The later end counts: a retried workflow may have a step begin again by the plan of its first run.
	switch now := time.Now(); {
	case now.Before(plan.Until):
		key.closed = time.Time{}
	case plan.Until.After(u.Until):
		key.closed = plan.Until
	}
	s := &u.situations
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey == nil || s.version != version {
		s.byKey, s.version = map[situationKey]*rollout.Situation{}, version
	}
	if s.byKey[key] == nil {
		machines := u.describeAll(nodes, nil)
		skipEnded(machines, *plan, wave)
		s.byKey[key] = rollout.Situate(*plan, rollout.Snapshot{
			Machines: machines, Closed: key.closed, Paused: key.request == Pause, Aborted: key.request == Abort,
		})
	}
	return s.byKey[key], nil
}

// skipEnded marks machines of earlier waves that have not begun as skipped. The steps of a wave begin when all steps of
// the wave before have ended. The step of such a machine therefore ended before it could note anything at the node, and
// no other step would begin it.
func skipEnded(machines []rollout.Machine, plan rollout.Plan, wave int) {
	ended := map[string]bool{}
	for _, before := range plan.Waves[:max(wave, 0)] {
		for _, name := range before.Machines {
			ended[name] = true
		}
	}
	for i := range machines {
		if machines[i].State == rollout.Pending && ended[machines[i].Name] {
			machines[i].State = rollout.Skipped
		}
	}
}

// waveOf returns the index of a machine's wave; where it has none, all waves are before it.
func waveOf(plan *rollout.Plan, machine string) int {
	at := slices.IndexFunc(plan.Waves, func(w rollout.Wave) bool { return slices.Contains(w.Machines, machine) })
	if at < 0 {
		return len(plan.Waves)
	}
	return at
}
