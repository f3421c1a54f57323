package controlplane

import (
	"testing"

	"gotest.tools/v3/assert"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/errclass"
)

func TestIncompleteStoreIsUsedByItsRestoreOnly(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	_, _, err := p.ensureKeys(t.Context())
	assert.NilError(t, err)
	state := &Restoration{Archive: "team-a-20260301T120000Z.tar.zst"}
	assert.NilError(t, p.NoteRestoration(t.Context(), state))
	_, _, err = p.ensureKeys(t.Context())
	assert.ErrorContains(t, err, "submit workflow restore again")
	restores := *p
	restores.restores = true
	_, _, err = restores.ensureKeys(t.Context())
	assert.NilError(t, err)

	state.Loaded = true
	assert.NilError(t, p.NoteRestoration(t.Context(), state))
	_, _, err = p.ensureKeys(t.Context())
	assert.NilError(t, err, "with a complete store, provisioning finishes it as well")

	assert.NilError(t, p.NoteRestoration(t.Context(), nil))
	held, err := p.Host.CoreV1().Secrets("tenant").Get(t.Context(), "team-a-pki", metav1.GetOptions{})
	assert.NilError(t, err)
	assert.Assert(t, RestorationOf(held) == nil)
}

func TestKeysAreNotMadeBesideAnEarlierState(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	controlplanetest.Add(t, p.Cluster, &corev1.PersistentVolumeClaim{
		ObjectMeta: controlplanetest.Meta(p.Cluster, "team-a-data", hosted.ControlPlane),
	})
	_, _, err := p.ensureKeys(t.Context())
	assert.ErrorContains(t, err, "submit restore to have that cluster again, or delete the claim")
}

func TestKeysAreNotMadeForAnExistingControlPlane(t *testing.T) {
	for _, name := range []string{"team-a-control-plane", "team-a-etcd"} {
		p := allowed(provisioner(t, controlplanetest.SQLite))
		controlplanetest.Add(t, p.Cluster, &appsv1.StatefulSet{ObjectMeta: controlplanetest.Meta(p.Cluster, name,
			hosted.ControlPlane)})
		_, _, provisioned := p.ensureKeys(t.Context())
		_, validated := p.Validate(t.Context(), func(string) {})
		for _, err := range []error{provisioned, validated} {
			assert.ErrorContains(t, err, "(StatefulSet \""+name+"\") whose keys are gone")
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		}
	}
}
