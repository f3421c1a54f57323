package bypod_test

import (
	"context"
	"errors"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/fault"
	"argosy.dev/argosy/pkg/machine"
	"argosy.dev/argosy/pkg/machine/bypod"
)

var errUnreachable = fault.As(fault.Transient, errors.New("connection refused"))

// cluster has one node, whose kubelet runs pods at once.
func cluster(ready corev1.ConditionStatus) (*fake.Clientset, *bypod.Pods) {
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}},
	}})
	client.PrependReactor("create", "pods", func(action ktesting.Action) (bool, runtime.Object, error) {
		pod := action.(ktesting.CreateAction).GetObject().(*corev1.Pod)
		pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}}}
		return false, nil, nil
	})
	return client, &bypod.Pods{
		Client: client, Image: "registry.example.com/argosy:v1", PullPolicy: "Always",
		PodSecurity: map[string]any{"fsGroup": 7}, ContainerSecurity: map[string]any{"privileged": true, "runAsGroup": 8},
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

func TestAMachineThatIsNotReachedGetsAPodAndLosesItAfterwards(t *testing.T) {
	client, pods := cluster(corev1.ConditionTrue)
	connect := pods.InPlaceOf(by(errUnreachable), "n1")
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

	_, err = pods.InPlaceOf(func(context.Context) (machine.Connection, error) {
		t.Error("what did not answer is not asked again")
		return nil, errUnreachable
	}, "n1")(t.Context())
	assert.NilError(t, err)
	assert.NilError(t, pods.Release(t.Context(), "n1"))
	assert.Assert(t, podOf(t, client) == nil)
}

func TestNoPodIsMadeWhereItWouldNotHelp(t *testing.T) {
	refused := fault.As(fault.Configuration, errors.New("the host key is another one"))
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
			_, err := pods.InPlaceOf(by(test.err), "n1")(t.Context())
			assert.ErrorIs(t, err, test.err)
			assert.Assert(t, podOf(t, client) == nil)
		})
	}
}

func TestWhoHasNoPodsHasNoneToRelease(t *testing.T) {
	var pods *bypod.Pods
	assert.NilError(t, pods.Release(t.Context(), "n1"))
}
