package backup

import (
	"encoding/json"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/internal/controlplane"
	"argosy.dev/argosy/internal/store"
	"argosy.dev/argosy/pkg/errclass"

	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
)

func TestPodsOfBackupsAndRestores(t *testing.T) {
	for name, vcluster := range map[string]string{
		"sqlite": controlplanetest.SQLite, "etcd": controlplanetest.With(controlplanetest.EtcdSection),
		"external": controlplanetest.With(controlplanetest.ExternalSection),
	} {
		t.Run(name, func(t *testing.T) {
			p := provisioner(controlplanetest.New(t, vcluster))
			for file, task := range map[string]controlplane.Job{
				"backup": dumpJob(p, Options{Keep: 7}, false, store.About{
					Cluster:  "team-a",
					Identity: json.RawMessage(`{}`),
				}),
				"restore": loadJob(p, &controlplane.Restoration{
					Archive:  "team-a-20260301T120000Z.tar.zst",
					Revision: 4711,
				}),
			} {
				job, err := p.RenderJob(task)
				assert.NilError(t, err)
				text, err := yaml.Marshal(job)
				assert.NilError(t, err)
				golden.Assert(t, string(text), file+"-"+name+".yaml")
			}
		})
	}
}

func TestBackupReportsArchiveAndVolume(t *testing.T) {
	p := provisioner(controlplanetest.Provisioned(t, controlplanetest.SQLite))
	assert.NilError(t, p.Host.CoreV1().PersistentVolumeClaims("tenant").Delete(t.Context(), "team-a-backups",
		metav1.DeleteOptions{}))
	made := controlplanetest.RunJobs(t, p.Cluster, func(*batchv1.Job) (string, int32) {
		return `{"archive":"team-a-20260301T120000Z.tar.zst","bytes":44000,"keys":305,"revision":605,"seconds":0.3,"gone":1,"removed":["old"]}`, 0
	})
	backup, err := Create(t.Context(), p, Options{Keep: 3}, func(string) {})
	assert.NilError(t, err)
	assert.Equal(t, backup.String(), "archive team-a-20260301T120000Z.tar.zst in volume team-a-backups: 305 keys, 44 "+
		"kB, revision 605, after 0.3 s; 1 older removed")
	args := strings.Join((*made)[0].Spec.Template.Spec.Containers[0].Args, " ")
	for _, wanted := range []string{
		"--keep=3", "--output=/backups/team-a-20260301T120000Z.tar.zst",
		`"endpoint":"192.0.2.10:443"`, `"podCIDR":"10.64.0.0/16"`,
	} {
		assert.Assert(t, strings.Contains(args, wanted), args)
	}
	claim, err := p.Host.CoreV1().PersistentVolumeClaims("tenant").Get(t.Context(), "team-a-backups",
		metav1.GetOptions{})
	assert.NilError(t, err)
	assert.Equal(t, claim.Spec.Resources.Requests.Storage().String(), DefaultSize)
	affinity := (*made)[0].Spec.Template.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	assert.Equal(t, affinity[0].LabelSelector.MatchLabels[hosted.ComponentLabel], hosted.ControlPlane,
		"the volume with the database is where the control plane is")
}

func TestArchivesHaveTheVersionThatRuns(t *testing.T) {
	for _, documents := range []string{"v1.33.13", "v1.35.8"} {
		cluster := controlplanetest.Provisioned(t, controlplanetest.SQLite)
		p := provisioner(cluster)
		sets := p.Host.AppsV1().StatefulSets("tenant")
		set, err := sets.Get(t.Context(), "team-a-control-plane", metav1.GetOptions{})
		assert.NilError(t, err)
		set.Spec.Template.Spec.Containers = []corev1.Container{{
			Name: hosted.APIServer, Image: "ghcr.io/loft-sh/kubernetes:v1.34.4-full",
		}}
		_, err = sets.Update(t.Context(), set, metav1.UpdateOptions{})
		assert.NilError(t, err)
		p.Cluster.Cluster = controlplanetest.Parse(t,
			controlplanetest.Replace(controlplanetest.SQLite, "v1.34.4", documents), controlplanetest.Fleet)
		made := controlplanetest.RunJobs(t, p.Cluster, func(*batchv1.Job) (string, int32) {
			return `{"archive":"a"}`, 0
		})
		_, err = Create(t.Context(), p, Options{}, func(string) {})
		assert.NilError(t, err)
		args := strings.Join((*made)[0].Spec.Template.Spec.Containers[0].Args, " ")
		assert.Assert(t, strings.Contains(args, `"kubernetes":"v1.34.4"`), args)
	}
}

func TestBackupRefusesDocumentsThatWereNotProvisioned(t *testing.T) {
	p := provisioner(controlplanetest.Provisioned(t, controlplanetest.SQLite))
	p.Cluster.Cluster = controlplanetest.Parse(t, controlplanetest.With("controlPlane:\n  backingStore: {etcd: "+
		"{deploy: {enabled: true}}}"), controlplanetest.Fleet)
	_, err := Create(t.Context(), p, Options{}, func(string) {})
	assert.ErrorContains(t, err, "is etcd, and the cluster was created with sqlite")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
}

func TestBackupRefusesUnreachableStores(t *testing.T) {
	for _, tt := range []struct{ name, vcluster, says string }{
		{"no control plane", controlplanetest.SQLite, "submit workflow provision first"},
		{"no volume", controlplanetest.With("controlPlane:\n  statefulSet: {persistence: {volumeClaim: " +
			"{enabled: false}}}"), "it ends with that pod"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := provisioner(controlplanetest.New(t, tt.vcluster))
			_, err := Create(t.Context(), p, Options{}, func(string) {})
			assert.ErrorContains(t, err, tt.says)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
			claims, err := p.Host.CoreV1().PersistentVolumeClaims("tenant").List(t.Context(), metav1.ListOptions{})
			assert.NilError(t, err)
			assert.Equal(t, len(claims.Items), 0)
		})
	}
}
