package controlplane

import (
	"slices"
	"testing"

	"gotest.tools/v3/assert"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/errclass"
)

// member returns a pod of etcd that runs an image on a host.
func member(p *Provisioner, name, image, host string, started bool) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: controlplanetest.Meta(p.Cluster, name, hosted.Etcd),
		Spec: corev1.PodSpec{
			NodeName: host, Containers: []corev1.Container{{Name: etcdContainerName, Image: image}},
		},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: etcdContainerName, Started: &started,
		}}},
	}
}

const kubernetesImage = "ghcr.io/loft-sh/kubernetes:"

func TestAnUpgradeThatIsTakenBackKeepsTheNewerEtcd(t *testing.T) {
	const older, newer = kubernetesImage + "v1.36.5-full", kubernetesImage + "v1.37.2-full" // etcd 3.6, 3.7
	type pods map[string]bool
	for _, tt := range []struct {
		name, runs string
		pods       pods // images, and whether a member started from them
		rolledOut  bool
		kept       string
	}{
		{"the same", older, pods{older: true}, true, ""},
		{"an older one", kubernetesImage + "v1.35.8-full", pods{older: true}, true, ""},
		{"a newer one with the same etcd", kubernetesImage + "v1.36.9-full", pods{older: true}, true, ""},
		{"a newer one everywhere", newer, pods{newer: true}, true, newer},
		{"a newer one everywhere, crashing since", newer, pods{newer: false}, true, newer},
		{"a newer one on one member", newer, pods{older: true, newer: true}, false, newer},
		{"a newer one that never started", newer, pods{older: true, newer: false}, false, ""},
		{"a newer one without pods", newer, nil, false, newer},
		{"a tag without a version", kubernetesImage + "nightly", nil, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := provisioner(t, controlplanetest.Replace(controlplanetest.With(oneMember), "v1.34.4", "v1.36.5"))
			for image, up := range tt.pods {
				controlplanetest.Add(t, p.Cluster, member(p, image[len(kubernetesImage):], image, "", up))
			}
			set, err := p.etcd("digest", keptOfEtcd{})
			assert.NilError(t, err)
			set.Spec.Template.Spec.Containers[0].Image = tt.runs
			set.Status = appsv1.StatefulSetStatus{CurrentRevision: "1", UpdateRevision: "2"}
			if tt.rolledOut {
				set.Status.CurrentRevision = "2"
			}
			kept, err := p.keptOf(t.Context(), set)
			assert.NilError(t, err)
			assert.Equal(t, kept.image, tt.kept)
			set, err = p.etcd("digest", kept)
			assert.NilError(t, err)
			if tt.kept != "" {
				assert.Equal(t, set.Spec.Template.Spec.Containers[0].Image, tt.kept)
			}
		})
	}
}

func TestAnOlderEtcdOfTheDocumentsIsRefused(t *testing.T) {
	own := func(tag string) string {
		return controlplanetest.With("controlPlane:\n  backingStore: {etcd: {deploy: {enabled: true, statefulSet: " +
			"{image: {registry: registry.k8s.io, repository: etcd, tag: " + tag + "}}}}}")
	}
	for _, tt := range []struct{ was, is, says string }{
		{own("3.6.10-0"), own("3.6.4-0"), ""},
		{own("3.6.10-0"), own("3.7.3-0"), ""},
		{own("3.6.10-0"), own("3.5.21-0"), "is of etcd 3.5.21-0, and the members run 3.6.10-0"},
		{controlplanetest.With(oneMember), own("3.5.21-0"), "write an image of 3.6 or later"},
		{own("3.6.10-0"), controlplanetest.With(oneMember), ""},
	} {
		p := allowed(existing(t, tt.was))
		changeDocuments(t, p, tt.is)
		_, err := p.Validate(t.Context(), func(string) {})
		if tt.says == "" {
			assert.NilError(t, err)
			continue
		}
		assert.ErrorContains(t, err, tt.says)
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	}
}

func TestMembersCheckTheirDataAsKubeadmHasThem(t *testing.T) {
	const gate, experiment = "--feature-gates=InitialCorruptCheck=true", "--experimental-initial-corrupt-check=true"
	for image, wanted := range map[string]string{
		kubernetesImage + "v1.37.2-full": gate, kubernetesImage + "v1.34.4": gate, kubernetesImage + "nightly": gate,
		kubernetesImage + "v1.33.13-full": experiment, kubernetesImage + "v1.99.0": gate,
		"registry.k8s.io/etcd:3.5.21-0": experiment, "registry.k8s.io/etcd:3.6.4-0": gate,
		"registry.example.com/etcd@sha256:0000000000000000000000000000000000000000000000000000000000000000": gate,
	} {
		assert.Assert(t, slices.Contains(corruptionChecks(image), wanted), "%s: %q", image, corruptionChecks(image))
	}
}

func TestQuotaIsInProportionToTheVolume(t *testing.T) {
	for claim, quota := range map[string][]string{
		"size: 5Gi": {"--quota-backend-bytes=2147483648"}, "size: 1Gi": {"--quota-backend-bytes=429496729"},
		"size: 100Gi": {"--quota-backend-bytes=8589934592"},
	} {
		assert.DeepEqual(t, provisioner(t, sized("etcd", claim)).quota(), quota)
	}
	p := provisioner(t, controlplanetest.With(oneMember))
	p.VCluster.ControlPlane.BackingStore.Etcd.Deploy.StatefulSet.Persistence.VolumeClaim.Enabled = false
	assert.Equal(t, len(p.quota()), 0)
}

func TestMembersAreOnDifferentHosts(t *testing.T) {
	strict := func(section string, hosts ...string) bool {
		t.Helper()
		p := provisioner(t, controlplanetest.With(section))
		set, err := p.etcd("digest", keptOfEtcd{sharesHosts: true})
		assert.NilError(t, err)
		assert.Assert(t, !spreadsStrictly(set))
		var held *appsv1.StatefulSet
		for i, host := range hosts {
			held = set
			controlplanetest.Add(t, p.Cluster, member(p, p.etcdClaims()[i], "etcd", host, true))
		}
		kept, err := p.keptOf(t.Context(), held)
		assert.NilError(t, err)
		set, err = p.etcd("digest", kept)
		assert.NilError(t, err)
		again, err := p.keptOf(t.Context(), set)
		assert.NilError(t, err)
		second, err := p.etcd("digest", again)
		assert.NilError(t, err)
		assert.DeepEqual(t, second, set) // a second run changes nothing
		return spreadsStrictly(set)
	}
	assert.Assert(t, strict(controlplanetest.EtcdSection), "new members")
	assert.Assert(t, strict(controlplanetest.EtcdSection, "a", "b", "c"), "members on hosts of their own")
	assert.Assert(t, !strict(controlplanetest.EtcdSection, "a", "b", "a"), "members that share a host already")
	assert.Assert(t, strict(controlplanetest.EtcdSection, "a", "b", ""), "a member that waits")
	assert.Assert(t, !strict(oneMember), "a member alone")
}
