package upgrade

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/cri/critest"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/nodetest"
	"argosy.dev/argosy/pkg/node/spec"
)

// rollsBack rolls the machine back, and checks that it is as before the upgrade, can be rolled back once more, and can
// be upgraded again.
func (m *machine) rollsBack(before map[string]file, record spec.Record) {
	m.t.Helper()
	m.succeeds(spec.KindRollback)
	m.same(before, m.beside())
	m.isOver(record)
}

func (m *machine) isOver(record spec.Record) {
	m.t.Helper()
	assert.Equal(m.t, m.record(), record)
	m.tidy()
	m.allHeld(spec.KindRollback)

	before := m.beside()
	m.succeeds(spec.KindUpgrade)
	m.keeps(before)
	m.allHeld(spec.KindUpgrade)
	m.succeeds(spec.KindRollback)
	m.same(before, m.beside())
}

// tidy makes sure that no file is left that was to get another name.
func (m *machine) tidy() {
	m.t.Helper()
	for name := range m.files() {
		assert.Assert(m.t, !strings.HasSuffix(name, ".tmp"), name)
	}
}

// after are the phases from which on there is something to roll back.
func after(first string) []string {
	var names []string
	for _, phase := range Phases() {
		if phase.Name == first || len(names) > 0 {
			names = append(names, phase.Name)
		}
	}
	return names
}

func TestRollbackRevertsAStoppedUpgrade(t *testing.T) {
	for _, phase := range after("keep") {
		t.Run(phase, func(t *testing.T) {
			m := newNode(t, withEverything)
			changeEverything(m)
			before, record := m.beside(), m.record()
			m.stopsAfter(spec.KindUpgrade, phase)
			m.calls = nil
			swapped := phase != "keep"
			m.succeeds(spec.KindRollback)
			m.same(before, m.beside())
			if !swapped {
				assert.Equal(t, len(m.calls), 0, "%v", m.calls)
			} else {
				assert.Equal(t, m.restarted("kubelet"), 1, "%v", m.calls)
			}
			m.isOver(record)
		})
	}
}

// withEverything has the node have settings of registries, and something of its owner's.
func withEverything(m *machine) {
	m.join.Containerd.Registry.Mirrors = map[string]spec.Mirror{
		"quay.io": {MirrorHost: spec.MirrorHost{Server: "https://old.example.org"}},
		"gcr.io":  {MirrorHost: spec.MirrorHost{Server: "https://old.example.org"}},
	}
	m.logins = map[string]spec.RegistryLogin{"quay.io": {Username: "u", Password: "old"}}
	m.write(layout.RegistriesDir+"/gcr.io/hosts.toml", "# the owner's\n")
	m.write(layout.RegistriesDir+"/ghcr.io/hosts.toml", "# the owner's\n")
}

// changeEverything changes all settings in the documents that an upgrade applies, beside the version.
func changeEverything(m *machine) {
	m.join.Containerd.Registry.Mirrors = map[string]spec.Mirror{
		"quay.io":   {MirrorHost: spec.MirrorHost{Server: "https://new.example.org"}},
		"ghcr.io":   {MirrorHost: spec.MirrorHost{Server: "https://new.example.org"}},
		"docker.io": {MirrorHost: spec.MirrorHost{Server: "https://new.example.org"}},
	}
	m.logins = map[string]spec.RegistryLogin{"quay.io": {Username: "u", Password: "new"}}
	m.join.Registration.KubeletExtraArgs = []spec.Arg{{Name: "v", Value: "3"}}
	m.write(layout.SysctlFile, "# somebody's change\n")
}

func TestRollbackRevertsAFailedUpgrade(t *testing.T) {
	for killed := 1; ; killed++ {
		m := newNode(t)
		before, record := m.beside(), m.record()
		m.killAfter = killed
		status := m.runsKind(spec.KindUpgrade)
		m.killAfter = -1
		m.rollsBack(before, record)
		if status.State == spec.Succeeded {
			assert.Assert(t, killed > 4, "%d calls", killed)
			return
		}
	}
}

