package config_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/bundle/components"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

const threeMachines = fleetHead + `
ssh:
  user: ops
  secret: fleet-key
  trustOnFirstUse: true
  connectTimeout: 3s
  startupTimeout: 10m
  hostCAs: []
  bastions:
  - address: gate.example.com
  - {address: inner.example.com, port: 2222, user: hop, secret: hop-key}
machines:
- name: alpha
  address: 10.0.0.1
  labels: {zone: a, gpu: h100}
- name: bravo
  address: 10.0.0.2
  labels: {zone: a}
  ssh: {port: 2200, trustOnFirstUse: false, user: root, bastions: [], startupTimeout: 0s}
- name: charlie
  address: 10.0.0.3
  labels: {zone: b}
  taints: [{key: gpu, value: own, effect: NoSchedule}]
  ssh: {secret: own-key}
`

func TestAMachinesSSHFillsUpFromTheFleet(t *testing.T) {
	c := parse(t, goodVCluster, threeMachines)
	alpha, _ := c.Machine("alpha")
	ssh := c.SSHFor(alpha)
	assert.Equal(t, ssh.User, "ops")
	assert.Equal(t, ssh.Port, 22)
	assert.Equal(t, ssh.Secret, "fleet-key")
	assert.Equal(t, *ssh.TrustOnFirstUse, true)
	assert.Equal(t, ssh.ConnectTimeout.Duration, 3*time.Second)
	assert.Equal(t, ssh.KeepAlive.Duration, 10*time.Second)
	assert.Equal(t, ssh.Startup(), 10*time.Minute)
	assert.DeepEqual(t, ssh.Bastions, []config.Bastion{
		{Address: "gate.example.com", Port: 22, User: "ops", Secret: "fleet-key"},
		{Address: "inner.example.com", Port: 2222, User: "hop", Secret: "hop-key"},
	})

	bravo, _ := c.Machine("bravo")
	ssh = c.SSHFor(bravo)
	assert.Equal(t, ssh.Port, 2200)
	assert.Equal(t, ssh.User, "root")
	assert.Equal(t, ssh.Startup(), time.Duration(0))
	assert.Equal(t, *ssh.TrustOnFirstUse, false)
	assert.Equal(t, len(ssh.Bastions), 0)

	charlie, _ := c.Machine("charlie")
	ssh = c.SSHFor(charlie)
	assert.Equal(t, ssh.Secret, "own-key")
	assert.Equal(t, ssh.Bastions[0].Secret, "own-key")
	assert.Equal(t, c.Fleet.SSH.Bastions[0].Secret, "", "filling in one machine's bastions changed the fleet's")

	_, found := c.Machine("delta")
	assert.Assert(t, !found)
}

func TestMachinesAreSelectedByNameAndByLabel(t *testing.T) {
	c := parse(t, goodVCluster, threeMachines)
	for expression, want := range map[string]string{
		"":                     "alpha bravo charlie",
		"all":                  "alpha bravo charlie",
		" all ":                "alpha bravo charlie",
		" , ":                  "alpha bravo charlie",
		"charlie,alpha":        "alpha charlie",
		"charlie, alpha":       "alpha charlie",
		"bravo,bravo":          "bravo",
		"zone=a":               "alpha bravo",
		"zone=a,gpu":           "alpha",
		"zone==a, gpu!=h100":   "bravo",
		"zone in (b, c)":       "charlie",
		"!gpu":                 "bravo charlie",
		"gpu":                  "alpha",
		"zone,gpu":             "alpha",
		"zone, gpu":            "alpha",
		"zone notin (a),!nope": "charlie",
	} {
		t.Run(expression, func(t *testing.T) {
			machines, err := c.Select(expression)
			assert.NilError(t, err)
			var names []string
			for _, m := range machines {
				names = append(names, m.Name)
			}
			assert.Equal(t, strings.Join(names, " "), want)
		})
	}
}

func TestASelectionOfNoMachineIsRefused(t *testing.T) {
	c := parse(t, goodVCluster, threeMachines)
	for expression, want := range map[string]string{
		"alhpa":             `cluster "team-a" has no machine "alhpa" (did you mean "alpha"?); it has alpha, bravo, charlie`,
		"alpha,delta2":      `no machine "delta2"`,
		"alpha, zulu":       `no machine "zulu"`,
		"zone=c":            `no machine has labels that match "zone=c"; the machines are alpha, bravo, charlie`,
		"zone==":            "no machine has labels",
		"zone in (":         "reading label selector",
		"$(reboot)":         "reading label selector",
		"alpha;id":          `no machine "alpha;id"`,
		"`id`":              "no machine \"`id`\"",
		"\x00\nalpha\u202e": "\\x00",
	} {
		t.Run(expression, func(t *testing.T) {
			_, err := c.Select(expression)
			assert.ErrorContains(t, err, want)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		})
	}
}

