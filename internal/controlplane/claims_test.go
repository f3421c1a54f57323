package controlplane

import (
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/errclass"
)

const fast = "fast"

// addClaim adds a volume of the store: 10Gi of class fast, for one pod at a time.
func addClaim(t *testing.T, p *Provisioner, name string) {
	t.Helper()
	class := fast
	controlplanetest.Add(t, p.Cluster, &corev1.PersistentVolumeClaim{
		ObjectMeta: controlplanetest.Meta(p.Cluster, name, hosted.ControlPlane),
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceStorage: resource.MustParse("10Gi"),
			}},
		},
	})
}

// sized returns documents whose store has volumes with these settings.
func sized(store, claim string) string {
	persistence := "persistence: {volumeClaim: {" + claim + "}}"
	if store == "sqlite" {
		return controlplanetest.With("controlPlane:\n  statefulSet: {" + persistence + "}")
	}
	return controlplanetest.With("controlPlane:\n  backingStore: {etcd: {deploy: {enabled: true, statefulSet: " +
		"{highAvailability: {replicas: 3}, " + persistence + "}}}}")
}

// recorded collects the patches of claims; answer is their error.
func recorded(p *Provisioner, answer error) *[]clienttesting.PatchActionImpl {
	var patches []clienttesting.PatchActionImpl
	p.Host.(*fake.Clientset).PrependReactor("patch", "persistentvolumeclaims",
		func(action clienttesting.Action) (bool, runtime.Object, error) {
			patch := action.(clienttesting.PatchActionImpl)
			patches = append(patches, patch)
			return answer != nil || len(patch.PatchOptions.DryRun) > 0, &corev1.PersistentVolumeClaim{}, answer
		})
	return &patches
}

func TestChangesThatVolumesCannotFollowAreRefused(t *testing.T) {
	names := map[string][]string{
		"sqlite": {"team-a-data"},
		"etcd":   {"data-team-a-etcd-0", "data-team-a-etcd-1", "data-team-a-etcd-2"},
	}
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "persistentvolumeclaims"}, "data",
		errclass.Errorf(errclass.Permanent, "the storageclass must support resize"))
	for _, tt := range []struct {
		name, claim string
		resize      error
		says        string
	}{
		{"nothing changes", "size: 10Gi, storageClass: fast", nil, ""},
		{"the default class is not named", "size: 10Gi", nil, ""},
		{"the same size in other words", "size: 10240Mi", nil, ""},
		{"growth", "size: 20Gi", nil, ""},
		{
			"growth that the class does not have", "size: 20Gi", forbidden,
			"set allowVolumeExpansion in the StorageClass",
		},
		{"a smaller size", "size: 5Gi", nil, "a volume does not shrink; write 10Gi or more"},
		{"the default size", "storageClass: fast", nil, "a volume does not shrink; write 10Gi or more"},
		{"another class", "size: 10Gi, storageClass: slow", nil, "a volume stays in its class"},
		{
			"other access modes", "size: 10Gi, accessModes: [ReadWriteOnce, ReadWriteMany]", nil,
			"a volume keeps them",
		},
		{"no volume any more", "enabled: false", nil, "begin empty"},
	} {
		for store, claims := range names {
			if store == "sqlite" && tt.name == "other access modes" {
				continue // all but one are refused in the document
			}
			t.Run(tt.name+", "+store, func(t *testing.T) {
				p := allowed(existing(t, sized(store, "size: 10Gi, storageClass: fast")))
				for _, name := range claims {
					addClaim(t, p, name)
				}
				patches := recorded(p, tt.resize)
				if store == "etcd" && tt.claim == "enabled: false" {
					p.VCluster.ControlPlane.BackingStore.Etcd.Deploy.StatefulSet.Persistence.VolumeClaim.Enabled = false
				} else {
					changeDocuments(t, p, sized(store, tt.claim))
				}
				_, validated := p.Validate(t.Context(), func(string) {})
				_, _, provisioned := p.ensureKeys(t.Context())
				for _, err := range []error{validated, provisioned} {
					if tt.says == "" {
						assert.NilError(t, err)
						continue
					}
					assert.ErrorContains(t, err, tt.says)
					assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
				}
				for _, patch := range *patches {
					assert.DeepEqual(t, patch.PatchOptions.DryRun, []string{metav1.DryRunAll})
				}
			})
		}
	}
}

func TestVolumesOfMembersGrowAndTheirTemplateStays(t *testing.T) {
	p := existing(t, sized("etcd", "size: 10Gi, storageClass: fast"))
	held, err := p.existingSets(t.Context())
	assert.NilError(t, err)
	for i, name := range []string{"data-team-a-etcd-0", "data-team-a-etcd-1"} { // the third is not there yet
		assert.Equal(t, p.etcdClaims()[i], name)
		addClaim(t, p, name)
	}
	changeDocuments(t, p, sized("etcd", "size: 20Gi"))
	changes, err := p.growMembers(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(changes), 2)
	for _, name := range p.etcdClaims()[:2] {
		claim, err := p.Host.CoreV1().PersistentVolumeClaims("tenant").Get(t.Context(), name, metav1.GetOptions{})
		assert.NilError(t, err)
		size := claim.Spec.Resources.Requests[corev1.ResourceStorage]
		assert.Equal(t, size.String(), "20Gi")
	}
	changes, err = p.growMembers(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(changes), 0, "a second run changes nothing")

	kept, err := p.keptOf(t.Context(), held.etcd)
	assert.NilError(t, err)
	set, err := p.etcd("digest", kept)
	assert.NilError(t, err)
	assert.DeepEqual(t, set.Spec.VolumeClaimTemplates, held.etcd.Spec.VolumeClaimTemplates)
}

func TestAClassThatArgosyGaveIsToldFromTheDefault(t *testing.T) {
	for fields, given := range map[string]bool{
		`{"f:spec":{"f:storageClassName":{}}}`: true,
		`{"f:spec":{"f:resources":{}}}`:        false,
	} {
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{
			{Manager: "kube-apiserver", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:storageClassName":{}}`)}},
			{Manager: "argosy", FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)}},
		}}}
		assert.Equal(t, setClass(claim), given)
	}
}

func TestPodsKeepTheOrderInWhichTheyStart(t *testing.T) {
	p := allowed(existing(t, controlplanetest.SQLite))
	p.VCluster.ControlPlane.StatefulSet.Scheduling.PodManagementPolicy = "OrderedReady"
	_, err := p.Validate(t.Context(), func(string) {})
	assert.ErrorContains(t, err, "controlPlane.statefulSet.scheduling.podManagementPolicy: is OrderedReady, and "+
		"StatefulSet team-a-control-plane was made with Parallel")
}
