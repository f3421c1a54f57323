package drain_test

import (
	"errors"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ktesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/pkg/drain"
)

// cordoned is node n1, cordoned by whom; by a user when that is empty.
func cordoned(by string) *corev1.Node {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1", Annotations: map[string]string{"other": "stays"}},
		Spec:       corev1.NodeSpec{Unschedulable: true},
	}
	if by != "" {
		node.Annotations[drain.CordonedBy] = by
	}
	return node
}

func takesPods() *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
}

func TestOnlyAnOperationsOwnCordonIsTakenBack(t *testing.T) {
	for name, test := range map[string]struct {
		node *corev1.Node
		own  bool
	}{
		"takes pods":                    {takesPods(), true},
		"cordoned by the operation":     {cordoned("remove"), true},
		"cordoned by another operation": {cordoned("upgrade"), false},
		"cordoned by a user":            {cordoned(""), false},
		"uncordoned by a user meanwhile": {&corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name:        "n1",
			Annotations: map[string]string{drain.CordonedBy: "remove"},
		}}, true},
		"uncordoned, by another one once": {&corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name:        "n1",
			Annotations: map[string]string{drain.CordonedBy: "upgrade"},
		}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(test.node)
			d := drain.Drainer{Client: c}
			read := func() *corev1.Node {
				node, err := c.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
				assert.NilError(t, err)
				return node
			}
			own, err := d.Cordon(t.Context(), "n1", "remove")
			assert.NilError(t, err)
			assert.Equal(t, own, test.own)
			assert.Assert(t, read().Spec.Unschedulable)

			undone, err := d.Uncordon(t.Context(), "n1", "remove")
			assert.NilError(t, err)
			assert.Equal(t, undone, test.own)
			assert.Equal(t, read().Spec.Unschedulable, !test.own)
			if test.own {
				_, noted := read().Annotations[drain.CordonedBy]
				assert.Assert(t, !noted)
			}
			assert.Equal(t, read().Annotations["other"], test.node.Annotations["other"])
		})
	}
}

func TestAFailureTellsWhetherTheNodeTakesPodsAgain(t *testing.T) {
	forbidden := newCluster(cordoned("remove"))
	forbidden.PrependReactor("patch", "nodes", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("nodes"), "n1", errors.New("no role"))
	})
	for name, test := range map[string]struct {
		cluster *cluster
		want    string
	}{
		"its own cordon": {newCluster(cordoned("remove")), "a budget forbids it; node n1 is uncordoned"},
		"a user's":       {newCluster(cordoned("")), "a budget forbids it"},
		"it fails": {forbidden, `a budget forbids it; and node n1 stays cordoned: uncordoning node "n1": ` +
			`nodes "n1" is forbidden: no role; uncordon it with ` + "`kubectl uncordon n1`"},
	} {
		t.Run(name, func(t *testing.T) {
			failure := errors.New("a budget forbids it")
			err := drain.Drainer{Client: test.cluster}.UncordonAfter(t.Context(), "n1", "remove", failure)
			assert.ErrorIs(t, err, failure)
			assert.Error(t, err, test.want)
		})
	}
}

func TestANodeThatIsGoneNeedsNoUncordon(t *testing.T) {
	undone, err := drain.Drainer{Client: newCluster()}.Uncordon(t.Context(), "n1", "remove")
	assert.NilError(t, err)
	assert.Assert(t, !undone)

	_, err = drain.Drainer{Client: newCluster()}.Cordon(t.Context(), "n1", "remove")
	assert.ErrorContains(t, err, `cordoning node "n1"`)
}

func TestACordonIsDecidedAnewWhenTheNodeChangedMeanwhile(t *testing.T) {
	c := newCluster(takesPods())
	conflicts := 1
	c.PrependReactor("patch", "nodes", func(ktesting.Action) (bool, runtime.Object, error) {
		conflicts--
		if conflicts < 0 {
			return false, nil, nil
		}
		node := cordoned("")
		assert.NilError(t, c.Tracker().Update(corev1.SchemeGroupVersion.WithResource("nodes"), node, ""))
		return true, nil, apierrors.NewConflict(corev1.Resource("nodes"), "n1", errors.New("it changed"))
	})
	own, err := drain.Drainer{Client: c}.Cordon(t.Context(), "n1", "remove")
	assert.NilError(t, err)
	assert.Assert(t, !own)
}

// Where a node has a name and is cordoned, spec.unschedulable is set by
//
//	the client              the cordon is the operation's
//	Argosy                  yes
//	not known               yes
//	another one             no: a user uncordoned the node, and cordoned it again
//	Argosy and another one  yes
func TestACordonThatAUserMadeLaterIsTheirs(t *testing.T) {
	for name, test := range map[string]struct {
		managers []string
		owns     bool
	}{
		"Argosy's": {[]string{"argosy"}, true}, "not known": {nil, true},
		"a user's": {[]string{"kubectl"}, false}, "both": {[]string{"kubectl", "argosy"}, true},
	} {
		node := cordoned("remove")
		for _, manager := range test.managers {
			node.ManagedFields = append(node.ManagedFields, metav1.ManagedFieldsEntry{
				Manager: manager, FieldsType: "FieldsV1",
				FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:spec":{"f:unschedulable":{}}}`)},
			}, metav1.ManagedFieldsEntry{
				Manager: "kubelet", FieldsType: "FieldsV1",
				FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{"f:labels":{}},"f:spec":{"f:podCIDR":{}}}`)},
			})
		}
		assert.Equal(t, drain.Owns(node, "remove"), test.owns, name)
		assert.Assert(t, !drain.Owns(node, "upgrade"), name)
		node.Spec.Unschedulable = false
		assert.Assert(t, !drain.Owns(node, "remove"), name)
	}
}
