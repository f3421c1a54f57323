package controlplane

import (
	"testing"

	"gotest.tools/v3/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTheVolumeWithArchivesIsOfTheClassOfTheStoreInUse(t *testing.T) {
	const (
		ownClass  = "controlPlane:\n  statefulSet: {persistence: {volumeClaim: {storageClass: fast}}}"
		etcdClass = "\n  backingStore: {etcd: {deploy: {enabled: true, statefulSet: {persistence: {volumeClaim: " +
			"{storageClass: safe}}}}}}"
	)
	for name, test := range map[string]struct{ section, class string }{
		"SQLite": {ownClass, "fast"}, "etcd": {ownClass + etcdClass, "safe"}, "nothing said": {"controlPlane:", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := provisioner(t, replace(specified, "controlPlane:", test.section))
			assert.NilError(t, p.ensureBackups(t.Context(), ""))
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
