package backup

import (
	"slices"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/controlplane"
	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/encryption"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/internal/store"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// provisioner returns a provisioner for cluster.
func provisioner(cluster hosted.Cluster) *controlplane.Provisioner {
	return &controlplane.Provisioner{Cluster: cluster, Image: "ghcr.io/argosy-dev/executor-plugin:v0.1.0"}
}

func TestArchiveVolumeHasTheClassOfTheStore(t *testing.T) {
	const (
		ownClass  = "controlPlane:\n  statefulSet: {persistence: {volumeClaim: {storageClass: fast}}}"
		etcdClass = "\n  backingStore: {etcd: {deploy: {enabled: true, statefulSet: {persistence: {volumeClaim: " +
			"{storageClass: safe}}}}}}"
	)
	for name, test := range map[string]struct{ section, class string }{
		"SQLite": {ownClass, "fast"}, "etcd": {ownClass + etcdClass, "safe"}, "nothing said": {"controlPlane:", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := provisioner(controlplanetest.New(t, controlplanetest.With(test.section)))
			assert.NilError(t, ensureVolume(t.Context(), p.Cluster, ""))
			claim, err := p.Host.CoreV1().PersistentVolumeClaims("tenant").Get(t.Context(), "team-a-backups",
				metav1.GetOptions{})
			assert.NilError(t, err)
			if test.class == "" {
				assert.Assert(t, claim.Spec.StorageClassName == nil)
				return
			}
			assert.Equal(t, *claim.Spec.StorageClassName, test.class)
		})
	}
}

func TestNoArchiveHoldsTheKeysOfAnEncryptedStoreInClear(t *testing.T) {
	p := provisioner(controlplanetest.New(t, controlplanetest.SQLite))
	pki := &corev1.Secret{Data: map[string][]byte{"ca.key": []byte("a")}}
	assert.NilError(t, checkRecipients(p.Cluster, pki))
	pki.Data[encryption.File] = []byte("kind: EncryptionConfiguration")
	err := checkRecipients(p.Cluster, pki)
	assert.ErrorContains(t, err, "controlPlane.archives.recipients")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)

	p.Fleet.ControlPlane.Archives = config.Archives{
		Recipients: []string{"age1a", "age1b"}, IdentitySecret: "team-a-archives",
	}
	assert.NilError(t, checkRecipients(p.Cluster, pki))
	job := dumpJob(p, Options{}, false, store.About{})
	assert.Assert(t, slices.Contains(job.Args, "--recipient=age1a") && slices.Contains(job.Args, "--recipient=age1b"))
	assert.Assert(t, slices.Contains(job.Args, "--output=/backups/team-a-20260301T120000Z.tar.zst.age"), "%q", job.Args)
}

// Only a restore's pods get the identity that opens archives.
func TestOnlyARestoreGetsTheIdentityOfArchives(t *testing.T) {
	p := provisioner(controlplanetest.New(t, controlplanetest.SQLite))
	p.Fleet.ControlPlane.Archives.IdentitySecret = "team-a-archives"
	for _, job := range []controlplane.Job{
		dumpJob(p, Options{}, false, store.About{}), loadJob(p, &controlplane.Restoration{}),
	} {
		made, err := p.RenderJob(job)
		assert.NilError(t, err)
		has := slices.ContainsFunc(made.Spec.Template.Spec.Volumes, func(volume corev1.Volume) bool {
			return volume.Secret != nil && volume.Secret.SecretName == "team-a-archives"
		})
		assert.Equal(t, has, job.Component == hosted.Restore)
		containers := made.Spec.Template.Spec.Containers
		assert.Equal(t, has, slices.Contains(containers[0].Args, "--identity=/etc/argosy/identity/identity"))
	}
}
