package controlplane

import (
	"testing"
	"time"

	"gotest.tools/v3/assert"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/internal/pki"
	"argosy.dev/argosy/pkg/config"

	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
)

func since(ago time.Duration) corev1.ContainerState {
	started := metav1.NewTime(controlplanetest.Noon().Add(-ago))
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}}
}

func TestContainersThatDoNotRunAreNamed(t *testing.T) {
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}}
	backOff := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
		Reason:  "CrashLoopBackOff",
		Message: "back-off 5m0s restarting",
	}}
	for _, tt := range []struct {
		name   string
		status corev1.ContainerStatus
		says   string
	}{
		{"runs", corev1.ContainerStatus{State: since(time.Second)}, ""},
		{
			"crashes again and again",
			corev1.ContainerStatus{State: backOff, LastTerminationState: ended},
			"container kube-scheduler ended with exit code 1: fake logs",
		},
		{"is between two crashes", corev1.ContainerStatus{
			Ready: true, State: since(time.Second),
			LastTerminationState: ended,
		}, "container kube-scheduler ended with exit code 1 and was started again: " +
			"fake logs"},
		{
			"crashed once",
			corev1.ContainerStatus{Ready: true, State: since(time.Minute), LastTerminationState: ended},
			"",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := provisioner(t, controlplanetest.SQLite)
			tt.status.Name = "kube-scheduler"
			always := corev1.ContainerRestartPolicyAlways
			controlplanetest.Add(t, p.Cluster, &corev1.Pod{
				ObjectMeta: controlplanetest.Meta(p.Cluster, "team-a-control-plane-0", hosted.ControlPlane),
				Spec: corev1.PodSpec{InitContainers: []corev1.Container{
					{Name: "program"},
					{Name: "kine", RestartPolicy: &always},
				}},
				Status: corev1.PodStatus{
					Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
					InitContainerStatuses: []corev1.ContainerStatus{
						{
							Name:  "program",
							State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}},
						},
						{Name: "kine", State: since(time.Second)},
					},
					ContainerStatuses: []corev1.ContainerStatus{tt.status},
				},
			})
			why, err := p.notRunning(t.Context(), "team-a-control-plane", hosted.ControlPlane)
			assert.NilError(t, err)
			if tt.says != "" {
				tt.says = "pod team-a-control-plane-0: " + tt.says
			}
			assert.Equal(t, why, tt.says)
		})
	}
}

func TestPodOfARestoreJobDoesNotCount(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	pod := &corev1.Pod{ObjectMeta: controlplanetest.Meta(p.Cluster, "team-a-restore-x", hosted.ControlPlane)}
	pod.Labels[batchv1.JobNameLabel] = "team-a-restore"
	controlplanetest.Add(t, p.Cluster, pod)
	why, err := p.notRunning(t.Context(), "team-a-control-plane", hosted.ControlPlane)
	assert.NilError(t, err)
	assert.Equal(t, why, "StatefulSet team-a-control-plane: no pod yet")
}

func TestComponentWithoutALeaderDoesNotWork(t *testing.T) {
	lease := func(renewed time.Time) []runtime.Object {
		duration, at := int32(15), metav1.NewMicroTime(renewed)
		return []runtime.Object{&coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "kube-system",
				Name:      "kube-scheduler",
			},
			Spec: coordinationv1.LeaseSpec{RenewTime: &at, LeaseDurationSeconds: &duration},
		}}
	}
	for _, tt := range []struct {
		name    string
		objects []runtime.Object
		args    []string
		says    string
	}{
		{"leads", lease(controlplanetest.Noon().Add(-2 * time.Second)), nil, ""},
		{"leads by a clock that is ahead", lease(controlplanetest.Noon().Add(20 * time.Second)), nil, ""},
		{"leads by a clock that is behind", lease(controlplanetest.Noon().Add(-40 * time.Second)), nil, ""},
		{"has not begun", nil, nil, "kube-scheduler has not begun to work"},
		{
			"stopped", lease(controlplanetest.Noon().Add(-time.Minute)), nil,
			"kube-scheduler has not worked since 2026-03-01T11:59:00Z",
		},
		{"elects nobody", nil, []string{"--leader-elect=false"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			why, err := provisioner(t, controlplanetest.SQLite).notLeading(t.Context(),
				fake.NewClientset(tt.objects...),
				"kube-scheduler", config.Component{ExtraArgs: tt.args})
			assert.NilError(t, err)
			assert.Equal(t, why, tt.says)
		})
	}
}

func TestEarliestCertificateOfAllSecretsCounts(t *testing.T) {
	for _, file := range []string{"apiserver.crt", "scheduler.conf", "value", "peer.crt"} {
		p := provisioner(t, controlplanetest.With(controlplanetest.EtcdSection))
		k, err := certificates.NewKeys(controlplanetest.Noon())
		assert.NilError(t, err)
		for secret, files := range map[string][]string{
			"team-a-certs":      {"apiserver.crt", "scheduler.conf"},
			"team-a-kubeconfig": {"value", "bundles"}, "team-a-etcd-certs": {"peer.crt", "peer.key"},
		} {
			data := map[string][]byte{}
			for _, name := range files {
				leaf := certificates.ClientLeaf("a")
				if leaf.Life = 48 * time.Hour; name == file {
					leaf.Life = 24 * time.Hour
				}
				data[name] = certificateFile(t, k, name, leaf)
			}
			controlplanetest.PutSecret(t, p.Cluster, secret, data)
		}
		ends, err := p.certificatesEnd(t.Context())
		assert.NilError(t, err)
		assert.Equal(t, ends, controlplanetest.Noon().Add(24*time.Hour), file)
	}
}

// certificateFile is a file of a Secret with a certificate in it, if it is one that holds any.
func certificateFile(t *testing.T, k *certificates.Keys, name string, leaf pki.Leaf) []byte {
	t.Helper()
	pair, err := k.Cluster.Issue(leaf, controlplanetest.Noon())
	assert.NilError(t, err)
	switch name {
	case "scheduler.conf", "value":
		text, err := certificates.WriteKubeconfig("team-a", "https://192.0.2.10:443", "a", k.Cluster.Cert, pair)
		assert.NilError(t, err)
		return text
	case "peer.key", "bundles":
		return []byte("no certificate")
	}
	return pair.Cert
}
