package drain_test

import (
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ktesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/operation"
)

// attachment of a volume to a node.
func attachment(node, volume string) *storagev1.VolumeAttachment {
	return &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: "csi-" + volume},
		Spec: storagev1.VolumeAttachmentSpec{
			NodeName: node, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume},
		},
	}
}

// claimed is the volume of a claim of the same name.
func claimed(volume string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: volume},
		Spec:       corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Namespace: "default", Name: volume}},
	}
}

func uses(claim string) change {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
		}}}
	}
}

func TestVolumesOfADrainedNodeAreWaitedFor(t *testing.T) {
	for name, test := range map[string]struct {
		objects []runtime.Object
		detach  time.Duration // of volume a; zero for never
		left    []string
		waits   time.Duration
	}{
		"none":           {},
		"another node's": {objects: []runtime.Object{attachment("n2", "a"), claimed("a")}},
		"of a pod that stays": {objects: []runtime.Object{
			attachment("n1", "a"), claimed("a"),
			pod("agent", uses("a")),
		}},
		"detached in time": {
			objects: []runtime.Object{attachment("n1", "a"), claimed("a")},
			detach:  30 * time.Second, waits: 30 * time.Second,
		},
		"never detached": {
			objects: []runtime.Object{attachment("n1", "a"), claimed("a"), attachment("n1", "b")},
			left:    []string{"b", "default/a"}, waits: 2 * time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(test.objects...)
				if test.detach > 0 {
					time.AfterFunc(test.detach, func() {
						attachments := storagev1.SchemeGroupVersion.WithResource("volumeattachments")
						assert.Check(t, c.Tracker().Delete(attachments, "", "csi-a"))
					})
				}
				began := time.Now() // of the test's own clock
				left, err := drain.Drainer{Client: c, Policy: policy()}.AwaitDetached(t.Context(), "n1",
					operation.NoProgress{})
				assert.NilError(t, err)
				assert.DeepEqual(t, left, test.left)
				assert.Equal(t, time.Since(began).Round(time.Minute/2), test.waits)
			})
		})
	}
}

func TestAClusterThatHidesItsAttachmentsIsNotWaitedFor(t *testing.T) {
	c := newCluster(attachment("n1", "a"))
	c.PrependReactor("list", "volumeattachments", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(storagev1.Resource("volumeattachments"), "", nil)
	})
	left, err := drain.Drainer{Client: c, Policy: policy()}.AwaitDetached(t.Context(), "n1", operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, len(left), 0)
}
