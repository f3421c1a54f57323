package join

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

const (
	clusterConfig = "kind: KubeletConfiguration\nmaxPods: 110\n"
	kubeadmsFlags = "KUBELET_KUBEADM_ARGS=\"--hostname-override=m1 " +
		"--pod-infra-container-image=registry.k8s.io/pause:3.10\"\n"
)

// nodeWithSettings is a machine that has just joined, and a kubeadm that makes the file of the cluster's
// configuration.
func nodeWithSettings(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t)
	m.join.KubeletConfig = clusterConfig
	m.write(layout.KubeletConfig, "# of kubeadm\n"+clusterConfig)
	m.write(layout.KubeletFlags, kubeadmsFlags)
	m.programs.answers["kubeadm"] = func(argv []string) (string, error) {
		assert.DeepEqual(t, argv[1:], []string{"upgrade", "node", "phase", "kubelet-config"})
		m.write(layout.KubeletConfig, "# of kubeadm\n"+m.join.KubeletConfig)
		return "", nil
	}
	assert.NilError(t, writeGivenSettings(m.context, ""))
	assert.Assert(t, holds(t, m, checkSettings))
	return m
}

// restarts counts how often the kubelet was restarted.
func (m *machine) restarts() int {
	return len(slices.DeleteFunc(slices.Clone(m.programs.calls),
		func(call string) bool { return call != "systemctl restart kubelet.service" }))
}

// differences returns the changes that a check adds.
func (m *machine) differences(check func(context.Context, *node.Context) (bool, string, error)) []spec.Change {
	m.t.Helper()
	engine := &node.Engine{
		Host: m.host, Store: m.context.Store,
		Phases: map[spec.Kind][]node.Phase{spec.KindJoin: {{Name: "one", Check: check}}},
	}
	status, err := engine.Plan(context.Background(), m.context.Operation)
	assert.NilError(m.t, err)
	return status.Phases[0].Changes
}

func TestTheKubeletIsRestartedOnceForAllThatChanged(t *testing.T) {
	m := nodeWithSettings(t)
	m.join.KubeletConfig = strings.Replace(clusterConfig, "110", "50", 1)
	m.join.Registration.KubeletExtraArgs = []spec.Arg{
		{Name: "v", Value: "3"},
		{Name: "node-labels", Value: "a=b"},
		{Name: "node-labels", Value: "c=d"},
	}

	changes := m.differences(checkSettings)
	assert.Equal(t, len(changes), 2)
	assert.Equal(t, changes[0].What, layout.KubeletConfig)
	assert.Assert(t, strings.Contains(changes[0].Diff, "-maxPods: 110\n+maxPods: 50\n"), changes[0].Diff)
	assert.Equal(t, changes[1].What, layout.KubeletFlags)
	assert.Equal(t, changes[1].Effect, spec.RestartsKubelet)

	assert.Equal(t, apply(t, m, applySettings), "configuration written, arguments set, kubelet restarted")
	assert.Equal(t, m.restarts(), 1)
	assert.Equal(t, m.read(layout.KubeletFlags),
		strings.TrimSuffix(kubeadmsFlags, "\"\n")+" --v=3 --node-labels=a=b --node-labels=c=d\"\n",
		"kubeadm's own stay, duplicates are kept")
	assert.Assert(t, holds(t, m, checkSettings))
	assert.Equal(t, len(m.differences(checkSettings)), 0)

	m.join.Registration.KubeletExtraArgs = nil
	apply(t, m, applySettings)
	assert.Equal(t, m.read(layout.KubeletFlags), kubeadmsFlags, "what the documents do not ask for any more is gone")
}

func TestAnEditOfTheKubeletsFilesIsCorrected(t *testing.T) {
	for name, change := range map[string]func(m *machine){
		"configuration": func(m *machine) { m.write(layout.KubeletConfig, "maxPods: 1\n") },
		"its file":      func(m *machine) { m.remove(layout.KubeletConfig) },
	} {
		t.Run(name, func(t *testing.T) {
			m := nodeWithSettings(t)
			change(m)
			assert.Assert(t, !holds(t, m, checkSettings))
			apply(t, m, applySettings)
			assert.Equal(t, m.read(layout.KubeletConfig), "# of kubeadm\n"+clusterConfig)
			assert.Equal(t, m.restarts(), 1)
			assert.Assert(t, holds(t, m, checkSettings))
		})
	}
}

