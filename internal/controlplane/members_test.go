package controlplane

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/apply/applytest"
	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/internal/store"
	"argosy.dev/argosy/pkg/errclass"
)

// endedMember returns a member that ended with these last words.
func endedMember(p *Provisioner, name, words string) *corev1.Pod {
	pod := member(p, name, "etcd", "", false)
	pod.Status.ContainerStatuses[0].State.Waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}
	pod.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
		ExitCode: 1, Message: words,
	}
	return pod
}

const (
	emptyVolume = `{"level":"fatal","msg":"discovery failed","error":"member 5e1 ` + store.LostMember + `"}`
	brokenDisk  = `{"level":"fatal","msg":"discovery failed","error":"wal: crc mismatch"}`
)

// replacing returns a provisioner of a cluster with three members that end with these words; "" is one that runs.
func replacing(t *testing.T, words ...string) (*Provisioner, *[]*batchv1.Job) {
	t.Helper()
	p := existing(t, controlplanetest.With(controlplanetest.EtcdSection))
	setter, err := apply.New(applytest.New(t).Config())
	assert.NilError(t, err)
	p.Objects = setter
	_, err = p.set(t.Context(), &corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: "tenant"},
	})
	assert.NilError(t, err)
	for i, last := range words {
		name := strings.TrimPrefix(p.etcdClaims()[i], "data-")
		pod := member(p, name, "etcd", "", true)
		if last != "" {
			pod = endedMember(p, name, last)
		}
		controlplanetest.Add(t, p.Cluster, pod)
	}
	jobs := controlplanetest.RunJobs(t, p.Cluster, func(*batchv1.Job) (string, int32) { return "{}", 0 })
	return p, jobs
}

func TestTheMemberWithAnEmptyVolumeIsReplaced(t *testing.T) {
	p, jobs := replacing(t, "", emptyVolume, "")
	assert.NilError(t, p.replaceLostMember(t.Context(), func(string) {}))
	assert.Equal(t, len(*jobs), 1)
	args := (*jobs)[0].Spec.Template.Spec.Containers[0].Args
	for _, arg := range []string{
		"replace-member", "--member=team-a-etcd-1", "--client-url=https://team-a-etcd-1.team-a-etcd.tenant.svc:2379",
		"--peer-url=https://team-a-etcd-1.team-a-etcd.tenant.svc:2380",
		"--endpoint=https://team-a-etcd-1.team-a-etcd.tenant.svc:2379",
	} {
		assert.Assert(t, slices.Contains(args, arg), "%q has no %s", args, arg)
	}
	for _, volume := range (*jobs)[0].Spec.Template.Spec.Volumes {
		assert.Assert(t, volume.PersistentVolumeClaim == nil, "it needs no volume with archives")
	}
	left, err := p.Host.BatchV1().Jobs("tenant").List(t.Context(), metav1.ListOptions{})
	assert.NilError(t, err)
	assert.Equal(t, len(left.Items), 0)
}

func TestOtherMembersAreNotReplaced(t *testing.T) {
	for _, words := range [][]string{{"", "", ""}, {"", brokenDisk, ""}, {"", "", brokenDisk}, nil} {
		p, jobs := replacing(t, words...)
		assert.NilError(t, p.replaceLostMember(t.Context(), func(string) {}))
		assert.Equal(t, len(*jobs), 0)
	}
	p, jobs := replacing(t, emptyVolume, emptyVolume, "")
	err := p.replaceLostMember(t.Context(), func(string) {})
	assert.ErrorContains(t, err, "members team-a-etcd-0, team-a-etcd-1 of etcd come with empty volumes")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	assert.Equal(t, len(*jobs), 0)
}

func TestTheWaitForMembersEndsWhenOneIsLost(t *testing.T) {
	for _, tt := range []struct {
		words string
		want  error
	}{{emptyVolume, errMemberLost}, {brokenDisk, nil}} {
		p, _ := replacing(t, "", tt.words, "")
		three, status := int32(3), appsv1.StatefulSetStatus{ReadyReplicas: 2, UpdatedReplicas: 3, Replicas: 3}
		held := &appsv1.StatefulSet{
			ObjectMeta: controlplanetest.Meta(p.Cluster, p.Names().Etcd(), hosted.Etcd),
			Spec:       appsv1.StatefulSetSpec{Replicas: &three}, Status: status,
		}
		client := p.Host.AppsV1().StatefulSets(p.Namespace)
		_ = client.Delete(t.Context(), held.Name, metav1.DeleteOptions{})
		controlplanetest.Add(t, p.Cluster, held)
		_, err := p.notRolledOut(t.Context(), held, hosted.Etcd)
		assert.ErrorIs(t, err, tt.want)
	}
}

