package controlplane

import (
	"testing"

	"gotest.tools/v3/assert"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"argosy.dev/argosy/pkg/errclass"

	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
)

func TestClusterDoesNotBeginOverForeignObjects(t *testing.T) {
	foreign := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{
			Name: name, Namespace: "tenant",
			Labels: map[string]string{hosted.ClusterLabel: "team-a"},
		}
	}
	own := controlplanetest.New(t, controlplanetest.SQLite)
	etcd := controlplanetest.With(controlplanetest.EtcdSection)
	for _, tt := range []struct {
		vcluster string
		object   runtime.Object
		says     string
	}{
		{controlplanetest.SQLite, &corev1.Secret{ObjectMeta: foreign("team-a-kubeconfig")}, "Secret team-a-kubeconfig"},
		{
			controlplanetest.SQLite, &corev1.ConfigMap{ObjectMeta: foreign("team-a-control-plane")},
			"ConfigMap team-a-control-plane",
		},
		{controlplanetest.SQLite, &corev1.Service{ObjectMeta: foreign("team-a")}, "Service team-a"},
		{
			controlplanetest.SQLite, &corev1.PersistentVolumeClaim{ObjectMeta: foreign("team-a-data")},
			"PersistentVolumeClaim team-a-data",
		},
		{
			controlplanetest.SQLite, &appsv1.StatefulSet{ObjectMeta: foreign("team-a-control-plane")},
			"StatefulSet team-a-control-plane",
		},
		{
			controlplanetest.SQLite, &policyv1.PodDisruptionBudget{ObjectMeta: foreign("team-a-control-plane")},
			"PodDisruptionBudget team-a-control-plane",
		},
		{
			etcd, &corev1.PersistentVolumeClaim{ObjectMeta: foreign("data-team-a-etcd-2")},
			"PersistentVolumeClaim data-team-a-etcd-2",
		},
		{etcd, &corev1.Secret{ObjectMeta: foreign("team-a-etcd-certs")}, "Secret team-a-etcd-certs"},
		{controlplanetest.SQLite, &corev1.Secret{ObjectMeta: foreign("team-a-etcd-certs")}, ""},
		{controlplanetest.SQLite, &corev1.ConfigMap{ObjectMeta: foreign("team-a")}, ""},
		{controlplanetest.SQLite, &corev1.PersistentVolumeClaim{ObjectMeta: foreign("team-a-backups")}, ""},
		{
			controlplanetest.SQLite, &corev1.Secret{ObjectMeta: controlplanetest.Meta(own, "team-a-certs",
				hosted.ControlPlane)},
			"",
		},
	} {
		p := allowed(provisioner(t, tt.vcluster, tt.object))
		_, validated := p.Validate(t.Context(), func(string) {})
		restored := p.CheckRoom(t.Context())
		_, _, provisioned := p.ensureKeys(t.Context())
		for _, err := range []error{validated, restored, provisioned} {
			if tt.says == "" {
				assert.NilError(t, err)
				continue
			}
			assert.ErrorContains(t, err, tt.says+": Argosy did not make them")
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		}
	}
}
