package backup

import (
	"testing"

	"gotest.tools/v3/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/controlplane"
	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
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
