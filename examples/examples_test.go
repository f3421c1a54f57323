// Package examples_test parses the examples with the code that reads them after a user has copied them.
package examples_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
)

func TestTheExampleClusterIsValid(t *testing.T) {
	cluster, err := config.Load(t.Context(), config.Dir{Path: "team-a"}, "team-a")
	assert.NilError(t, err)
	assert.Equal(t, cluster.KubernetesVersion(), "v1.37.2")

	machines, err := cluster.Select("zone=rack-1")
	assert.NilError(t, err)
	assert.Equal(t, len(machines), 2)
}

func TestTheHostedExampleClusterIsValid(t *testing.T) {
	cluster, err := config.Load(t.Context(), config.Dir{Path: "team-b"}, "team-b")
	assert.NilError(t, err)
	assert.Assert(t, cluster.Hosted() && cluster.BundlesFromControlPlane())
	assert.Equal(t, cluster.ControlPlaneImage(), "ghcr.io/loft-sh/kubernetes:v1.37.2-full")
}

func TestTheEncryptedExampleClusterIsValid(t *testing.T) {
	cluster, err := config.Load(t.Context(), config.Dir{Path: "team-c"}, "team-c")
	assert.NilError(t, err)
	settings := cluster.Fleet.ControlPlane
	assert.Equal(t, string(settings.Encryption.Provider), "secretbox")
	assert.Equal(t, len(settings.Audit.Policy.Rules), 3)
	assert.Equal(t, len(settings.Archives.Recipients), 1)
	assert.Equal(t, cluster.Store(), config.Store{Kind: config.StoreEtcd, Replicas: 3})
}

func TestExamplesContainEverySecretTheyName(t *testing.T) {
	for _, name := range []string{"team-a", "team-b", "team-c"} {
		t.Run(name, func(t *testing.T) { namesOnlyShownSecrets(t, name) })
	}
}

func namesOnlyShownSecrets(t *testing.T, name string) {
	t.Helper()
	source := config.Dir{Path: name}
	cluster, err := config.Load(t.Context(), source, name)
	assert.NilError(t, err)
	var named []string
	if !cluster.Hosted() {
		named = append(named, cluster.KubeconfigSecret())
	}
	for _, machine := range cluster.Fleet.Machines {
		ssh := cluster.SSHFor(machine)
		named = append(named, ssh.Secret, ssh.KnownHostsSecret)
	}
	for _, name := range named {
		_, err := source.Secret(t.Context(), name)
		assert.NilError(t, err)
	}
}
