package config_test

import (
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
)

// all is the vcluster.yaml of the tests in this file, with settings of all machines.
const all = `
privateNodes:
  enabled: true
  autoUpgrade: {cniBinariesPath: /opt/plugins}
  joinNode:
    preInstallCommands: [first]
    postJoinCommands: [last]
    containerd:
      registry:
        mirrors: {docker.io: {server: "https://one.example.com", hosts: [{server: "https://three.example.com"}]}, ghcr.io: {server: "https://two.example.com"}}
        auth: {docker.io: {username: everybody, password: hunter2}}
      importImages: [/srv/all.tar]
      pauseImage: example.com/pause:1
    skipPhases: [preflight]
    nodeRegistration:
      kubeletExtraArgs: [{name: v, value: "1"}, {name: max-pods, value: "20"}, {name: v, value: "2"}]
      ignorePreflightErrors: [Swap]
      taints: [{key: gpu, value: everyone, effect: NoSchedule}, {key: slow, effect: NoSchedule}]
`

// settingsOf returns the settings of a machine with this join; the text may go on with other keys of the machine.
func settingsOf(t *testing.T, vcluster, join string) (*config.Cluster, config.Machine, config.NodeSettings) {
	t.Helper()
	c := parse(t, vcluster, machine("{name: a, address: a, join: "+join+"}"))
	m, found := c.Machine("a")
	assert.Assert(t, found)
	return c, m, c.Settings(m)
}

// The table of Settings, row by row.
func TestAMachinesSettingsAreMergedRowByRow(t *testing.T) {
	words := func(words []string) string { return strings.Join(words, " ") }
	args := func(args []config.KubeletArg) string { return strings.Trim(fmt.Sprint(args), "[]") }
	mirrors := func(s config.NodeSettings) string {
		return fmt.Sprint(s.Containerd.Registry.Mirrors["docker.io"].Server, " ",
			s.Containerd.Registry.Mirrors["ghcr.io"].Server, " ", len(s.Containerd.Registry.Mirrors["docker.io"].Hosts))
	}
	for name, test := range map[string]struct {
		vcluster, join string
		get            func(config.NodeSettings) string
		want           string
	}{
		"the default": {
			goodVCluster, "{}",
			func(s config.NodeSettings) string { return s.BinariesPath }, "/usr/local/bin",
		},
		"vcluster.yaml over the default": {
			all, "{}",
			func(s config.NodeSettings) string { return s.CNIBinariesPath }, "/opt/plugins",
		},
		"the machine over vcluster.yaml": {
			all, "{cniBinariesPath: /opt/own}",
			func(s config.NodeSettings) string { return s.CNIBinariesPath }, "/opt/own",
		},
		"the machine over the default": {
			all, "{binariesPath: /opt/bin}",
			func(s config.NodeSettings) string { return s.BinariesPath }, "/opt/bin",
		},
		"commands of the machine come after": {
			all, "{preInstallCommands: [second]}",
			func(s config.NodeSettings) string { return words(s.PreInstallCommands) }, "first second",
		},
		"commands where all have none": {
			all, "{preJoinCommands: [own]}",
			func(s config.NodeSettings) string { return words(s.PreJoinCommands) }, "own",
		},
		"commands where the machine has none": {
			all, "{}",
			func(s config.NodeSettings) string { return words(s.PostJoinCommands) }, "last",
		},
		"images of the machine come after": {
			all, "{containerd: {importImages: [/srv/own.tar]}}",
			func(s config.NodeSettings) string { return words(s.Containerd.ImportImages) },
			"/srv/all.tar /srv/own.tar",
		},
		"phases are united": {
			all, "{skipPhases: [check-etcd, preflight]}",
			func(s config.NodeSettings) string { return words(s.SkipPhases) }, "preflight check-etcd",
		},
		"errors are united": {
			all, "{nodeRegistration: {ignorePreflightErrors: [Mem]}}",
			func(s config.NodeSettings) string { return words(s.NodeRegistration.IgnorePreflightErrors) }, "Swap Mem",
		},
		"a name replaces all of it": {
			all, "{nodeRegistration: {kubeletExtraArgs: [{name: v, value: '4'}]}}",
			func(s config.NodeSettings) string { return args(s.NodeRegistration.KubeletExtraArgs) },
			"{max-pods 20} {v 4}",
		},
		"a name may stand twice": {
			all, "{nodeRegistration: {kubeletExtraArgs: [{name: x, value: a}, " +
				"{name: x, value: b}]}}",
			func(s config.NodeSettings) string { return args(s.NodeRegistration.KubeletExtraArgs) },
			"{v 1} {max-pods 20} {v 2} {x a} {x b}",
		},
		"a mirror is replaced as a whole": {all, "{containerd: {registry: {mirrors: {docker.io: {server: " +
			"'https://own.example.com'}}}}}", mirrors, "https://own.example.com https://two.example.com 0"},
		"mirrors where the machine has none": {
			all, "{}", mirrors,
			"https://one.example.com https://two.example.com 1",
		},
		"a login is replaced as a whole": {
			all, "{containerd: {registry: {auth: {docker.io: {identityToken: x}}}}}",
			func(s config.NodeSettings) string { return s.Containerd.Registry.Auth["docker.io"].Username }, "",
		},
		"the machine's taint over that of all": {
			all, "{}, taints: [{key: gpu, value: own, effect: NoSchedule}]",
			func(s config.NodeSettings) string { return fmt.Sprint(s.NodeRegistration.Taints) },
			"[gpu=own:NoSchedule slow:NoSchedule]",
		},
		"containerd stays on": {
			all, "{}",
			func(s config.NodeSettings) string { return fmt.Sprint(s.Containerd.Enabled) }, "true",
		},
		"containerd off, with what it alone has": {
			all, "{containerd: {enabled: false}}",
			func(s config.NodeSettings) string {
				return fmt.Sprint(s.Containerd)
			}, "{false { map[] map[]} [/srv/all.tar] }",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, settings := settingsOf(t, test.vcluster, test.join)
			assert.Equal(t, test.get(settings), test.want)
		})
	}
}

