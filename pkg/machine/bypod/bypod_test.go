package bypod_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/machine"
	"argosy.dev/argosy/pkg/machine/bypod"
)

var errUnreachable = errclass.With(errclass.Transient, errors.New("connection refused"))

// cluster has one node, whose kubelet runs pods at once.
func cluster(ready corev1.ConditionStatus) (*fake.Clientset, *bypod.Pods) {
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}},
	}})
	made := 0
	client.PrependReactor("create", "pods", func(action ktesting.Action) (bool, runtime.Object, error) {
		pod := action.(ktesting.CreateAction).GetObject().(*corev1.Pod)
		made++
		pod.UID = types.UID(fmt.Sprintf("uid-%d", made))
		pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}}}
		return false, nil, nil
	})
	return client, &bypod.Pods{
		Client: client, Image: "registry.example.com/argosy:v1", PullPolicy: "Always",
		PodSecurity: map[string]any{"fsGroup": 7}, ContainerSecurity: map[string]any{
			"privileged": true,
			"runAsGroup": 8,
		},
	}
}

func by(err error) func(context.Context) (machine.Connection, error) {
	return func(context.Context) (machine.Connection, error) { return nil, err }
}

func podOf(t *testing.T, client *fake.Clientset) *corev1.Pod {
	t.Helper()
	list, err := client.CoreV1().Pods("kube-system").List(t.Context(), metav1.ListOptions{})
	assert.NilError(t, err)
	if len(list.Items) == 0 {
		return nil
	}
	return &list.Items[0]
}

func TestAnUnreachableMachineGetsAPodAndLosesItAfterwards(t *testing.T) {
	client, pods := cluster(corev1.ConditionTrue)
	connect := pods.WithFallback(by(errUnreachable), "n1")
	connection, err := connect(t.Context())
	assert.NilError(t, err)
	assert.Assert(t, connection != nil)
	pod := podOf(t, client)
	assert.Equal(t, pod.Spec.NodeName, "n1")
	assert.Assert(t, pod.Spec.HostPID && pod.Labels[drain.OwnLabel] != "")
	container := pod.Spec.Containers[0]
	assert.Equal(t, container.Image, "registry.example.com/argosy:v1")
	assert.Equal(t, string(container.ImagePullPolicy), "Always")
	assert.Equal(t, *pod.Spec.SecurityContext.FSGroup, int64(7))
	assert.Assert(t, *container.SecurityContext.Privileged)
	assert.Equal(t, *container.SecurityContext.RunAsUser, int64(0), "what the documents leave out stays")
	assert.Equal(t, *container.SecurityContext.RunAsGroup, int64(8))

	_, err = pods.WithFallback(func(context.Context) (machine.Connection, error) {
		t.Error("what did not answer is not asked again")
		return nil, errUnreachable
	}, "n1")(t.Context())
	assert.NilError(t, err)
	assert.NilError(t, pods.Release(t.Context(), "n1"))
	assert.Assert(t, podOf(t, client) == nil)
}

func TestNoPodIsMadeWhereItWouldNotHelp(t *testing.T) {
	refused := errclass.With(errclass.Configuration, errors.New("the host key is another one"))
	for name, test := range map[string]struct {
		ready corev1.ConditionStatus
		err   error
	}{
		"the machine answers":           {corev1.ConditionTrue, nil},
		"the machine may be a stranger": {corev1.ConditionTrue, refused},
		"its kubelet does not run":      {corev1.ConditionUnknown, errUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			client, pods := cluster(test.ready)
			_, err := pods.WithFallback(by(test.err), "n1")(t.Context())
			assert.ErrorIs(t, err, test.err)
			assert.Assert(t, podOf(t, client) == nil)
		})
	}
}

func TestReleaseWithoutPodsDoesNothing(t *testing.T) {
	var pods *bypod.Pods
	assert.NilError(t, pods.Release(t.Context(), "n1"))
}

// rollout is the pods of one rollout in a cluster of fake clients, as one process has them.
func rollout(client *fake.Clientset, owner string) *bypod.Pods {
	return &bypod.Pods{Client: client, Image: "registry.example.com/argosy:v1", Owner: func() string { return owner }}
}

// names lists the pods, each with its image.
func names(t *testing.T, client *fake.Clientset) map[string]string {
	t.Helper()
	list, err := client.CoreV1().Pods("kube-system").List(t.Context(), metav1.ListOptions{})
	assert.NilError(t, err)
	all := map[string]string{}
	for _, pod := range list.Items {
		all[pod.Name] = pod.Spec.Containers[0].Image
	}
	return all
}