func TestInterruptedRollbackIsFinishedByRollbackOrUpgrade(t *testing.T) {
	fresh := func(t *testing.T) (*machine, map[string]file, spec.Record) {
		m := newNode(t)
		before, record := m.beside(), m.record()
		m.succeeds(spec.KindUpgrade)
		m.calls = nil
		return m, before, record
	}
	cuts := map[string]func(m *machine){}
	for _, phase := range RollbackPhases() {
		cuts["after "+phase.Name] = func(m *machine) { m.stopsAfter(spec.KindRollback, phase.Name) }
	}
	for killed, call := range []string{"reloading units", "restarting containerd", "restarting the kubelet"} {
		cuts["while "+call] = func(m *machine) {
			m.killAfter = killed
			assert.Equal(m.t, m.fails(spec.KindRollback).Phase, "services")
			m.killAfter = -1
		}
	}
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			m, before, record := fresh(t)
			cut(m)
			m.rollsBack(before, record)

			m, before, record = fresh(t)
			cut(m)
			m.succeeds(spec.KindUpgrade)
			assert.Equal(t, m.read(layout.KubeletConfig), "# of kubeadm "+newer+"\n"+m.clusterConfig)
			m.allHeld(spec.KindUpgrade)
			m.keeps(before)
			m.rollsBack(before, record)
		})
	}
}

func TestServiceWithoutStampIsRestarted(t *testing.T) {
	m := newNode(t)
	assert.NilError(t, m.host.Remove(spec.Root+"/kubelet.applied", spec.Root+"/containerd.applied"))
	before, record := m.beside(), m.record()
	m.succeeds(spec.KindUpgrade)
	m.rollsBack(before, record)
}

func TestKubeletThatCannotStartFailsUpgradeAndIsRolledBack(t *testing.T) {
	m := newNode(t)
	before, record := m.beside(), m.record()
	m.dies = newer
	status := m.fails(spec.KindUpgrade)
	assert.Equal(t, status.Phase, "healthy")
	assert.Assert(t, strings.Contains(status.Message, "systemd had to start it 5 times anew"), status.Message)
	assert.DeepEqual(t, status.Error.Tail, []string{"kubelet: unknown flag"})
	assert.Equal(t, m.record(), record)
	m.succeeds(spec.KindRollback)
	m.same(before, m.beside())
	m.dies = ""
	m.isOver(record)
}

func TestRollbackWithoutKeptFilesChangesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		change func(m *machine)
		says   string
	}{
		"nothing kept": {func(m *machine) { assert.NilError(m.t, m.host.Remove(keptFile)) }, "there are no kept files"},
		"another cluster's": {func(m *machine) {
			m.join.ClusterUID = "uid-b"
		}, `the kept files are of node "m1" of cluster "team-a"`},
		"another node's": {func(m *machine) { m.join.NodeName = "m2" }, `the kept files are of node "m1"`},
		"another upgrade's": {func(m *machine) {
			m.receive("v1.35.0", bundleOf(m.t, "v1.35.0", "2.1.4"))
		}, "the kept files are from before another upgrade, of " + older},
		"the machine joined another cluster since": {func(m *machine) {
			m.ca = nodetest.NewAuthority(m.t, "kubernetes")
			m.joined("m1")
		}, "The machine is already a node of"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newNode(t)
			m.succeeds(spec.KindUpgrade)
			test.change(m)
			m.calls = nil
			before := m.files()
			status := m.fails(spec.KindRollback)
			assert.Equal(t, status.Phase, "preflight")
			assert.Assert(t, strings.Contains(status.Message, test.says), status.Message)
			assert.Equal(t, m.plan(spec.KindRollback).State, spec.Failed)
			assert.Equal(t, len(m.calls), 0, "%v", m.calls)
			m.same(before, m.files())
		})
	}
}

