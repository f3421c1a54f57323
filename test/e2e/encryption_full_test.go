//go:build full

package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"gotest.tools/v3/assert"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/test/site"
)

// Tests of clusters whose store and archives are encrypted, and whose requests are logged.

// exampleFleet returns argosy.yaml of an example.
func exampleFleet(t *testing.T, name string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(env.Source, "examples", name, "cluster.yaml"))
	assert.NilError(t, err)
	var example struct {
		Data map[string]string `json:"data"`
	}
	assert.NilError(t, yaml.Unmarshal(text, &example))
	var fleet map[string]any
	assert.NilError(t, yaml.Unmarshal([]byte(example.Data["argosy.yaml"]), &fleet))
	return fleet
}

// stored returns an object as the store of team-c has it, which the one member of its etcd prints.
func stored(t *testing.T, cluster *site.HostedCluster, key string) string {
	t.Helper()
	const certs = "/etc/argosy/certs/"
	return hostKubectl(t, cluster, "exec", "team-c-etcd-0", "-c", "etcd", "--", "/kubernetes/etcdctl",
		"--endpoints=https://127.0.0.1:2379", "--cacert="+certs+"etcd-ca.crt", "--cert="+certs+"server.crt",
		"--key="+certs+"server.key", "get", "--print-value-only", key)
}

// newEncryptedCluster makes a cluster with the settings of examples/team-c in argosy.yaml, for a store of one member.
// setKey chooses the name of its key.
func newEncryptedCluster(t *testing.T) (cluster *site.HostedCluster, setKey func(name string)) {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	assert.NilError(t, err)
	cluster = newCluster(t, func(d map[string]any) {
		site.Set(d, "controlPlane.backingStore.etcd.deploy.enabled", true)
	})
	hostKubectl(t, cluster, "create", "secret", "generic", "identity", "--from-literal=identity="+identity.String())
	settings, key := exampleFleet(t, "team-c")["controlPlane"], "key1"
	cluster.Fleet = func(d map[string]any) {
		d["controlPlane"] = settings
		site.Set(d, "controlPlane.encryption.keyName", key)
		site.Set(d, "controlPlane.archives.recipients", []string{identity.Recipient().String()})
		site.Set(d, "controlPlane.archives.identitySecret", "identity")
	}
	assert.NilError(t, cluster.ApplyDocuments(t.Context()))
	return cluster, func(name string) {
		key = name
		assert.NilError(t, cluster.ApplyDocuments(t.Context()))
	}
}

func TestAnEncryptedClusterIsAuditedRotatedAndRestored(t *testing.T) {
	const secret, held = "/registry/secrets/default/password", "k8s:enc:secretbox:v1:"
	cluster, setKey := newEncryptedCluster(t)
	mustSucceed(t, cluster, "provision")
	kubectl(t, cluster, "create", "secret", "generic", "password", "--from-literal=value=very-secret")
	readsSecret := func(t *testing.T, key string) {
		t.Helper()
		assert.Equal(t, kubectl(t, cluster, "get", "secret", "password", "-o",
			"go-template={{.data.value | base64decode}}"), "very-secret")
		value := stored(t, cluster, secret)
		assert.Assert(t, strings.HasPrefix(value, held+key+":") && !strings.Contains(value, "very-secret"), "%q", value)
	}
	t.Run("a Secret is encrypted in the store", func(t *testing.T) {
		readsSecret(t, "key1")
		kubectl(t, cluster, "create", "configmap", "plain", "--from-literal=value=not-secret")
		assertContains(t, stored(t, cluster, "/registry/configmaps/default/plain"), "not-secret")
	})
	t.Run("the audit log has the request without its content", func(t *testing.T) {
		log := hostKubectl(t, cluster, "logs", "team-c-control-plane-0", "-c", "kube-apiserver")
		var created string
		for _, line := range strings.Split(log, "\n") {
			if strings.HasPrefix(line, `{"kind":"Event"`) && strings.Contains(line, `"verb":"create"`) &&
				strings.Contains(line, `"name":"password"`) {
				created = line
			}
		}
		assertContains(t, created, `"level":"Metadata"`, `"username":"argosy:team-c"`, `"resource":"secrets"`)
		assert.Assert(t, !strings.Contains(created, "requestObject") && !strings.Contains(log, "very-secret"), created)
		assert.Assert(t, !strings.Contains(log, `"requestURI":"/readyz`), "probes are not logged")
	})
	t.Run("its key is exchanged while it serves", func(t *testing.T) {
		setKey("key2")
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		failures := readingAndWriting(ctx, cluster)
		mustSucceed(t, cluster, "provision")
		stop()
		assert.Equal(t, <-failures, "", "it serves all the while")
		readsSecret(t, "key2")
		keys := hostKubectl(t, cluster, "get", "secret", "team-c-pki", "-o",
			`go-template={{index .data "encryption.yaml" | base64decode}}`)
		assert.Assert(t, strings.Contains(keys, "name: key2") && !strings.Contains(keys, "name: key1"),
			"the former key is taken away")
		assertContains(t, step(t, mustSucceed(t, cluster, "provision"), "control-plane").Message, "unchanged")
	})
	t.Run("it is restored from an encrypted archive", func(t *testing.T) {
		archive := output(t, mustSucceed(t, cluster, "deprovision", "machines=keep"), "archive")
		assert.Assert(t, strings.HasSuffix(archive, ".age"), archive)
		mustSucceed(t, cluster, "restore", "replaceVolumes=true")
		readsSecret(t, "key2")
	})
}

// readingAndWriting reads and writes Secrets until its context ends, and sends the first failure, or "".
func readingAndWriting(ctx context.Context, cluster *site.HostedCluster) <-chan string {
	failures := make(chan string, 1)
	go func() {
		defer close(failures)
		for i := 0; ctx.Err() == nil; i++ {
			for _, args := range [][]string{
				{"get", "secret", "password", "-o", "name"},
				{"create", "secret", "generic", fmt.Sprintf("written-%d", i), "--from-literal=value=very-secret"},
			} {
				if out, err := cluster.Kubectl(context.WithoutCancel(ctx), args...); err != nil {
					failures <- fmt.Sprintf("kubectl %s: %v: %s", strings.Join(args, " "), err, out)
					return
				}
			}
		}
	}()
	return failures
}
