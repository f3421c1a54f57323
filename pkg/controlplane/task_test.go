package controlplane

import (
	"encoding/json"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/store"
)

// Documents with the three kinds of stores.
const (
	etcdStored = "controlPlane:\n  backingStore: {etcd: {deploy: {enabled: true, statefulSet: {highAvailability: " +
		"{replicas: 3}}}}}"
	externalStored = "controlPlane:\n  backingStore: {database: {external: {enabled: true, connector: team-a-database}}}"
)

func TestThePodsOfBackupsAndRestores(t *testing.T) {
	for name, vcluster := range map[string]string{
		"sqlite": specified, "etcd": replace(specified, "controlPlane:", etcdStored),
		"external": replace(specified, "controlPlane:", externalStored),
	} {
		t.Run(name, func(t *testing.T) {
			p := provisioner(t, vcluster)
			for file, task := range map[string]task{
				"backup": p.dumpTask(BackupOptions{Keep: 7}, store.About{Cluster: "team-a",
					Identity: json.RawMessage(`{}`)}),
				"restore": p.loadTask(&progress{Archive: "team-a-20260301T120000Z.tar.zst", Revision: 4711}),
			} {
				job, err := p.job(task, p.now())
				assert.NilError(t, err)
				text, err := yaml.Marshal(job)
				assert.NilError(t, err)
				golden.Assert(t, string(text), file+"-"+name+".yaml")
			}
		})
	}
}

func TestAJobSharesWhereAndAsWhomTheControlPlaneRuns(t *testing.T) {
	job, err := provisioner(t, replace(specified, "controlPlane:", custom)).job(task{component: componentBackup,
		store: true}, noon())
	assert.NilError(t, err)
	pod := job.Spec.Template.Spec
	assert.DeepEqual(t, pod.NodeSelector, map[string]string{"pool": "control-planes"})
	assert.Equal(t, pod.Tolerations[0].Key, "dedicated")
	assert.Equal(t, *pod.SecurityContext.FSGroup, int64(1000))
	assert.Equal(t, pod.ImagePullSecrets[0].Name, "registry-login")
	assert.Equal(t, pod.HostAliases[0].IP, "192.0.2.1")
}

// jobs has a fake host cluster run Jobs: each ends at once, with what end says of it.
func jobs(t *testing.T, p *Provisioner, end func(job *batchv1.Job) (message string, code int32)) *[]*batchv1.Job {
	t.Helper()
	client := p.Host.(*fake.Clientset)
	var created []*batchv1.Job
	client.PrependReactor("create", "jobs", func(action clienttesting.Action) (bool, runtime.Object, error) {
		job := action.(clienttesting.CreateAction).GetObject().(*batchv1.Job).DeepCopy()
		created = append(created, job)
		message, code := end(job)
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: job.Name + "-x", Namespace: job.Namespace,
				Labels: map[string]string{batchv1.JobNameLabel: job.Name}},
			Status: corev1.PodStatus{Phase: corev1.PodSucceeded, ContainerStatuses: []corev1.ContainerStatus{
				{Name: taskContainer, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Message: message}}},
			}},
		}
		condition := batchv1.JobCondition{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}
		if code != 0 {
			pod.Status.Phase, condition.Type, condition.Message = corev1.PodFailed, batchv1.JobFailed,
				"Job has reached the specified backoff limit"
		}
		job.Status.Conditions = []batchv1.JobCondition{condition}
		assert.NilError(t, client.Tracker().Add(pod))
		return true, job, client.Tracker().Add(job)
	})
	return &created
}

func TestAnUnfinishedJobOfTheSameTaskIsWaitedForAndAnotherIsRemoved(t *testing.T) {
	p := provisioner(t, specified)
	made := jobs(t, p, func(*batchv1.Job) (string, int32) { return `{"archive":"a"}`, 0 })
	unfinished := func(name, key string) {
		job, err := p.job(task{component: componentBackup, key: key}, noon())
		assert.NilError(t, err)
		job.Name = name
		assert.NilError(t, p.Host.(*fake.Clientset).Tracker().Add(job))
	}
	unfinished("other", "backup keep=3")
	unfinished("same", "backup keep=7")
	job, err := p.startTask(t.Context(), task{component: componentBackup, key: "backup keep=7"})
	assert.NilError(t, err)
	assert.Equal(t, job.Name, "same")
	assert.Equal(t, len(*made), 0)
	_, err = p.Host.BatchV1().Jobs("tenant").Get(t.Context(), "other", metav1.GetOptions{})
	assert.ErrorContains(t, err, "not found")

	job, err = p.startTask(t.Context(), task{component: componentBackup})
	assert.NilError(t, err)
	assert.Equal(t, job.Name, "team-a-backup-20260301-120000", "a task without a key shares no Job")
}

