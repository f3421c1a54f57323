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
)

// stands is a provisioner of a cluster whose control plane is as vcluster.yaml says.
func stands(t *testing.T, vcluster string) *Provisioner {
	t.Helper()
	p := provisioner(t, vcluster)
	_, _, err := p.ensureKeys(t.Context())
	assert.NilError(t, err)
	set, err := p.controlPlane("digest")
	assert.NilError(t, err)
	add(t, p, set)
	if p.Cluster.Store().Kind == config.StoreEtcd {
		etcd, err := p.etcd("digest")
		assert.NilError(t, err)
		add(t, p, etcd)
	}
	return p
}

// turn changes the documents of a cluster.
func turn(t *testing.T, p *Provisioner, vcluster string) {
	t.Helper()
	changed, err := config.Parse("team-a", []byte(vcluster), []byte(fleet))
	assert.NilError(t, err)
	changed.Namespace = p.Cluster.Namespace
	p.Cluster = changed
}

const (
	inPod     = "controlPlane:\n  statefulSet: {persistence: {volumeClaim: {enabled: false}}}"
	oneMember = "controlPlane:\n  backingStore: {etcd: {deploy: {enabled: true}}}"
)

func TestWhatWouldHarmAClusterThatStandsIsRefused(t *testing.T) {
	with := func(section string) string { return replace(specified, "controlPlane:", section) }
	for _, tt := range []struct{ name, was, is, says string }{
		{"nothing changes, SQLite", specified, specified, ""},
		{"nothing changes, etcd", with(etcdStored), with(etcdStored), ""},
		{"nothing changes, external", with(externalStored), with(externalStored), ""},
		{"more members", with(oneMember), with(etcdStored), "is 3, and the cluster's etcd was founded with 1"},
		{"fewer members", with(etcdStored), with(oneMember), "is 1, and the cluster's etcd was founded with 3"},
		{"from a claim into the pod", specified, with(inPod),
			"the cluster's state is on PersistentVolumeClaim team-a-data"},
		{"from the pod onto a claim", with(inPod), specified, "the cluster's state is in its pod alone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := allowed(stands(t, tt.was))
			if strings.Contains(tt.was, "external") {
				hold(t, p, "team-a-database", map[string][]byte{dataSourceKey: []byte("postgres://u:p@db:5432/a")})
			}
			turn(t, p, tt.is)
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

func TestAnEtcdThatIsScaledToNothingForAWhileKeepsItsMembers(t *testing.T) {
	p := stands(t, replace(specified, "controlPlane:", etcdStored))
	none := int32(0)
	held, err := p.Host.AppsV1().StatefulSets("tenant").Get(t.Context(), "team-a-etcd", metav1.GetOptions{})
	assert.NilError(t, err)
	held.Spec.Replicas = &none
	assert.Equal(t, membersOf(held), 3)
	assert.Equal(t, membersOf(&appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Replicas: &none}}), 0)
}

func TestASecondPodComesOnlyWhereItHasTheSameState(t *testing.T) {
	for section, shares := range map[string]bool{"controlPlane:": true, inPod: false, etcdStored: true,
		externalStored: true} {
		assert.Equal(t, provisioner(t, replace(specified, "controlPlane:", section)).sharesState(), shares, section)
	}
}

func TestAClaimThatNeverGotAVolumeMayBeGivenUp(t *testing.T) {
	for phase, says := range map[corev1.PersistentVolumeClaimPhase]string{corev1.ClaimPending: "",
		corev1.ClaimBound: "is on PersistentVolumeClaim team-a-data"} {
		p := stands(t, specified)
		add(t, p, &corev1.PersistentVolumeClaim{ObjectMeta: p.meta("team-a-data", componentControlPlane),
			Status: corev1.PersistentVolumeClaimStatus{Phase: phase}})
		turn(t, p, replace(specified, "controlPlane:", inPod))
		_, _, err := p.ensureKeys(t.Context())
		if says == "" {
			assert.NilError(t, err)
			continue
		}
		assert.ErrorContains(t, err, says)
	}
}