func TestUpgradeAfterInterruptedOneCanBeRolledBack(t *testing.T) {
	m := newNode(t)
	before, record := m.beside(), m.record()
	m.stopsAfter(spec.KindUpgrade, "containerd")

	m.receive("v1.34.5", bundleOf(t, "v1.34.5", "2.1.5", "cni/bin/vlan"))
	m.write("/opt/cni/bin/vlan", "the owner's")
	before["/opt/cni/bin/vlan"] = m.beside()["/opt/cni/bin/vlan"]
	m.succeeds(spec.KindUpgrade)
	assert.Equal(t, m.read("/opt/cni/bin/vlan"), "cni/bin/vlan v1.34.5")
	m.keeps(before)
	m.succeeds(spec.KindRollback)
	m.same(before, m.beside())
	assert.Equal(t, m.record(), record)
}

func TestJoinAfterRollbackIsNotRolledBack(t *testing.T) {
	m := newNode(t)
	record := m.record()
	wanted, older := *m.join, m.join
	m.succeeds(spec.KindUpgrade)
	m.succeeds(spec.KindRollback)

	older.KubernetesVersion, older.Bundle = record.Version, spec.Bundle{Name: "x.tar.gz", SHA256: record.Bundle}
	older.Registration.KubeletExtraArgs = []spec.Arg{{Name: "v", Value: "4"}}
	m.succeeds(spec.KindJoin)
	*m.join = wanted
	m.allHeld(spec.KindRollback)
}

func TestAContainerRuntimeThatIsNotArgosysIsNotTouched(t *testing.T) {
	m := newNode(t, func(m *machine) {
		m.join.Containerd.External = true
		m.join.Registration.CRISocket = "unix:///run/own/s"
		critest.Serve(t, critest.New("containerd", "v2.1.4", 0), m.host.Path("/run/own/s"))
		m.write(layout.ContainerdConfig, "# the owner's\n")
		m.write(layout.Unit("containerd"), "# the owner's\n")
	})
	assert.Assert(t, !m.host.Exists("/usr/local/bin/containerd"))
	before, record := m.beside(), m.record()
	m.stopsAfter(spec.KindUpgrade, "kubelet")
	m.write(layout.ContainerdConfig, "# of the owner, who works on it just now\n")
	before[layout.ContainerdConfig] = m.beside()[layout.ContainerdConfig]
	m.succeeds(spec.KindUpgrade)
	m.rollsBack(before, record)
	assert.Equal(t, m.restarted("containerd"), 0, "%v", m.calls)
}

func TestPluginsOnAnotherFileSystemAreCopied(t *testing.T) {
	const elsewhere = "/dev/shm"
	var here, there syscall.Stat_t
	if syscall.Stat(os.TempDir(), &here) != nil || syscall.Stat(elsewhere, &there) != nil || here.Dev == there.Dev {
		t.Skip("there is no other file system")
	}
	dir, err := os.MkdirTemp(elsewhere, "m")
	assert.NilError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	plugin := dir + "/bridge"
	m := newNode(t, func(m *machine) {
		assert.NilError(t, os.MkdirAll(m.host.Path("/opt/cni"), 0o755))
		assert.NilError(t, os.Symlink(dir, m.host.Path("/opt/cni/bin")))
	})
	before := look(t, plugin)
	for _, phase := range []string{"binaries", "healthy"} {
		m.stopsAfter(spec.KindUpgrade, phase)
		assert.Equal(t, look(t, plugin), file{mode: 0o755, content: "bridge " + newer})
		m.succeeds(spec.KindRollback)
		assert.Equal(t, look(t, plugin), before)
		m.allHeld(spec.KindRollback)
	}
	entries, err := os.ReadDir(dir)
	assert.NilError(t, err)
	assert.Equal(t, len(entries), 2, "%v", entries)
	m.succeeds(spec.KindUpgrade)
	m.allHeld(spec.KindUpgrade)
}

func look(t *testing.T, name string) file {
	t.Helper()
	info, err := os.Stat(name)
	assert.NilError(t, err)
	content, err := os.ReadFile(name)
	assert.NilError(t, err)
	return file{mode: info.Mode(), content: string(content)}
}
