//go:build full

package e2e_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// Five machines that get the bundle from the plugin would take five times its size from the host.
func TestMachinesPassTheBundleOnToEachOther(t *testing.T) {
	machines := []string{"m1", "m2", "m3", "m4", "m5"}
	resetMachines(t, machines...)
	configure(t, site.Overrides{Bundles: map[string]any{"repository": lab.RepositoryURL, "delivery": "spread"}})
	bundles, err := filepath.Glob(filepath.Join(env.Lab.HTTPDir(), site.Version, "kubernetes-*-amd64.tar.*"))
	assert.NilError(t, err)
	assert.Assert(t, len(bundles) > 0)
	bundle, err := os.Stat(bundles[0])
	assert.NilError(t, err)

	before := sentByHost(t)
	mustSucceed(t, teamA(), "join", "machines="+strings.Join(machines, ","), "concurrency=5")
	sent := sentByHost(t) - before
	t.Logf("the host sent %.2f times the bundle's %d bytes", float64(sent)/float64(bundle.Size()), bundle.Size())
	assert.Assert(t, sent < 3*bundle.Size())
	assertJoined(t, machines...)
	for _, machine := range machines {
		assert.Equal(t, runOn(t, machine, "find", "/var/lib/argosy/bundles", "-name", "*.pieces"), "")
	}
}

// sentByHost returns how many bytes the host machine has sent.
func sentByHost(t *testing.T) int64 {
	t.Helper()
	text := runOn(t, "host", "cat", "/sys/class/net/eth0/statistics/tx_bytes")
	sent, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	assert.NilError(t, err)
	return sent
}
