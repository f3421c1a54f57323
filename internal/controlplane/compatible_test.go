package controlplane

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"

	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
)

// existing returns a provisioner of a cluster whose control plane exists as in vcluster.yaml.
func existing(t *testing.T, vcluster string) *Provisioner {
	t.Helper()
	p := provisioner(t, vcluster)
	_, _, err := p.ensureKeys(t.Context())
	assert.NilError(t, err)
	set, err := p.controlPlane("digest")
	assert.NilError(t, err)
	controlplanetest.Add(t, p.Cluster, set)
	if p.Cluster.Store().Kind == config.StoreEtcd {
		etcd, err := p.etcd("digest", keptOfEtcd{})
		assert.NilError(t, err)
		controlplanetest.Add(t, p.Cluster, etcd)
	}
	return p
}

// changeDocuments replaces the vcluster.yaml of a cluster.
func changeDocuments(t *testing.T, p *Provisioner, vcluster string) {
	t.Helper()
	p.Cluster.Cluster = controlplanetest.Parse(t, vcluster, controlplanetest.Fleet)
}

const (
	inPod     = "controlPlane:\n  statefulSet: {persistence: {volumeClaim: {enabled: false}}}"
	oneMember = "controlPlane:\n  backingStore: {etcd: {deploy: {enabled: true}}}"
)

func TestHarmfulChangesOfAClusterAreRefused(t *testing.T) {
	with := func(section string) string { return controlplanetest.With(section) }
	for _, tt := range []struct{ name, was, is, says string }{
		{"nothing changes, SQLite", controlplanetest.SQLite, controlplanetest.SQLite, ""},
		{"nothing changes, etcd", with(controlplanetest.EtcdSection), with(controlplanetest.EtcdSection), ""},
		{
			"nothing changes, external", with(controlplanetest.ExternalSection), with(controlplanetest.ExternalSection),
			"",
		},
		{
			"more members", with(oneMember), with(controlplanetest.EtcdSection),
			"is 3, and the cluster's etcd was founded with 1",
		},
		{
			"fewer members", with(controlplanetest.EtcdSection), with(oneMember),
			"is 1, and the cluster's etcd was founded with 3",
		},
		{
			"from a claim into the pod", controlplanetest.SQLite, with(inPod),
			"the cluster's state is on PersistentVolumeClaim team-a-data",
		},
		{"from the pod onto a claim", with(inPod), controlplanetest.SQLite, "the cluster's state is in its pod alone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := allowed(existing(t, tt.was))
			if strings.Contains(tt.was, "external") {
				controlplanetest.PutSecret(t, p.Cluster, "team-a-database",
					map[string][]byte{dataSourceKey: []byte("postgres://u:p@db:5432/a")})
			}
			changeDocuments(t, p, tt.is)
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
		})
	}
}

func TestEtcdScaledToZeroKeepsItsMembers(t *testing.T) {
	p := existing(t, controlplanetest.With(controlplanetest.EtcdSection))
	none := int32(0)
	held, err := p.Host.AppsV1().StatefulSets("tenant").Get(t.Context(), "team-a-etcd", metav1.GetOptions{})
	assert.NilError(t, err)
	held.Spec.Replicas = &none
	assert.Equal(t, membersOf(held), 3)
	assert.Equal(t, membersOf(&appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Replicas: &none}}), 0)
}

func TestSecondPodNeedsSharedState(t *testing.T) {
	for section, shares := range map[string]bool{
		"controlPlane:": true, inPod: false,
		controlplanetest.EtcdSection:     true,
		controlplanetest.ExternalSection: true,
	} {
		assert.Equal(t, provisioner(t, controlplanetest.With(section)).sharesState(), shares, section)
	}
}

func TestPendingClaimMayBeTurnedOff(t *testing.T) {
	for phase, says := range map[corev1.PersistentVolumeClaimPhase]string{
		corev1.ClaimPending: "",
		corev1.ClaimBound:   "is on PersistentVolumeClaim team-a-data",
	} {
		p := existing(t, controlplanetest.SQLite)
		controlplanetest.Add(t, p.Cluster, &corev1.PersistentVolumeClaim{
			ObjectMeta: controlplanetest.Meta(p.Cluster,
				"team-a-data", hosted.ControlPlane),
			Status: corev1.PersistentVolumeClaimStatus{Phase: phase},
		})
		changeDocuments(t, p, controlplanetest.With(inPod))
		_, _, err := p.ensureKeys(t.Context())
		if says == "" {
			assert.NilError(t, err)
			continue
		}
		assert.ErrorContains(t, err, says)
	}
}
