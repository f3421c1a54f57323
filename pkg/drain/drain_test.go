package drain_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/drain/draintest"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/operation"
)

// cluster is an API server that evicts as a real one does: it refuses where answer has an error, and else deletes.
type cluster struct {
	*fake.Clientset
	// answer returns the error for an eviction, by the pod's name; nil lets it through.
	answer func(pod string) error

	mu      sync.Mutex
	tried   []string // by dry run
	evicted []string
	uids    []types.UID // that evictions were bound to
}

func newCluster(objects ...runtime.Object) *cluster {
	c := &cluster{Clientset: fake.NewClientset(objects...), answer: func(string) error { return nil }}
	draintest.Evict(c.Clientset, c.evict)
	return c
}

func (c *cluster) evict(eviction *policyv1.Eviction) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.answer(eviction.Name); err != nil {
		return err
	}
	if draintest.OnlyTried(eviction) {
		c.tried = append(c.tried, eviction.Name)
		return nil
	}
	c.evicted = append(c.evicted, eviction.Name)
	c.uids = append(c.uids, *eviction.DeleteOptions.Preconditions.UID)
	return nil
}

// refuses is the answer of a budget to pods of this name.
func refuses(name string) func(string) error {
	return func(pod string) error {
		if pod != name {
			return nil
		}
		return draintest.Held()
	}
}

type change func(*corev1.Pod)

// pod is one of node n1 that a ReplicaSet made, unless changed.
func pod(name string, changes ...change) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "default", UID: types.UID("uid-" + name),
			Labels: map[string]string{"app": "web"},
		},
		Spec:   corev1.PodSpec{NodeName: "n1"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	ownedBy("ReplicaSet", "web-5d")(p)
	for _, change := range changes {
		change(p)
	}
	return p
}

func ownedBy(kind, name string) change {
	yes := true
	return func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, Controller: &yes}}
	}
}

func alone(p *corev1.Pod)    { p.OwnerReferences = nil }
func finished(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }
func static(p *corev1.Pod)   { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }
func scratch(p *corev1.Pod) {
	p.Spec.Volumes = []corev1.Volume{{
		Name:         "scratch",
		VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
	}}
}

// deployment made the ReplicaSet of pods.
func deployment() *appsv1.ReplicaSet {
	yes := true
	return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
		Name: "web-5d", Namespace: "default", OwnerReferences: []metav1.OwnerReference{{
			Kind: "Deployment", Name: "web",
			Controller: &yes,
		}},
	}}
}

func budget(name string) *policyv1.PodDisruptionBudget {
	minimum := intstr.FromInt32(1)
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: &minimum,
			Selector:     &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		},
		Status: policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 1, DesiredHealthy: 1},
	}
}

// policy is the default one, with less time.
func policy(changes ...func(*config.Drain)) config.Drain {
	p := config.Defaults().Fleet.Drain
	p.Timeout.Duration = 2 * time.Second
	for _, change := range changes {
		change(&p)
	}
	return p
}

func forced(p *config.Drain) { p.Force = true }

type said struct {
	mu    sync.Mutex
	lines []string
}

// Report keeps the text of an event.
func (s *said) Report(event operation.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, event.String())
}

func (s *said) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.lines, func(line string) bool { return strings.Contains(line, text) })
}

func TestADrainEvictsWhatMayLeaveAndNothingElse(t *testing.T) {
	t.Parallel()
	daemons := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "proxy", Namespace: "default"}}
	c := newCluster(daemons, pod("web-1"), pod("web-2", scratch), pod("done", alone, finished),
		pod("proxy-1", ownedBy("DaemonSet", "proxy")), pod("static", static))
	var told said
	count, err := drain.Drainer{Client: c, Policy: policy()}.Drain(t.Context(), "n1", true, &told)
	assert.NilError(t, err)
	assert.Equal(t, count, 3)
	slices.Sort(c.evicted)
	assert.DeepEqual(t, c.evicted, []string{"done", "web-1", "web-2"})
	assert.Assert(t, told.has("of 3 pods left, waiting for default/") || told.has("all pods have ended"), told.lines)
	assert.Assert(t, slices.Contains(c.uids, "uid-web-1"), c.uids)
	for _, action := range c.Actions() {
		assert.Assert(t, action.GetVerb() != "delete", "a pod was deleted")
	}
}

func TestAnEmptyNodeIsDrainedWithoutAWord(t *testing.T) {
	var told said
	count, err := drain.Drainer{Client: newCluster(), Policy: policy()}.Drain(t.Context(), "n1", true, &told)
	assert.NilError(t, err)
	assert.Assert(t, count == 0 && len(told.lines) == 0)
}

func TestARefusedPodIsNamedWithItsBudgetAndOwner(t *testing.T) {
	t.Parallel()
	c := newCluster(deployment(), budget("web"), pod("web-1"), pod("other"))
	c.answer = refuses("web-1")
	var told said
	count, err := drain.Drainer{Client: c, Policy: policy()}.Drain(t.Context(), "n1", true, &told)
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
	assert.Equal(t, err.Error(), "draining node n1: after 2s 1 of 2 pods are left: default/web-1 of Deployment web "+
		"(PDB web allows none: 1 healthy, 1 needed)")
	assert.Equal(t, count, 1)
	assert.Assert(t, told.has("1 of 2 pods left, waiting for default/web-1 (PDB web allows none: 1 healthy, 1 needed)"),
		told.lines)
}

func TestABudgetThatAllowsOneLaterIsWaitedFor(t *testing.T) {
	t.Parallel()
	c := newCluster(budget("web"), pod("web-1"))
	tries := 0
	c.answer = func(string) error {
		tries++
		if tries == 1 {
			return refuses("web-1")("web-1")
		}
		return nil
	}
	count, err := drain.Drainer{
		Client: c,
		Policy: policy(func(p *config.Drain) { p.Timeout.Duration = time.Minute }),
	}.Drain(t.Context(),
		"n1", true, operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, count, 1)
}