func TestNotesOfAnotherPolicyAreRemovedWithTheKubeletStopped(t *testing.T) {
	const cpus, memory = "/var/lib/kubelet/cpu_manager_state", "/var/lib/kubelet/memory_manager_state"
	for name, test := range map[string]struct {
		// wanted are further lines of the cluster's configuration, args of the documents.
		wanted string
		args   []spec.Arg
		// cpu and memory are the policies of the kubelet's notes.
		cpu, memory string
		removed     []string
	}{
		"cpuManagerPolicy changes": {wanted: "cpuManagerPolicy: " +
			"static\n", cpu: "none", memory: "None", removed: []string{cpus}},
		"cpuManagerPolicy is given back": {wanted: "podPidsLimit: 9\n", cpu: "static", removed: []string{cpus}},
		"memoryManagerPolicy changes": {
			wanted: "memoryManagerPolicy: Static\n", cpu: "none", memory: "None", removed: []string{memory},
		},
		"both change by arguments": {
			args: []spec.Arg{
				{Name: "cpu-manager-policy", Value: "static"},
				{Name: "memory-manager-policy", Value: "Static"},
			},
			cpu: "none", memory: "None", removed: []string{cpus, memory},
		},
		"the policies stay": {wanted: "cpuManagerPolicy: static\npodPidsLimit: 9\n", cpu: "static", memory: "None"},
	} {
		t.Run(name, func(t *testing.T) {
			m := nodeWithSettings(t)
			m.write(cpus, `{"policyName":"`+test.cpu+`","defaultCpuSet":"","checksum":1}`)
			m.write(memory, `{"policyName":"`+test.memory+`","checksum":1}`)
			m.join.KubeletConfig += test.wanted
			m.join.Registration.KubeletExtraArgs = test.args
			wanted := spec.RestartsKubelet
			if len(test.removed) > 0 {
				wanted = spec.NeedsDrain
			}
			assert.Equal(t, m.differences(checkSettings)[0].Effect, wanted)
			m.programs.answers["systemctl"] = func(argv []string) (string, error) {
				assert.Assert(t, argv[1] != "stop" || m.host.Exists(cpus) && m.host.Exists(memory))
				return "", nil
			}
			detail := apply(t, m, applySettings)
			assert.Equal(t, m.restarts(), 1)
			assert.Equal(t, m.programs.called("systemctl stop kubelet.service"), len(test.removed) > 0)
			for _, name := range []string{cpus, memory} {
				gone := slices.Contains(test.removed, name)
				assert.Equal(t, m.host.Exists(name), !gone, name)
				assert.Equal(t, strings.Contains(detail, name+" removed"), gone, detail)
			}
			assert.Assert(t, holds(t, m, checkSettings))
		})
	}
}

func TestInterruptedSettingsAreAppliedAgain(t *testing.T) {
	m := nodeWithSettings(t)
	m.join.KubeletConfig = "kind: KubeletConfiguration\n"
	m.programs.answers["systemctl"] = func([]string) (string, error) { return "", errors.New("exit status 1") }
	_, err := applySettings(context.Background(), m.context)
	assert.ErrorContains(t, err, "systemctl")
	assert.Assert(t, !holds(t, m, checkSettings))

	delete(m.programs.answers, "systemctl")
	before := m.restarts()
	apply(t, m, applySettings)
	assert.Equal(t, m.restarts(), before+1, "the files are right by now, and the kubelet still has the old ones")
	assert.Assert(t, holds(t, m, checkSettings))
}

func TestMachineWithoutKeptSettingsIsCheckedOnce(t *testing.T) {
	m := nodeWithSettings(t)
	m.remove(settingsFile)
	assert.Assert(t, !holds(t, m, checkSettings))
	apply(t, m, applySettings)
	assert.Equal(t, m.restarts(), 0, "nothing was otherwise")
	assert.Assert(t, holds(t, m, checkSettings))
}

func TestChangesThatNeedARejoinAreNoWork(t *testing.T) {
	m := newMachine(t)
	m.joined(m.ca, m.join.Server, "m1", time.Now().Add(time.Hour))
	assert.NilError(t, m.context.Store.Prepare("op"))
	assert.NilError(t, m.context.Store.WriteRecord(recordOf(m.context.Operation, nil)))
	assert.Equal(t, len(m.differences(checkKubeadm)), 0)

	m.join.Registration.CRISocket = "unix:///run/other.sock"
	m.join.Registration.CACertPath = "/etc/other/ca.crt"
	m.join.Hooks = spec.Hooks{PreJoin: []string{"true"}}
	changes := m.differences(checkKubeadm)
	assert.Assert(t, holds(t, m, checkKubeadm))
	assert.Equal(t, len(changes), 3)
	for _, change := range changes {
		assert.Equal(t, change.Effect, spec.NeedsRejoin)
	}
	assert.Assert(t, strings.Contains(changes[1].Diff, "-/etc/kubernetes/pki/ca.crt\n+/etc/other/ca.crt\n"),
		changes[1].Diff)
}

func TestKubeletGetsTheJoinsPathOfTheAuthority(t *testing.T) {
	m := newMachine(t)
	assert.Equal(t, len(kubeletArgs(m.join)), 0)
	m.join.Registration.CACertPath = "/etc/other/ca.crt"
	told := []spec.Arg{{Name: "client-ca-file", Value: "/etc/other/ca.crt"}}
	assert.DeepEqual(t, kubeletArgs(m.join), told)
	assert.DeepEqual(t, renderJoin(m.join, "/d", testToken)["nodeRegistration"].(object)["kubeletExtraArgs"], told)

	assert.NilError(t, m.context.Store.WriteRecord(recordOf(m.context.Operation, nil)))
	m.join.Registration.CACertPath = "/etc/a-third/ca.crt"
	assert.DeepEqual(t, currentArgs(m.context), told) // it is there only from the next join on

	m.join.Registration.KubeletExtraArgs = []spec.Arg{{Name: "client-ca-file", Value: "/mine"}}
	assert.DeepEqual(t, kubeletArgs(m.join), m.join.Registration.KubeletExtraArgs)
	for _, path := range []string{"etc/ca.crt", "/etc/my ca.crt", "/etc/../ca.crt"} {
		m.join.Registration.CACertPath = path
		assert.Assert(t, strings.Contains(strings.Join(validate(m.join), " "), "is not a plain absolute path"), path)
	}
}
