package upgrade

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/join"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// damage is how files look that a loss of power cut off.
func damage(content string) map[string]string {
	return map[string]string{
		"empty": "", "zeros": strings.Repeat("\x00", len(content)), "half": content[:len(content)/2], "null": "null\n",
	}
}

// atOlder makes the documents want the version that the machine joined at.
func (m *machine) atOlder() {
	m.join.KubernetesVersion, m.join.Bundle.SHA256 = older, m.record().Bundle
	m.configured("maxPods: 110\n")
}

func TestAJoinMendsDamagedStateOfItsOwnNode(t *testing.T) {
	for _, name := range []string{spec.RecordFile, spec.KubeletFile, spec.HooksFile} {
		m := newNode(t, func(m *machine) { m.join.Hooks.PostJoin = []string{"true"} })
		m.atOlder()
		const ran = `{"clusterUID":"uid","nodeName":"m1","succeeded":{},"joined":true,"finished":true}`
		m.write(spec.HooksFile, ran+"\n")
		content, record := m.read(name), m.record()
		for how, damaged := range damage(content) {
			t.Run(name+" "+how, func(t *testing.T) {
				m.write(name, damaged)
				if how != "null" {
					facts, err := inspect.Machine(t.Context(), m.host, m.store)
					assert.NilError(t, err)
					assert.DeepEqual(t, facts.Unreadable, []string{name})
				}
				m.calls = nil
				m.succeeds(spec.KindJoin)
				assert.Equal(t, m.called("sh "), 0, "commands ran again: %v", m.calls)
				// The kubelet's settings are only known again when kubeadm has written them anew.
				assert.Assert(t, m.restarted("kubelet") == 0 || name == spec.KubeletFile, "%v", m.calls)
				m.allHeld(spec.KindJoin)
				now := m.record()
				now.Joined = record.Joined
				assert.Equal(t, now, record)
			})
		}
	}
}

func TestJoinWithDamagedRecordKeepsTheVersion(t *testing.T) {
	m := newNode(t)
	m.write(spec.RecordFile, "")
	status := m.fails(spec.KindJoin)
	assert.Equal(t, status.Phase, "preflight")
	const says = "at " + older + "; a join does not change its version"
	assert.Assert(t, strings.Contains(status.Message, says), status.Message)
}

func TestJoinWithDamagedSettingsKeepsTheCgroupDriver(t *testing.T) {
	m := newNode(t)
	m.atOlder()
	m.write(spec.KubeletFile, "")
	m.join.Containerd.CgroupDriver = "cgroupfs"
	status := m.fails(spec.KindJoin)
	assert.Equal(t, status.Phase, "preflight")
	assert.Assert(t, strings.Contains(status.Message, "with the cgroup driver systemd"), status.Message)
}

func TestADamagedRecordIsToldByWhatCannotMendIt(t *testing.T) {
	m := newNode(t)
	m.write(spec.RecordFile, "\x00\x00")
	_, err := m.store.Record()
	assert.ErrorIs(t, err, node.ErrUnreadable)
	for _, kind := range []spec.Kind{spec.KindStage, spec.KindUpgrade} {
		status := m.fails(kind)
		assert.Equal(t, status.Error.Class, errclass.Permanent)
		assert.Assert(t, strings.Contains(status.Message, spec.RecordFile), status.Message)
		assert.Assert(t, strings.Contains(status.Error.Hint, "submit workflow join first"), status.Error.Hint)
	}
}

func TestDamagedKeepIsReplacedUnlessUpgradeHasBegun(t *testing.T) {
	m := newNode(t)
	m.succeeds(spec.KindUpgrade)
	m.succeeds(spec.KindRollback)
	content := m.read(keptFile)
	for how, damaged := range damage(content) {
		t.Run(how, func(t *testing.T) {
			m.write(keptFile, damaged)
			before, record := m.beside(), m.record()
			status := m.fails(spec.KindRollback)
			assert.Assert(t, strings.Contains(status.Message, keptFile), status.Message)
			m.same(before, m.beside())
			m.succeeds(spec.KindUpgrade)
			m.rollsBack(before, record)
		})
	}
	for _, phase := range []string{"kubeadm", "binaries", "kubelet"} {
		t.Run("after "+phase, func(t *testing.T) {
			m := newNode(t)
			m.stopsAfter(spec.KindUpgrade, phase)
			m.write(keptFile, "")
			status := m.fails(spec.KindUpgrade)
			assert.Equal(t, status.Phase, "keep")
			assert.Assert(t, strings.Contains(status.Message, "an upgrade of the machine has begun"), status.Message)
		})
	}
}

func TestJoinRewritesFilesEmptiedByPowerLoss(t *testing.T) {
	for _, name := range []string{
		layout.Unit("kubelet"), layout.KubeletDropIn, layout.Unit("containerd"), layout.ContainerdConfig,
		layout.ModulesFile, layout.SysctlFile, layout.KubeletConfig, layout.KubeletFlags, layout.ClusterCA,
		join.Stamp("kubelet"), join.Stamp("containerd"),
		inspect.KubeletConf, layout.KubeletDir + "/pki/kubelet-client-current.pem",
	} {
		for how, content := range map[string]string{"empty": "", "zeros": "\x00\x00\x00"} {
			t.Run(name+" "+how, func(t *testing.T) {
				m := newNode(t, (*machine).answersJoins)
				m.atOlder()
				before := m.read(name)
				m.write(name, content)
				m.succeeds(spec.KindJoin)
				if name == layout.KubeletConfig {
					before = strings.Replace(before, "kubeadm join", "kubeadm "+older, 1)
				}
				if credential := m.called("kubeadm join") > 0; credential {
					assert.Assert(t, len(m.read(name)) > len(content))
				} else {
					assert.Equal(t, m.read(name), before)
				}
				m.allHeld(spec.KindJoin)
				for left := range m.files() {
					assert.Assert(t, !strings.Contains(left, ".edited-"), "%s is no edit of the owner's", left)
				}
			})
		}
	}
}
