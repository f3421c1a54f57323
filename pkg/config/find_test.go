package config_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"

	"argosy.dev/argosy/pkg/config"
)

func TestAKeyIsFoundInAllItsSpellings(t *testing.T) {
	const mirrors = "privateNodes.joinNode.containerd.registry.mirrors"
	for path, want := range map[string]string{
		"privateNodes.kubelet":           "privateNodes.kubelet",
		mirrors:                          mirrors + ".<registry>",
		mirrors + ".<registry>":          mirrors + ".<registry>",
		mirrors + `["docker.io"]`:        mirrors + ".<registry>",
		mirrors + `["docker.io"].server`: mirrors + ".<registry>.server",
		mirrors + ".<registry>.hosts":    mirrors + ".<registry>.hosts[]",
		mirrors + ".hosts":               "",
		"kubelet":                        "",
	} {
		key, inside, found := config.FindKey(config.VClusterDocument, path)
		assert.Equal(t, found, want != "", path)
		assert.Equal(t, key.Key, want, path)
		if found {
			assert.Equal(t, len(inside) > 0, key.Section, path)
		}
	}
	for _, path := range []string{"machines.ssh.port", "machines[].ssh.port", "machines[3].ssh.port"} {
		key, _, found := config.FindKey(config.FleetDocument, path)
		assert.Assert(t, found, path)
		assert.Equal(t, key.Key, "machines[].ssh.port")
		assert.Assert(t, cmp.Contains(key.Meaning, "sshd"))
	}
	_, inside, found := config.FindKey(config.FleetDocument, "")
	assert.Assert(t, found)
	assert.Equal(t, inside[0].Key, "apiVersion")
	assert.Equal(t, inside[len(inside)-1].Key, "limits")
}

func TestSimilarKeysAreSuggestedForAnUnknownKey(t *testing.T) {
	for path, want := range map[string]string{
		"pauseImage": "privateNodes.joinNode.containerd.pauseImage (vcluster.yaml), " +
			"machines[].join.containerd.pauseImage (argosy.yaml)",
		"networking.podCidr":  "networking.podCIDR",
		"limits.concurency":   "limits.concurrency",
		"nothing.of.the.sort": "",
		"":                    "",
		"[":                   "",
	} {
		assert.Equal(t, strings.Join(config.SimilarKeys(path), ", "), want, path)
	}
}
