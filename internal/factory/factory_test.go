package factory_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/internal/factory"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/secret"
)

const documents = `
apiVersion: argosy.dev/v1alpha1
kind: Fleet
cluster: {kubeconfigSecret: kubeconfig}
ssh: {secret: keys, knownHostsSecret: known}
machines:
  - {name: m1, address: 192.0.2.1}
  - {name: m2, address: 192.0.2.2, ssh: {secret: other, bastions: [{address: 192.0.2.9, secret: jump}]}}
`

// sourceOf holds Secrets by name, each with the key "key".
type sourceOf []string

func (s sourceOf) Namespace() string { return "team-a" }

func (s sourceOf) ConfigMap(context.Context, string) (map[string]string, error) {
	return map[string]string{"vcluster.yaml": "privateNodes: {enabled: true}\n", "argosy.yaml": documents}, nil
}

func (s sourceOf) Secret(_ context.Context, name string) (map[string]secret.Value, error) {
	for _, known := range s {
		if known == name {
			return map[string]secret.Value{"key": secret.New("content")}, nil
		}
	}
	return nil, fmt.Errorf("secret %q: %w", name, config.ErrNotFound)
}

func TestEveryMissingSecretIsNamedAtOnce(t *testing.T) {
	source := sourceOf{"kubeconfig", "keys"}
	cluster, err := config.Load(t.Context(), source, "team-a")
	assert.NilError(t, err)

	err = factory.CheckSecrets(t.Context(), source, cluster)
	for _, name := range []string{"known", "other", "jump"} {
		assert.ErrorContains(t, err, fmt.Sprintf("%q", name))
	}
	assert.Equal(t, strings.Count(err.Error(), "\n"), 2)

	assert.NilError(t, factory.CheckSecrets(t.Context(), append(source, "known", "other", "jump"), cluster))
}

func TestAHostedClusterNeedsTheSecretsOfRegistries(t *testing.T) {
	cluster, err := config.Parse("team-a", []byte(`
privateNodes: {enabled: true}
controlPlane:
  distro: {k8s: {version: v1.34.4}}
  advanced: {serviceAccount: {imagePullSecrets: [{name: registry-login}]}}
`), []byte("apiVersion: argosy.dev/v1alpha1\nkind: Fleet\n"))
	assert.NilError(t, err)
	assert.ErrorContains(t, factory.CheckSecrets(t.Context(), sourceOf{}, cluster), `"registry-login"`)
	assert.NilError(t, factory.CheckSecrets(t.Context(), sourceOf{"registry-login"}, cluster))
}

func TestAKubeconfigSecretWithoutAKubeconfigIsNamed(t *testing.T) {
	_, err := factory.Open(t.Context(), sourceOf{"kubeconfig"}, nil, factory.Tools{}, "team-a")
	assert.ErrorContains(t, err, "has none of the keys")
	assert.Assert(t, !strings.Contains(err.Error(), "content"))
}

func TestTrustedHostKeysAreKeptBesideEachOther(t *testing.T) {
	client := fake.NewClientset()
	keys := factory.ConfigMapKeys{Client: client, Namespace: "team-a"}
	none, err := keys.Load(t.Context(), "team-a")
	assert.NilError(t, err)
	assert.Equal(t, len(none), 0)

	assert.NilError(t, keys.Append(t.Context(), "team-a", "m1 ssh-ed25519 AAAA"))
	assert.NilError(t, keys.Append(t.Context(), "team-a", "m2 ssh-ed25519 BBBB"))
	held, err := keys.Load(t.Context(), "team-a")
	assert.NilError(t, err)
	assert.Equal(t, string(held), "m1 ssh-ed25519 AAAA\nm2 ssh-ed25519 BBBB\n")
	recorded, err := client.CoreV1().ConfigMaps("team-a").Get(t.Context(), "team-a-known-hosts", metav1.GetOptions{})
	assert.NilError(t, err)
	assert.Equal(t, recorded.Labels[hosted.ClusterLabel], "team-a", "they go with the cluster")
}
