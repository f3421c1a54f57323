package addons_test

import (
	"errors"
	"testing"

	"gotest.tools/v3/assert"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/internal/addons"
	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/errclass"
)

var podLabels = map[string]string{"app": "flannel"}

func daemonSet(wanted, updated, available int32) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-flannel", Name: "kube-flannel", Generation: 2},
		Spec:       appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: podLabels}},
		Status: appsv1.DaemonSetStatus{
			ObservedGeneration: 2, DesiredNumberScheduled: wanted,
			UpdatedNumberScheduled: updated, NumberAvailable: available,
		},
	}
}

func deployment(wanted, updated, available int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-flannel", Name: "coredns", Generation: 2},
		Spec:       appsv1.DeploymentSpec{Replicas: &wanted, Selector: &metav1.LabelSelector{MatchLabels: podLabels}},
		Status: appsv1.DeploymentStatus{
			ObservedGeneration: 2, UpdatedReplicas: updated,
			AvailableReplicas: available,
		},
	}
}

func pod(name, node string, status corev1.PodStatus) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-flannel", Name: name, Labels: podLabels},
		Spec:       corev1.PodSpec{NodeName: node}, Status: status,
	}
}

// alone has a pod take a port of its node.
func alone(pod *corev1.Pod) *corev1.Pod {
	pod.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{HostPort: 8134}}}}
	return pod
}

func node(name string, ready corev1.ConditionStatus) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}},
	}
}

func condition(kind corev1.PodConditionType, status corev1.ConditionStatus, message string) corev1.PodStatus {
	return corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: kind, Status: status, Message: message}}}
}

func waiting(reason, message string) corev1.PodStatus {
	return corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{
		Name: "install", Image: "ghcr.io/flannel-io/flannel:v0",
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
	}}}
}