func TestAFailedJobSaysWhatItsProgramSaidLast(t *testing.T) {
	for code, class := range map[int32]errclass.Class{1: errclass.Permanent, 2: errclass.Configuration} {
		p := provisioner(t, specified)
		jobs(t, p, func(*batchv1.Job) (string, int32) { return "", code })
		var result store.Result
		_, err := p.runTask(t.Context(), task{component: componentBackup}, &result, func(string) {})
		// what the fake client has in every log
		assert.ErrorContains(t, err, `running Job "team-a-backup-20260301-120000": fake logs`)
		assert.Equal(t, errclass.ClassOf(err), class)
	}
}

func TestABackupOfARunningClusterNamesWhatItMade(t *testing.T) {
	p := provisioned(t, specified)
	assert.NilError(t, p.Host.CoreV1().PersistentVolumeClaims("tenant").Delete(t.Context(), "team-a-backups",
		metav1.DeleteOptions{}))
	made := jobs(t, p, func(*batchv1.Job) (string, int32) {
		return `{"archive":"team-a-20260301T120000Z.tar.zst","bytes":44000,"keys":305,"revision":605,"seconds":0.3,"gone":1,"removed":["old"]}`, 0
	})
	backup, err := p.Backup(t.Context(), BackupOptions{Keep: 3}, func(string) {})
	assert.NilError(t, err)
	assert.Equal(t, backup.String(), "archive team-a-20260301T120000Z.tar.zst in volume team-a-backups: 305 keys, 44 "+
		"kB, revision 605, after 0.3 s; 1 older removed")
	args := strings.Join((*made)[0].Spec.Template.Spec.Containers[0].Args, " ")
	for _, wanted := range []string{"--keep=3", "--output=/backups/team-a-20260301T120000Z.tar.zst",
		`"endpoint":"192.0.2.10:443"`, `"podCIDR":"10.64.0.0/16"`} {
		assert.Assert(t, strings.Contains(args, wanted), args)
	}
	claim, err := p.Host.CoreV1().PersistentVolumeClaims("tenant").Get(t.Context(), "team-a-backups",
		metav1.GetOptions{})
	assert.NilError(t, err)
	assert.Equal(t, claim.Spec.Resources.Requests.Storage().String(), DefaultBackupSize)
	affinity := (*made)[0].Spec.Template.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	assert.Equal(t, affinity[0].LabelSelector.MatchLabels[componentLabel], componentControlPlane,
		"the volume with the database is where the control plane is")
}

func TestDocumentsThatAreAheadOfTheClusterAreNotBackedUp(t *testing.T) {
	p := provisioned(t, specified)
	p.Cluster = provisioner(t, replace(specified, "controlPlane:",
		"controlPlane:\n  backingStore: {etcd: {deploy: {enabled: true}}}")).Cluster
	_, err := p.Backup(t.Context(), BackupOptions{}, func(string) {})
	assert.ErrorContains(t, err, "is etcd, and the cluster was created with sqlite")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
}

func TestWhatCannotBeBackedUpIsRefused(t *testing.T) {
	for _, tt := range []struct{ name, vcluster, says string }{
		{"no control plane", specified, "submit workflow provision first"},
		{"no volume", replace(specified, "controlPlane:", "controlPlane:\n  statefulSet: {persistence: {volumeClaim: "+
			"{enabled: false}}}"), "it ends with that pod"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := provisioner(t, tt.vcluster)
			_, err := p.Backup(t.Context(), BackupOptions{}, func(string) {})
			assert.ErrorContains(t, err, tt.says)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
			claims, err := p.Host.CoreV1().PersistentVolumeClaims("tenant").List(t.Context(), metav1.ListOptions{})
			assert.NilError(t, err)
			assert.Equal(t, len(claims.Items), 0)
		})
	}
}
