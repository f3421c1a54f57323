package drain_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/drain"
)

func n1() *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name:   "n1",
		Labels: map[string]string{corev1.LabelHostname: "host-1"},
	}}
}

func TestAPreflightTriesEvictionsAndEvictsNothing(t *testing.T) {
	c := newCluster(deployment(), budget("web"), pod("web-1"), pod("cache", scratch), pod("debug", alone))
	c.answer = refuses("web-1")
	found, err := drain.Drainer{Client: c, Policy: policy()}.Preflight(t.Context(), n1(), nil)
	assert.NilError(t, err)
	assert.DeepEqual(t, found.Pods, []drain.Pod{
		{Name: "default/cache", EmptyDir: true},
		{Name: "default/debug", Single: true},
		{Name: "default/web-1", Owner: "Deployment web", Blocked: "PDB web allows none: 1 healthy, 1 needed"},
	})
	assert.DeepEqual(t, found.Refusals, []string{"no controller brings back default/debug: delete them, or say force"})
	assert.Equal(t, strings.Join(found.Reasons(), "\n"), `3 pods of node n1 to evict
will be waited for: default/web-1 of Deployment web (PDB web allows none: 1 healthy, 1 needed)
no controller brings back default/debug
emptyDir volumes end of default/cache`)
	assert.Equal(t, len(c.evicted), 0)
	assert.Equal(t, len(c.tried), 2)
}

func TestWhatCanNeverBeEvictedIsRefusedBefore(t *testing.T) {
	c := newCluster(budget("web"), budget("all"), pod("web-1"))
	c.answer = func(string) error {
		return apierrors.NewInternalError(errors.New("This pod has more than one PodDisruptionBudget, which the " +
			"eviction subresource does not support."))
	}
	found, err := drain.Drainer{Client: c, Policy: policy()}.Preflight(t.Context(), n1(), nil)
	assert.NilError(t, err)
	assert.DeepEqual(t, found.Refusals, []string{"default/web-1: PDBs all, web hold for it, and Kubernetes evicts no " +
		"pod that has more than one"})
}

func TestAPreflightFailsWithoutTheAPIServer(t *testing.T) {
	c := newCluster(pod("web-1"))
	c.answer = func(string) error { return apierrors.NewServiceUnavailable("starting") }
	_, err := drain.Drainer{Client: c, Policy: policy()}.Preflight(t.Context(), n1(), nil)
	assert.ErrorContains(t, err, "trying the eviction of pod default/web-1")
}

func TestVolumesThatLieOnTheMachineAreNamed(t *testing.T) {
	volume := func(name, key string, values ...string) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
			ClaimRef: &corev1.ObjectReference{Namespace: "default", Name: "claim-of-" + name},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{
						Key: key, Operator: corev1.NodeSelectorOpIn, Values: values,
					}},
				}},
			}},
		}}
	}
	anywhere := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "anywhere"}}
	c := newCluster(anywhere, volume("here", corev1.LabelHostname, "host-1"),
		volume("there", corev1.LabelHostname, "host-2"), volume("zonal", corev1.LabelTopologyZone, "host-1"))
	d := drain.Drainer{Client: c, Policy: policy()}
	volumes, err := d.Volumes(t.Context())
	assert.NilError(t, err)
	found, err := d.Preflight(t.Context(), n1(), volumes)
	assert.NilError(t, err)
	assert.DeepEqual(t, found.Volumes, []drain.Volume{{Name: "here", Claim: "default/claim-of-here"}})
	assert.Equal(t, drain.Names(found.Volumes), "default/claim-of-here")
}

func TestAlikePodsOfAPlanAreTriedOnce(t *testing.T) {
	answers := &drain.Answers{}
	first := newCluster(pod("web-1"))
	_, err := drain.Drainer{Client: first, Policy: policy(), Answers: answers}.Preflight(t.Context(), n1(), nil)
	assert.NilError(t, err)
	assert.DeepEqual(t, first.tried, []string{"web-1"})

	next := newCluster(
		pod("web-2"), pod("web-3", unready), pod("other", ownedBy("ReplicaSet", "other")),
		pod("apart", func(p *corev1.Pod) { p.Labels["app"] = "apart" }),
		pod("noted", func(p *corev1.Pod) { p.Annotations = map[string]string{"keep": "true"} }),
		pod("pending", func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }),
		pod("elsewhere", func(p *corev1.Pod) { p.Namespace = "elsewhere" }),
	)
	found, err := drain.Drainer{Client: next, Policy: policy(), Answers: answers}.Preflight(t.Context(), n1(), nil)
	assert.NilError(t, err)
	assert.Equal(t, len(found.Pods), 7)
	slices.Sort(next.tried)
	assert.DeepEqual(t, next.tried, []string{"apart", "elsewhere", "noted", "other", "pending", "web-3"})
}

// A pod without a controller may be the only one of its kind.
func TestPodsWithoutControllersAndRefusedOnesAreEachTried(t *testing.T) {
	c := newCluster(deployment(), budget("web"), pod("web-1"), pod("debug", alone))
	c.answer = refuses("web-1")
	d := drain.Drainer{Client: c, Policy: policy(), Answers: &drain.Answers{}}
	for range 2 {
		found, err := d.Preflight(t.Context(), n1(), nil)
		assert.NilError(t, err)
		assert.Equal(t, found.Pods[1].Blocked, "PDB web allows none: 1 healthy, 1 needed")
	}
	assert.DeepEqual(t, c.tried, []string{"debug", "debug"})
}

func unready(p *corev1.Pod) {
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}
}