func TestNotReadyReturnsWorkloadAndCause(t *testing.T) {
	ready := condition(corev1.PodReady, corev1.ConditionTrue, "")
	unscheduled := condition(corev1.PodScheduled, corev1.ConditionFalse, "no free ports")
	changed := daemonSet(1, 1, 1)
	changed.Generation = 3
	crashed := corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
		Name:  "coredns",
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: 1,
			Message:  "no nameservers found",
		}},
	}}}
	tests := []struct {
		name string
		live []runtime.Object
		want addons.State
	}{
		{"a DaemonSet without nodes works", []runtime.Object{daemonSet(0, 0, 0)}, addons.State{}},
		{"all pods are there", []runtime.Object{daemonSet(3, 3, 3), deployment(2, 2, 2)}, addons.State{}},
		{
			"a Deployment without nodes waits for machines",
			[]runtime.Object{deployment(1, 1, 0)},
			addons.State{
				Reason: "flannel: Deployment coredns waits for machines to join", NeedsMachines: true,
			},
		},
		{
			"a change that nobody saw yet",
			[]runtime.Object{changed},
			addons.State{
				Reason: "flannel: DaemonSet kube-flannel was changed just now",
			},
		},
		{
			"an image that can't be pulled",
			[]runtime.Object{
				daemonSet(3, 3, 1), node("m1", "False"), pod("a", "m2", ready),
				pod("b", "m1", waiting("ImagePullBackOff", "not found")),
			},
			addons.State{
				Reason: "flannel: DaemonSet kube-flannel: 1 of 3 pods; pod b on m1: ImagePullBackOff " +
					"ghcr.io/flannel-io/flannel:v0: not found",
			},
		},
		{
			"a pod that can't be scheduled",
			[]runtime.Object{
				deployment(1, 1, 0), node("m1", "True"),
				pod("c", "", condition(corev1.PodScheduled, corev1.ConditionFalse, "0/1 nodes are available")),
			},
			addons.State{
				Reason: "flannel: Deployment coredns: 0 of 1 pods; pod c: it can't be scheduled: 0/1 nodes are " +
					"available",
			},
		},
		{
			"more pods than machines, where one machine has one",
			[]runtime.Object{
				deployment(3, 3, 1), node("m1", "True"), node("m2", "Unknown"),
				alone(pod("a", "m1", ready)), alone(pod("b", "m2",
					condition(corev1.PodReady, corev1.ConditionFalse, ""))), alone(pod("c", "", unscheduled)),
			},
			addons.State{
				Reason: "flannel: Deployment coredns: 1 of 3 pods; each machine has one, and the others wait " +
					"for machines to join", NeedsMachines: true,
			},
		},
		{
			"more pods than machines, one of which has none",
			[]runtime.Object{
				deployment(3, 3, 1), node("m1", "True"), node("m2", "True"), alone(pod("a", "m1", ready)),
				alone(pod("c", "", unscheduled)),
			},
			addons.State{
				Reason: "flannel: Deployment coredns: 1 of 3 pods; pod c: it can't be scheduled: no free ports",
			},
		},
		{
			"pods that share machines and do not fit",
			[]runtime.Object{
				deployment(2, 2, 1), node("m1", "True"),
				pod("a", "m1", ready), pod("c", "", unscheduled),
			},
			addons.State{
				Reason: "flannel: Deployment coredns: 1 of 2 pods; pod c: it can't be scheduled: no free ports",
			},
		},
		{
			"a program that ends",
			[]runtime.Object{deployment(1, 1, 0), node("m1", "True"), pod("c", "m1", crashed)},
			addons.State{
				Reason: "flannel: Deployment coredns: 0 of 1 pods; pod c on m1: container coredns ended with " +
					"exit code 1: no nameservers found",
			},
		},
		{
			"a pod that starts",
			[]runtime.Object{
				daemonSet(1, 1, 0), node("m1", "True"),
				pod("a", "m1", waiting("PodInitializing", "")),
			},
			addons.State{
				Reason: "flannel: DaemonSet kube-flannel: 0 of 1 pods; pod a on m1: it is starting",
			},
		},
		{
			"old pods that still run",
			[]runtime.Object{daemonSet(2, 1, 2), node("m1", "True"), pod("a", "m1", ready)},
			addons.State{
				Reason: "flannel: DaemonSet kube-flannel: 1 of 2 pods",
			},
		},
		{"a node that is away is not the addon's fault", []runtime.Object{
			daemonSet(2, 2, 1), node("m1", "Unknown"),
			pod("a", "m1", condition(corev1.PodReady, corev1.ConditionFalse, "")),
		}, addons.State{}},
		{
			"a node that is away is no excuse for what can run elsewhere",
			[]runtime.Object{
				deployment(1, 1, 0), node("m1", "Unknown"), node("m2", "True"),
				pod("a", "m1", condition(corev1.PodReady, corev1.ConditionFalse, "")),
			},
			addons.State{
				Reason: "flannel: Deployment coredns: 0 of 1 pods; pod a on m1: it is starting",
			},
		},
		{
			"where all nodes are away there is no elsewhere",
			[]runtime.Object{
				deployment(1, 1, 0), node("m1", "Unknown"), node("m2", "Unknown"),
				pod("a", "m1", condition(corev1.PodReady, corev1.ConditionFalse, "")),
			},
			addons.State{
				Reason: "flannel: Deployment coredns waits for machines: all are away", NeedsMachines: true,
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			addon := addons.Addon{Name: "flannel", Objects: objectsOf(t, test.live)}
			state, err := addons.NotReady(t.Context(), fake.NewClientset(test.live...), addon)
			assert.NilError(t, err)
			assert.DeepEqual(t, state, test.want)
		})
	}
}

// objectsOf returns the workloads among the live objects, as an addon has them.
func objectsOf(t *testing.T, live []runtime.Object) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for _, each := range live {
		object, err := apply.From(each)
		assert.NilError(t, err)
		if object.GetKind() == "DaemonSet" || object.GetKind() == "Deployment" {
			objects = append(objects, object)
		}
	}
	return objects
}

func TestMissingWorkloadIsNamed(t *testing.T) {
	addon := addons.Addon{Name: "flannel", Objects: objectsOf(t, []runtime.Object{daemonSet(1, 1, 1)})}
	state, err := addons.NotReady(t.Context(), fake.NewClientset(), addon)
	assert.NilError(t, err)
	assert.DeepEqual(t, state, addons.State{Reason: "flannel: DaemonSet kube-flannel does not exist"})
}

func TestNotReadyClassifiesErrorsOfTheAPIServer(t *testing.T) {
	for _, test := range []struct {
		err   error
		class errclass.Class
	}{
		{apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "daemonsets"}, "kube-flannel",
			errors.New("no")), errclass.Configuration},
		{apierrors.NewInternalError(errors.New("no")), errclass.Transient},
	} {
		client := fake.NewClientset()
		client.PrependReactor("get", "daemonsets", func(clienttesting.Action) (bool, runtime.Object,
			error,
		) {
			return true, nil, test.err
		})
		addon := addons.Addon{Name: "flannel", Objects: objectsOf(t, []runtime.Object{daemonSet(1, 1, 1)})}
		_, err := addons.NotReady(t.Context(), client, addon)
		assert.Equal(t, errclass.ClassOf(err), test.class, "%v", err)
		assert.ErrorContains(t, err, `reading DaemonSet "kube-flannel" of addon "flannel"`)
	}
}