func TestEachRolloutHasAndRemovesItsOwnPods(t *testing.T) {
	client, _ := cluster(corev1.ConditionTrue)
	first, second := rollout(client, "workflow-1"), rollout(client, "workflow-2")
	for _, pods := range []*bypod.Pods{first, second} {
		_, err := pods.WithFallback(by(errUnreachable), "n1")(t.Context())
		assert.NilError(t, err)
	}
	assert.Equal(t, len(names(t, client)), 2)
	assert.NilError(t, first.Release(t.Context(), "n1"))
	assert.NilError(t, first.Release(t.Context(), "n1"), "there is none any more")
	assert.Equal(t, len(names(t, client)), 1)
	_, err := second.WithFallback(by(errUnreachable), "n1")(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(creations(client)), 2, "the second's own pod was taken away")
}

func creations(client *fake.Clientset) (all []ktesting.Action) {
	for _, action := range client.Actions() {
		if action.Matches("create", "pods") {
			all = append(all, action)
		}
	}
	return all
}

func TestAnotherRolloutsPodIsNotUsed(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*corev1.Pod)
		refused bool
		created int // once more than the first time
	}{
		"its own, of an earlier process": {change: func(*corev1.Pod) {}},
		"of nobody":                      {refused: true, change: func(p *corev1.Pod) { p.Annotations = nil }},
		"without the label":              {refused: true, change: func(p *corev1.Pod) { p.Labels = nil }},
		"of another rollout": {refused: true, change: func(p *corev1.Pod) {
			p.Annotations["argosy.dev/rollout"] = "w2"
		}},
		"its own, with an image that was wanted before": {created: 1, change: func(p *corev1.Pod) {
			p.Spec.Containers[0].Image = "registry.example.com/argosy:v0"
		}},
		"its own, on another node": {created: 1, change: func(p *corev1.Pod) { p.Spec.NodeName = "n2" }},
		"its own, with another program": {created: 1, change: func(p *corev1.Pod) {
			p.Spec.Containers[0].Command = []string{"sleep"}
		}},
		"its own, which has ended": {created: 1, change: func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }},
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := cluster(corev1.ConditionTrue)
			_, err := rollout(client, "w1").WithFallback(by(errUnreachable), "n1")(t.Context())
			assert.NilError(t, err)
			pod := podOf(t, client)
			test.change(pod)
			_, err = client.CoreV1().Pods("kube-system").Update(t.Context(), pod, metav1.UpdateOptions{})
			assert.NilError(t, err)

			pods := rollout(client, "w1")
			_, err = pods.Connect(t.Context(), "n1")
			assert.Equal(t, len(creations(client)), 1+test.created)
			if !test.refused {
				assert.NilError(t, err)
				return
			}
			assert.ErrorContains(t, err, "is not this rollout's")
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
			assert.NilError(t, pods.Release(t.Context(), "n1"))
			assert.Assert(t, podOf(t, client) != nil, "it was taken away")
		})
	}
}

func TestAPodWhoseImageAWebhookChangesIsUsed(t *testing.T) {
	client, _ := cluster(corev1.ConditionTrue)
	client.PrependReactor("create", "pods", func(action ktesting.Action) (bool, runtime.Object, error) {
		pod := action.(ktesting.CreateAction).GetObject().(*corev1.Pod)
		pod.Spec.Containers[0].Image = "mirror.example.com/argosy:v1"
		return false, nil, nil
	})
	_, err := rollout(client, "w1").Connect(t.Context(), "n1")
	assert.NilError(t, err)
	assert.Equal(t, len(creations(client)), 1)
}

func TestAPodIsRemovedByItsUID(t *testing.T) {
	client, _ := cluster(corev1.ConditionTrue)
	pods := rollout(client, "w1")
	_, err := pods.Connect(t.Context(), "n1")
	assert.NilError(t, err)
	uid := podOf(t, client).UID
	assert.Assert(t, uid != "")
	assert.NilError(t, pods.Release(t.Context(), "n1"))
	for _, action := range client.Actions() {
		if deletion, ok := action.(ktesting.DeleteAction); ok && action.Matches("delete", "pods") {
			assert.Equal(t, *deletion.GetDeleteOptions().Preconditions.UID, uid)
			return
		}
	}
	t.Fatal("it was not removed")
}

func TestTheNameOfAPodIsValidForEveryNode(t *testing.T) {
	client, _ := cluster(corev1.ConditionTrue)
	for _, node := range []string{"n1", strings.Repeat("long.", 50) + "abc", strings.Repeat("long.", 50) + "abd"} {
		_, err := rollout(client, "w1").Connect(t.Context(), node)
		assert.NilError(t, err)
	}
	assert.Equal(t, len(names(t, client)), 3)
	for name := range names(t, client) {
		assert.Equal(t, len(validation.IsDNS1123Subdomain(name)), 0, name)
	}
}