func TestAnEmptySelectionForARemovalIsRefused(t *testing.T) {
	c := parse(t, goodVCluster, threeMachines)
	for _, nothing := range []string{"", " ", ",", " , \t"} {
		_, err := c.SelectNamed(nothing)
		assert.ErrorContains(t, err, "say which machines")
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	}
	for expression, count := range map[string]int{"all": 3, "alpha": 1, "zone=a": 2} {
		machines, err := c.SelectNamed(expression)
		assert.NilError(t, err)
		assert.Equal(t, len(machines), count)
	}
}

func TestAClusterWithoutMachinesSelectsNone(t *testing.T) {
	c := parse(t, hostedVCluster, hostedFleet)
	machines, err := c.Select("all")
	assert.NilError(t, err)
	assert.Equal(t, len(machines), 0)
	_, err = c.Select("alpha")
	assert.ErrorContains(t, err,
		`cluster "team-a" has no machine "alpha"; it has none: list them under machines in argosy.yaml`)
}

func TestTheVersionHasOneForm(t *testing.T) {
	for distro, want := range map[string]string{
		"{}":                           "",
		"{version: v1.34.4}":           "v1.34.4",
		"{version: 1.34.4}":            "v1.34.4",
		"{image: {tag: v1.34.4-full}}": "v1.34.4",
		"{image: {tag: v1.35.0-rc.1}}": "v1.35.0-rc.1",
		"{version: 1.34.4, image: {tag: v1.34.4-full}}": "v1.34.4",
	} {
		c := parse(t, goodVCluster+"controlPlane: {distro: {k8s: "+distro+"}}\n", goodFleet)
		assert.Equal(t, c.KubernetesVersion(), want, distro)
	}
}

func TestAMachinesTaintWinsOverTheTaintOfAllNodes(t *testing.T) {
	c := parse(t, `
privateNodes:
  enabled: true
  joinNode:
    nodeRegistration:
      taints:
      - {key: gpu, value: everyone, effect: NoSchedule}
      - {key: gpu, value: everyone, effect: NoExecute}
`, threeMachines)
	charlie, _ := c.Machine("charlie")
	assert.DeepEqual(t, c.Taints(charlie), []config.Taint{
		{Key: "gpu", Value: "own", Effect: "NoSchedule"},
		{Key: "gpu", Value: "everyone", Effect: "NoExecute"},
	})
}

func TestDefaultsCanBePrintedAndShowNoSecret(t *testing.T) {
	c := parse(t, goodVCluster+"controlPlane: {backingStore: {database: {external: {enabled: true, dataSource: "+
		"'postgres://u:hunter2@db'}}}}\n", goodFleet)
	text, err := json.Marshal(c)
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(string(text)+fmt.Sprintf("%+v", c), "hunter2"))
	assert.Equal(t, c.VCluster.ControlPlane.BackingStore.Database.External.DataSource.Reveal(),
		"postgres://u:hunter2@db")

	text, err = json.Marshal(config.Defaults())
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(string(text), `"machineTimeout":"20m0s"`), string(text))
}

// Defaults must themselves pass, or a user who writes them out would be refused.
func TestTheDefaultsWrittenOutChangeNothing(t *testing.T) {
	defaults := config.Defaults()
	defaults.VCluster.PrivateNodes.Enabled = true
	vcluster, err := json.Marshal(defaults.VCluster)
	assert.NilError(t, err)
	vcluster = []byte(strings.ReplaceAll(string(vcluster), `"[redacted]"`, `""`))
	c := parse(t, string(vcluster), goodFleet)
	assert.Equal(t, c.VCluster.PrivateNodes.AutoUpgrade.Concurrency, config.Amount("1"))
	assert.Equal(t, c.VCluster.Networking.ServiceCIDR, "10.96.0.0/12")

	assert.Equal(t, parse(t, string(vcluster), hostedFleet).KubernetesVersion(), components.DefaultKubernetes)
}

func TestDrainSettingsAreReadOverTheirDefaults(t *testing.T) {
	drain := parse(t, goodVCluster, goodFleet).Fleet.Drain
	assert.DeepEqual(t, drain, config.Defaults().Fleet.Drain)
	assert.Equal(t, drain.GracePeriod, -1)

	drain = parse(t, goodVCluster, goodFleet+"drain: {deleteEmptyDirData: false, gracePeriod: 0}\n").Fleet.Drain
	assert.Equal(t, drain.Timeout, config.Defaults().Fleet.Drain.Timeout)
	assert.Assert(t, !drain.DeleteEmptyDirData && drain.GracePeriod == 0)
}