func TestAMemberIsLostByItsLastWords(t *testing.T) {
	const kept = "member team-a-etcd-1 " + store.EmptyMember + " " + store.LostMember
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	ended := func(words string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Message: words}}
	}
	for _, tt := range []struct {
		name                string
		now, before         corev1.ContainerState
		log, logOfTheBefore string
		lost                bool
	}{
		{"it is kept", running, corev1.ContainerState{}, kept, "", true},
		{"it waits to be kept again", waiting, ended("starting\n" + kept + "\n"), "", "", true},
		{"it was ended while it was kept", ended(kept), corev1.ContainerState{}, "", "", true},
		{"it starts after it was kept", running, ended(kept), "starting", kept, false},
		{"it ends after it was kept", waiting, ended(kept + "\n" + brokenDisk), brokenDisk, "", false},
		{"etcd refuses it", waiting, ended(emptyVolume), "", "", true},
		{"etcd refuses it again and again", running, ended(emptyVolume), "starting", "", true},
		{"etcd refuses it without a message", waiting, ended(""), emptyVolume, "", true},
		{"its disk is broken", waiting, ended(brokenDisk), brokenDisk, "", false},
		{"it starts", running, corev1.ContainerState{}, "starting", "", false},
		{"it is created", waiting, corev1.ContainerState{}, "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status := corev1.ContainerStatus{State: tt.now, LastTerminationState: tt.before}
			assert.Equal(t, lost(status, func(current bool) string {
				if current {
					return tt.log
				}
				return tt.logOfTheBefore
			}), tt.lost)
		})
	}
}

func TestOneMemberIsNeverKept(t *testing.T) {
	p := provisioner(t, controlplanetest.With("controlPlane:\n  backingStore: {etcd: {deploy: {enabled: true, "+
		"statefulSet: {highAvailability: {replicas: 1}}}}}"))
	set, err := p.etcd("digest", keptOfEtcd{})
	assert.NilError(t, err)
	pod := set.Spec.Template.Spec
	assert.DeepEqual(t, pod.Containers[0].Command, []string{"/kubernetes/etcd"})
	assert.Equal(t, len(pod.InitContainers), 0)
}

func TestAnImageOfEtcdIsStartedByArgosysProgramToo(t *testing.T) {
	p := provisioner(t, controlplanetest.With("controlPlane:\n  backingStore: {etcd: {deploy: {enabled: true, "+
		"statefulSet: {image: {repository: etcd, tag: 3.6.16-0}, highAvailability: {replicas: 3}}}}}"))
	set, err := p.etcd("digest", keptOfEtcd{})
	assert.NilError(t, err)
	assert.DeepEqual(t, set.Spec.Template.Spec.Containers[0].Command,
		[]string{"/argosy/executor-plugin", "store", "run-member", "--", "etcd"})
}

func TestMembersReadFromAConfigMapWhetherTheyFoundACluster(t *testing.T) {
	p := provisioner(t, controlplanetest.With(controlplanetest.EtcdSection))
	state, err := p.clusterState(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, state, store.MemberFounds)
	for _, wanted := range []string{store.MemberFounds, store.MemberJoins} {
		held := p.etcdConfig(wanted)
		held.Namespace = "tenant"
		controlplanetest.Add(t, p.Cluster, held)
		state, err = p.clusterState(t.Context())
		assert.NilError(t, err)
		assert.Equal(t, state, wanted)
		assert.NilError(t, p.Host.CoreV1().ConfigMaps("tenant").Delete(t.Context(), held.Name, metav1.DeleteOptions{}))
	}
}

func TestEtcdOutOfSpaceIsMendedAndOtherErrorsAreNot(t *testing.T) {
	full := apierrors.NewInternalError(errors.New("etcdserver: mvcc: database space exceeded"))
	for _, tt := range []struct {
		name, section string
		refuse        error
		jobs          int
	}{
		{"it takes writes", controlplanetest.EtcdSection, nil, 0},
		{"it is full", controlplanetest.EtcdSection, full, 1},
		{"a webhook refuses", controlplanetest.EtcdSection, apierrors.NewInternalError(errors.New("webhook")), 0},
		{"another store", "controlPlane:", full, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := provisioner(t, controlplanetest.With(tt.section))
			cluster, refuse := fake.NewClientset(), tt.refuse
			cluster.PrependReactor("create", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
				return refuse != nil, nil, refuse
			})
			jobs := controlplanetest.RunJobs(t, p.Cluster, func(*batchv1.Job) (string, int32) {
				refuse = nil
				return `{"mended":true}`, 0
			})
			assert.NilError(t, p.mendSpace(t.Context(), cluster, func(string) {}))
			assert.Equal(t, len(*jobs), tt.jobs)
			left, err := cluster.CoreV1().ConfigMaps(metav1.NamespaceSystem).List(t.Context(), metav1.ListOptions{})
			assert.NilError(t, err)
			assert.Equal(t, len(left.Items), 0, "nothing is left behind")
		})
	}
}
