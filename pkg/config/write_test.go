package config_test

import (
	"reflect"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"

	"argosy.dev/argosy/pkg/config"
)

func printed(t *testing.T, c *config.Cluster) (vcluster, fleet string) {
	t.Helper()
	v, err := c.Printed(config.VClusterDocument)
	assert.NilError(t, err)
	f, err := c.Printed(config.FleetDocument)
	assert.NilError(t, err)
	return string(v), string(f)
}

func TestAPrintedClusterParsesToTheSameCluster(t *testing.T) {
	for name, documents := range map[string][2]string{
		"the smallest":   {goodVCluster, goodFleet},
		"a hosted one":   {hostedVCluster, hostedFleet},
		"three machines": {goodVCluster, threeMachines},
		"older spellings": {"privateNodes: {enabled: true, cni: {flannel: {enabled: false}}, kubelet: {cgroupDriver: " +
			"cgroupfs}}\n", goodFleet},
		"what needs quotes": {"privateNodes: {enabled: true, autoUpgrade: {nodeSelector: {gpu: 'true', rack: '1.30', " +
			"zone: ~, note: 'null'}}, " +
			"joinNode: {preJoinCommands: [\"one\\ntwo\\n\", '# no comment', 'a: b', '<x> & y']}}\n", goodFleet},
		"overrides": {
			all, machine("{name: a, address: a, join: {binariesPath: /opt/bin, containerd: {enabled: false}}}"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			vcluster := strings.NewReplacer(", zone: ~", "", "password: hunter2",
				"password: "+config.Redacted).Replace(documents[0])
			once := parse(t, vcluster, documents[1])
			v, f := printed(t, once)
			twice := parse(t, v, f)
			once.Remarks, twice.Remarks = nil, nil // which name keys as they were written
			assert.Assert(t, reflect.DeepEqual(once, twice), "%s---\n%s", v, f)
			again, andAgain := printed(t, twice)
			assert.Equal(t, v+f, again+andAgain)
		})
	}
}

func TestAPrintedClusterShowsNoSecret(t *testing.T) {
	c := parse(t, all, machine("{name: a, address: a, join: {containerd: {registry: {auth: {ghcr.io: {identityToken: "+
		"hunter2}}}}}}"))
	v, f := printed(t, c)
	of, err := c.PrintedMachine(c.Fleet.Machines[0])
	assert.NilError(t, err)
	for _, text := range []string{v, f, string(of)} {
		assert.Assert(t, !strings.Contains(text, "hunter2"), text)
		assert.Assert(t, cmp.Contains(text, config.Redacted))
		assert.Assert(t, !strings.Contains(text, "[redacted]"), text)
	}
}

func TestPrintedDefaultsParseToTheDefaults(t *testing.T) {
	vcluster, err := config.PrintedDefaults(config.VClusterDocument)
	assert.NilError(t, err)
	fleet, err := config.PrintedDefaults(config.FleetDocument)
	assert.NilError(t, err)

	const machines = "cluster: {kubeconfigSecret: admin}\nmachines:\n- name: alpha\n  address: 10.0.0.1\n"
	assert.Assert(t, reflect.DeepEqual(parse(t, string(vcluster), string(fleet)+machines),
		parse(t, goodVCluster, goodFleet)))
	assert.Equal(t, parse(t, string(vcluster), string(fleet)).NamesVersion(), false)
}

func TestAPrintedMachineBeginsWithWhatItOverrides(t *testing.T) {
	c, m, _ := settingsOf(t, all, "{binariesPath: /opt/bin}")
	text, err := c.PrintedMachine(m)
	assert.NilError(t, err)
	assert.Assert(t, cmp.Contains(string(text), "# machine a overrides:\n#   binariesPath: /opt/bin instead of "+
		"/usr/local/bin\nname: a\n"))
	assert.Assert(t, cmp.Contains(string(text), "  binariesPath: /opt/bin\n"))
	assert.Assert(t, cmp.Contains(string(text), "    - first\n"))

	c, m, _ = settingsOf(t, all, "{}")
	text, err = c.PrintedMachine(m)
	assert.NilError(t, err)
	assert.Assert(t, cmp.Contains(string(text), "# machine a has the settings of all machines in vcluster.yaml.\n"))
}