func TestMergingOneMachineChangesNoOther(t *testing.T) {
	c := parse(t, all, machine("{name: a, address: a, join: {preInstallCommands: [a], nodeRegistration: "+
		"{kubeletExtraArgs: [{name: v, value: '9'}]}, containerd: {registry: {mirrors: {quay.io: {}}}}}}\n- {name: "+
		"b, address: b}"))
	a, _ := c.Machine("a")
	b, _ := c.Machine("b")
	before := fmt.Sprint(c.Settings(b))
	_ = c.Settings(a)
	assert.Equal(t, fmt.Sprint(c.Settings(b)), before)
	assert.Equal(t, len(c.Settings(b).Containerd.Registry.Mirrors), 2)
}

func TestOverridesOfAMachineAreListedWithoutSecrets(t *testing.T) {
	c, m, _ := settingsOf(t, all, `{
    binariesPath: /opt/bin, cniBinariesPath: /opt/plugins, preInstallCommands: ["curl -u me:hunter2 x"], preJoinCommands: [a, b],
    containerd: {registry: {configPath: /etc/mirrors, mirrors: {docker.io: {}, quay.io: {}}, auth: {docker.io: {username: me, password: hunter2}}}, importImages: [/a.tar], pauseImage: example.com/pause:2},
    skipPhases: [preflight, check-etcd],
    nodeRegistration: {kubeletExtraArgs: [{name: v, value: "4"}, {name: x, value: a}, {name: x, value: b}], ignorePreflightErrors: [Swap], imagePullPolicy: Never}
  }, taints: [{key: gpu, value: own, effect: NoSchedule}, {key: new, effect: NoExecute}]`)
	assert.DeepEqual(t, c.Overrides(m), []string{
		"binariesPath: /opt/bin instead of /usr/local/bin",
		"preInstallCommands: 1 of its own after the 1 of all machines",
		"preJoinCommands: 2 of its own",
		"containerd.registry.configPath: /etc/mirrors",
		`containerd.registry.mirrors["docker.io"]: its own instead of that of all machines`,
		`containerd.registry.mirrors["quay.io"]: its own`,
		`containerd.registry.auth["docker.io"]: its own instead of that of all machines`,
		"containerd.importImages: /a.tar as well",
		"containerd.pauseImage: example.com/pause:2 instead of example.com/pause:1",
		"skipPhases: check-etcd as well",
		"nodeRegistration.kubeletExtraArgs: v=4 instead of v=1 v=2",
		"nodeRegistration.kubeletExtraArgs: x=a x=b",
		"nodeRegistration.imagePullPolicy: Never",
		"taints: gpu=own:NoSchedule instead of gpu=everyone:NoSchedule",
		"taints: new:NoExecute",
	})
	c, m, _ = settingsOf(t, all, "{containerd: {enabled: false}}")
	assert.DeepEqual(t, c.Overrides(m), []string{"containerd.enabled: false instead of true"})
	c, m, _ = settingsOf(t, all, "{containerd: {enabled: true}, binariesPath: /usr/local/bin}")
	assert.Equal(t, len(c.Overrides(m)), 0, "what is said once more is no override")
}
