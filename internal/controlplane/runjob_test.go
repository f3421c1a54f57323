package controlplane

import (
	"testing"

	"gotest.tools/v3/assert"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/internal/store"
	"argosy.dev/argosy/pkg/errclass"
)

func TestJobHasSchedulingAndUserOfTheControlPlane(t *testing.T) {
	job, err := provisioner(t, controlplanetest.With(controlplanetest.CustomSection)).RenderJob(
		Job{Component: hosted.Backup, Store: true})
	assert.NilError(t, err)
	pod := job.Spec.Template.Spec
	assert.DeepEqual(t, pod.NodeSelector, map[string]string{"pool": "control-planes"})
	assert.Equal(t, pod.Tolerations[0].Key, "dedicated")
	assert.Equal(t, *pod.SecurityContext.FSGroup, int64(1000))
	assert.Equal(t, pod.ImagePullSecrets[0].Name, "registry-login")
	assert.Equal(t, pod.HostAliases[0].IP, "192.0.2.1")
}

func TestUnfinishedJobOfTheSameKeyIsReused(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	made := controlplanetest.RunJobs(t, p.Cluster, func(*batchv1.Job) (string, int32) { return `{"archive":"a"}`, 0 })
	unfinished := func(name, key string) {
		job, err := p.RenderJob(Job{Component: hosted.Backup, Key: key})
		assert.NilError(t, err)
		job.Name = name
		assert.NilError(t, p.Host.(*fake.Clientset).Tracker().Add(job))
	}
	unfinished("other", "backup keep=3")
	unfinished("same", "backup keep=7")
	job, err := p.startJob(t.Context(), Job{Component: hosted.Backup, Key: "backup keep=7"})
	assert.NilError(t, err)
	assert.Equal(t, job.Name, "same")
	assert.Equal(t, len(*made), 0)
	_, err = p.Host.BatchV1().Jobs("tenant").Get(t.Context(), "other", metav1.GetOptions{})
	assert.ErrorContains(t, err, "not found")

	job, err = p.startJob(t.Context(), Job{Component: hosted.Backup})
	assert.NilError(t, err)
	assert.Equal(t, job.Name, "team-a-backup-20260301-120000", "a Job without a key is shared by none")
}

func TestFailedJobReportsItsLastLogLine(t *testing.T) {
	for code, class := range map[int32]errclass.Class{1: errclass.Permanent, 2: errclass.Configuration} {
		p := provisioner(t, controlplanetest.SQLite)
		controlplanetest.RunJobs(t, p.Cluster, func(*batchv1.Job) (string, int32) { return "", code })
		var result store.Result
		_, err := p.RunJob(t.Context(), Job{Component: hosted.Backup}, &result, func(string) {})
		// the fake client has this text in every log
		assert.ErrorContains(t, err, `running Job "team-a-backup-20260301-120000": fake logs`)
		assert.Equal(t, errclass.ClassOf(err), class)
	}
}
