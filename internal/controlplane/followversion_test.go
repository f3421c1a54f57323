package controlplane

import (
	"encoding/json"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/bundle/components"
	"argosy.dev/argosy/pkg/config"
)

// unversioned is a vcluster.yaml that names no version.
const unversioned = "privateNodes: {enabled: true}\n"

func TestADefaultVersionStaysWithItsCluster(t *testing.T) {
	p := &Provisioner{Cluster: controlplanetest.New(t, unversioned)}
	follow := func() string {
		followed, err := p.Follow(t.Context())
		assert.NilError(t, err)
		return followed.KubernetesVersion()
	}
	assert.Equal(t, follow(), components.DefaultKubernetes, "a new cluster")

	identity, err := json.Marshal(config.Identity{KubernetesVersion: "v1.35.8"})
	assert.NilError(t, err)
	secret := p.Secret(p.Names().PKI(), nil)
	secret.Annotations = map[string]string{hosted.IdentityAnnotation: string(identity)}
	controlplanetest.Add(t, p.Cluster, secret)
	assert.Equal(t, follow(), "v1.35.8", "the one that was chosen with its keys")

	set := &appsv1.StatefulSet{ObjectMeta: controlplanetest.Meta(p.Cluster, p.Names().ControlPlane(),
		hosted.ControlPlane)}
	set.Spec.Template.Spec.Containers = []corev1.Container{{
		Name: hosted.APIServer, Image: "ghcr.io/loft-sh/kubernetes:v1.36.5-full",
	}}
	controlplanetest.Add(t, p.Cluster, set)
	assert.Equal(t, follow(), "v1.36.5", "the one that runs")

	p.Cluster.Cluster = controlplanetest.Parse(t, controlplanetest.SQLite, controlplanetest.Fleet)
	assert.Equal(t, follow(), "v1.34.4", "the documents'")
}

func TestAClusterThatWasRestoredStaysAtItsArchivesVersion(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	follow := func() string {
		followed, err := p.Follow(t.Context())
		assert.NilError(t, err)
		return followed.KubernetesVersion()
	}
	_, _, err := p.ensureKeys(t.Context())
	assert.NilError(t, err)
	assert.NilError(t, p.NoteRestoration(t.Context(), &Restoration{Archive: "a", Kubernetes: "v1.35.8", Loaded: true}))
	assert.Equal(t, follow(), "v1.35.8", "the store is loaded and no pod was made yet")
	changeDocuments(t, p, controlplanetest.Replace(controlplanetest.SQLite, "v1.34.4", "v1.36.5"))
	assert.Equal(t, follow(), "v1.36.5", "the documents may be ahead")
}