func TestAnOverloadedAPIServerIsAskedAgain(t *testing.T) {
	t.Parallel()
	c := newCluster(pod("web-1"))
	tries := 0
	c.answer = func(string) error {
		tries++
		if tries == 1 {
			return apierrors.NewServiceUnavailable("starting")
		}
		return nil
	}
	_, err := drain.Drainer{
		Client: c,
		Policy: policy(func(p *config.Drain) { p.Timeout.Duration = time.Minute }),
	}.Drain(t.Context(),
		"n1", true, operation.NoProgress{})
	assert.NilError(t, err)
	assert.DeepEqual(t, c.evicted, []string{"web-1"})
}

// A conflict tells that the pod has changed, and not how:
//
//	the pod of that name now      the drain
//	there is none                 is done with it
//	is another one                is done with it, and leaves the other one alone
//	is the same                   asks again
func TestAConflictIsLookedAt(t *testing.T) {
	t.Parallel()
	pods := corev1.SchemeGroupVersion.WithResource("pods")
	for name, test := range map[string]struct {
		meanwhile func(c *cluster) error
		evicted   int
	}{
		"gone": {func(c *cluster) error { return c.Tracker().Delete(pods, "default", "web-1") }, 0},
		"another": {func(c *cluster) error {
			another := pod("web-1", func(p *corev1.Pod) { p.UID, p.Spec.NodeName = "another", "n2" })
			return c.Tracker().Update(pods, another, "default")
		}, 0},
		"the same": {func(*cluster) error { return nil }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(pod("web-1"))
			tries := 0
			c.answer = func(string) error {
				tries++
				if tries > 1 {
					return nil
				}
				if err := test.meanwhile(c); err != nil {
					return err
				}
				return apierrors.NewConflict(corev1.Resource("pods"), "web-1", errors.New("it has changed"))
			}
			long := policy(func(p *config.Drain) { p.Timeout.Duration = time.Minute })
			count, err := drain.Drainer{Client: c, Policy: long}.Drain(t.Context(), "n1", true, operation.NoProgress{})
			assert.NilError(t, err)
			assert.Equal(t, count, 1)
			assert.Equal(t, len(c.evicted), test.evicted)
		})
	}
}

// Waiting would help neither of these, so that a drain must not use up its time.
func TestAPermanentRefusalEndsADrainAtOnce(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]error{
		"admission": apierrors.NewForbidden(corev1.Resource("pods"), "web-1", errors.New("the policy says so")),
		"several PDBs": apierrors.NewInternalError(errors.New("This pod has more than one PodDisruptionBudget, which " +
			"the eviction subresource does not support.")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(pod("web-1"), pod("web-2"))
			c.answer = func(pod string) error {
				if pod == "web-1" {
					return answer
				}
				return refuses("web-2")(pod)
			}
			started := time.Now()
			_, err := drain.Drainer{
				Client: c,
				Policy: policy(func(p *config.Drain) { p.Timeout.Duration = time.Hour }),
			}.Drain(t.Context(),
				"n1", true, operation.NoProgress{})
			assert.ErrorContains(t, err, "draining node n1: evicting pod default/web-1: ")
			assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
			assert.Assert(t, time.Since(started) < time.Minute)
		})
	}
}

func TestPodsWithoutAControllerRefuseAnUnforcedDrain(t *testing.T) {
	t.Parallel()
	c := newCluster(pod("debug", alone), pod("orphan", ownedBy("DaemonSet", "gone")), pod("web-1"))
	_, err := drain.Drainer{Client: c, Policy: policy()}.Drain(t.Context(), "n1", true, operation.NoProgress{})
	assert.Error(t, err, "node n1 can't be drained: no controller brings back default/debug, default/orphan: delete "+
		"them, or say force")
	assert.Equal(t, len(c.evicted), 0)

	count, err := drain.Drainer{Client: c, Policy: policy(forced)}.Drain(t.Context(), "n1", true,
		operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, count, 3)
}

func TestThePolicyRefusesToDrainEmptyDirVolumes(t *testing.T) {
	c := newCluster(pod("cache", scratch))
	_, err := drain.Drainer{
		Client: c,
		Policy: policy(func(p *config.Drain) { p.DeleteEmptyDirData = false }),
	}.Drain(t.Context(),
		"n1", true, operation.NoProgress{})
	assert.Error(t, err, "node n1 can't be drained: drain.deleteEmptyDirData is false, and the emptyDir volumes of "+
		"default/cache end with them")
}

func TestWithoutEvictionsNothingIsDeletedInTheirPlace(t *testing.T) {
	c := newCluster(pod("web-1"))
	c.Resources = []*metav1.APIResourceList{{GroupVersion: "v1"}}
	_, err := drain.Drainer{Client: c, Policy: policy()}.Drain(t.Context(), "n1", true, operation.NoProgress{})
	assert.ErrorContains(t, err, "the API server has no evictions of policy/v1")
	list, err := c.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	assert.NilError(t, err)
	assert.Equal(t, len(list.Items), 1)
}

func TestACancelledDrainReportsTheCause(t *testing.T) {
	t.Parallel()
	c := newCluster(pod("web-1"))
	c.answer = refuses("web-1")
	reason := errors.New("the user stopped the workflow")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := drain.Drainer{
		Client: c,
		Policy: policy(func(p *config.Drain) { p.Timeout.Duration = time.Hour }),
	}.Drain(ctx,
		"n1", true, operation.ProgressFunc(func(operation.Event) { cancel(reason) }))
	assert.ErrorIs(t, err, reason)
}
