package upgrade

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/nodetest"
	"argosy.dev/argosy/pkg/node/original"
	"argosy.dev/argosy/pkg/node/spec"
)

func TestStageAddsOnlyBundleAndImages(t *testing.T) {
	m := newNode(t)
	before, running := m.beside(), m.runs["kubelet"]
	status := m.succeeds(spec.KindStage)
	assert.Assert(t, status.Changed)
	assert.Assert(t, m.host.Exists(layout.Store(m.join.BinariesPath)+"/"+m.join.Bundle.SHA256+"/release/kubelet"))
	assert.Equal(t, m.called("ctr "), 1, "%v", m.calls)
	assert.Equal(t, len(m.calls), 1, "%v", m.calls)
	m.same(before, m.beside())
	assert.Equal(t, m.runs["kubelet"], running)
	assert.Assert(t, !m.host.Exists(keptFile))
	m.allHeld(spec.KindStage)
}

func TestUpgradeRestartsEachServiceOnce(t *testing.T) {
	m := newNode(t)
	was := m.record()
	m.succeeds(spec.KindUpgrade)
	store := layout.Store(m.join.BinariesPath) + "/" + m.join.Bundle.SHA256
	assert.DeepEqual(t, slices.DeleteFunc(slices.Clone(m.calls), func(call string) bool { return call[:4] == "ctr " }),
		[]string{
			"kubeadm upgrade node",
			"systemctl daemon-reload", "systemctl restart containerd.service",
			"systemctl daemon-reload", "systemctl try-restart kubelet.service",
		})
	now, before := m.files(), was
	for _, name := range []string{"kubelet", "kubeadm", "kubectl", "containerd", "runc", "ctr"} {
		assert.Equal(t, now["/usr/local/bin/"+name], now[store+"/release/"+name], name)
	}
	assert.Equal(t, now["/opt/cni/bin/bridge"].content, "bridge "+newer)
	before.Version, before.Bundle = newer, m.join.Bundle.SHA256
	assert.Equal(t, m.record(), before, "the record is that of the newer version, of the same join")
	m.allHeld(spec.KindUpgrade)
}

func TestKubeadmUpgradesWithoutTheChecksThatAreIgnored(t *testing.T) {
	m := newNode(t)
	m.join.Registration.IgnorePreflightErrors = []string{"SystemVerification", "NodeRemains", "Mem"}
	m.succeeds(spec.KindUpgrade)
	assert.Equal(t, m.called("kubeadm upgrade node --ignore-preflight-errors=SystemVerification,Mem"), 1, "%v", m.calls)
}

func TestTheNewKubeadmUpgradesTheConfigurationBeforeProgramsAreSwapped(t *testing.T) {
	m := newNode(t)
	old := m.files()["/usr/local/bin/kubelet"]
	m.stopsAfter(spec.KindUpgrade, "kubeadm")
	assert.Equal(t, m.read(layout.KubeletConfig), "# of kubeadm "+newer+"\n"+m.clusterConfig)
	assert.Equal(t, m.files()["/usr/local/bin/kubelet"], old)
	assert.Equal(t, m.restarted("kubelet"), 0)
	m.stopsAfter(spec.KindUpgrade, "binaries")
	assert.Assert(t, m.files()["/usr/local/bin/kubelet"].inode != old.inode)
	assert.Equal(t, m.read(kubeletExe), old.content, "the kubelet that runs keeps its file")
	assert.Equal(t, m.called("kubeadm"), 1, "it is not run again")
}

func TestContainerdIsOnlyRestartedWhenItsProgramOrConfigurationChanges(t *testing.T) {
	// The pause image is in containerd's configuration, and each bundle has its own.
	samePause := func(m *machine) { m.join.Containerd.PauseImage = "registry.k8s.io/pause:" + older[1:] }
	for name, test := range map[string]struct {
		containerd string
		change     func(m *machine)
		restarts   int
	}{
		"nothing changes": {containerd: "2.0.1"},
		"another program": {containerd: "2.1.4", restarts: 1},
		"another configuration": {
			containerd: "2.0.1",
			change:     func(m *machine) { m.join.Containerd.CgroupDriver = "cgroupfs" }, restarts: 1,
		},
		"new logins": {containerd: "2.0.1", restarts: 1, change: func(m *machine) {
			m.logins = map[string]spec.RegistryLogin{"registry.example.org": {Username: "u", Password: "p"}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newNode(t, samePause)
			m.receive(newer, bundleOf(t, newer, test.containerd))
			if test.change != nil {
				test.change(m)
			}
			before := m.beside()
			m.succeeds(spec.KindUpgrade)
			assert.Equal(t, m.restarted("containerd"), test.restarts, "%v", m.calls)
			assert.Equal(t, m.restarted("kubelet"), 1, "%v", m.calls)

			m.calls = nil
			m.succeeds(spec.KindRollback)
			assert.Equal(t, m.restarted("containerd"), test.restarts, "%v", m.calls)
			assert.Equal(t, m.restarted("kubelet"), 1, "%v", m.calls)
			if test.restarts > 0 {
				m.same(before, m.beside())
			}
		})
	}
}

func TestUpgradeAppliesKubeletSettingsWithoutAnotherRestart(t *testing.T) {
	m := newNode(t)
	m.configured("maxPods: 50\n")
	m.join.Registration.KubeletExtraArgs = []spec.Arg{{Name: "v", Value: "3"}}
	m.succeeds(spec.KindUpgrade)
	assert.Equal(t, m.restarted("kubelet"), 1, "%v", m.calls)
	assert.Equal(t, m.runs["kubelet"], m.read("/usr/local/bin/kubelet")+"\n# of kubeadm "+newer+"\n"+m.clusterConfig+
		`KUBELET_KUBEADM_ARGS="--hostname-override=m1 --of=`+newer+` --v=3"`+"\n")
	m.allHeld(spec.KindUpgrade)
}

func TestStoppedUpgradeIsFinishedByTheNext(t *testing.T) {
	wanted := upgraded(t)
	for _, phase := range Phases() {
		t.Run(phase.Name, func(t *testing.T) {
			m := newNode(t)
			before := m.beside()
			m.stopsAfter(spec.KindUpgrade, phase.Name)
			m.finishes(before, wanted)
			assert.Equal(t, m.restarted("kubelet"), 1, "%v", m.calls)
			assert.Equal(t, m.restarted("containerd"), 1, "%v", m.calls)
		})
	}
}

// finishes runs the rest of an upgrade, and checks that the wanted files are there and that the kept files are those
// from before all of it.
func (m *machine) finishes(before map[string]file, wanted []string) {
	m.t.Helper()
	m.succeeds(spec.KindUpgrade)
	calls := m.calls
	m.allHeld(spec.KindUpgrade)
	m.keeps(before)
	assert.Equal(m.t, m.record().Version, newer)
	assert.DeepEqual(m.t, slices.Sorted(maps.Keys(m.beside())), wanted)
	m.calls = calls
}

// upgraded are the files of a machine whose upgrade was not cut off.
func upgraded(t *testing.T) []string {
	m := newNode(t)
	m.succeeds(spec.KindUpgrade)
	return slices.Sorted(maps.Keys(m.beside()))
}

// keeps checks that the kept files are as they were, byte for byte, and readable by root alone.
func (m *machine) keeps(before map[string]file) {
	m.t.Helper()
	known, err := readKept(m.host)
	assert.NilError(m.t, err)
	kept := m.files()
	for _, one := range known.Files {
		was, there := before[one.Name]
		assert.Equal(m.t, one.Copy != "", there, one.Name)
		if !there {
			continue
		}
		assert.Equal(m.t, kept[one.Copy].content, was.content, one.Name)
		assert.Equal(m.t, one.Mode, was.mode, one.Name)
		if !one.Binary {
			assert.Equal(m.t, kept[one.Copy].mode, os.FileMode(0o600), one.Name)
		}
	}
	for _, dir := range []string{keptDir, keptBinaries(m.join)} {
		info, err := os.Stat(m.host.Path(dir))
		assert.NilError(m.t, err)
		assert.Equal(m.t, info.Mode().Perm(), os.FileMode(0o700), dir)
	}
}

func TestKilledUpgradeIsFinishedByTheNext(t *testing.T) {
	wanted := upgraded(t)
	for killed := 0; ; killed++ {
		m := newNode(t)
		before := m.beside()
		m.killAfter = killed
		status := m.runsKind(spec.KindUpgrade)
		m.killAfter = -1
		if status.State == spec.Succeeded {
			assert.Assert(t, killed > 4, "%d calls", killed)
			return
		}
		m.finishes(before, wanted)
	}
}

func TestAMachineThatIsNotTheNodeIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(m *machine)
		says   string
	}{
		"another cluster's": {
			func(m *machine) { m.join.CACert = nodetest.NewAuthority(m.t, "kubernetes").PEM },
			"the kubelet trusts another cluster",
		},
		"another node": {
			func(m *machine) { m.joined("m2") },
			`the kubelet's certificate is for node "m2", not "m1"`,
		},
		"no node": {
			func(m *machine) { assert.NilError(m.t, m.host.Remove(inspect.KubeletConf)) },
			"node m1 has to join",
		},
		"somebody else's kubelet": {
			func(m *machine) { m.write(layout.Unit("kubelet"), "[Service]\n") },
			"A kubelet that Argosy did not install",
		},
		"no record": {
			func(m *machine) { assert.NilError(m.t, m.host.Remove(spec.RecordFile)) },
			"submit workflow join first",
		},
		"the record of another cluster": {func(m *machine) {
			record := m.record()
			record.ClusterUID, record.Cluster = "uid-b", "team-b"
			assert.NilError(m.t, m.store.WriteRecord(&record))
		}, `the machine's record is of node "m1" of cluster "team-b"`},
		"cgroup v1": {func(m *machine) {
			m.receive("v1.35.0", bundleOf(m.t, "v1.35.0", "2.1.4"))
			assert.NilError(m.t, m.host.Remove("/sys/fs/cgroup/cgroup.controllers"))
		}, "The machine has cgroup v1"},
		"a version that is none": {
			func(m *machine) { m.join.KubernetesVersion = "newest" },
			"is not of the form v1.34.4",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newNode(t)
			test.change(m)
			before := m.files()
			for _, kind := range []spec.Kind{spec.KindStage, spec.KindUpgrade} {
				status := m.fails(kind)
				assert.Equal(t, status.Phase, "preflight")
				assert.Assert(t, strings.Contains(status.Message, test.says), status.Message)
				assert.Assert(t, status.Error.Class != errclass.Transient)
				assert.Equal(t, m.plan(kind).State, spec.Failed)
			}
			assert.Equal(t, len(m.calls), 0, "%v", m.calls)
			m.same(before, m.files())
		})
	}
}

func TestBundlesOfOlderVersionsAreRemovedAfterAnUpgrade(t *testing.T) {
	m := newNode(t)
	first, store := m.record().Bundle, layout.Store(m.join.BinariesPath)
	m.write(store+"/.unpack-"+strings.Repeat("0", 64)+"/release/kubelet", "left by a crash")
	m.write(store+"/.old-"+strings.Repeat("1", 64)+"/release/kubelet", "left by a crash")
	m.succeeds(spec.KindUpgrade)
	second := m.join.Bundle.SHA256
	assert.DeepEqual(t, m.bundles(), sorted(first, second))

	m.receive("v1.35.0", bundleOf(t, "v1.35.0", "2.1.4"))
	m.succeeds(spec.KindStage)
	third := m.join.Bundle.SHA256
	assert.DeepEqual(t, m.bundles(), sorted(first, second, third))
	m.succeeds(spec.KindUpgrade)
	assert.DeepEqual(t, m.bundles(), sorted(second, third))
	m.allHeld(spec.KindUpgrade)

	m.succeeds(spec.KindRollback)
	assert.Equal(t, m.record().Bundle, second)
	assert.DeepEqual(t, m.bundles(), sorted(second, third))
}

// bundles returns the folders in the store, without those of kept files.
func (m *machine) bundles() []string {
	entries, err := os.ReadDir(m.host.Path(layout.Store(m.join.BinariesPath)))
	assert.NilError(m.t, err)
	var names []string
	for _, entry := range entries {
		if name := entry.Name(); name != "previous" && name != "kept" {
			names = append(names, name)
		}
	}
	return names
}

func sorted(names ...string) []string {
	slices.Sort(names)
	return names
}

// noted is the content of the file that is noted to have stood at a path; "nothing" for none.
func (m *machine) noted(name string) string {
	m.t.Helper()
	note, err := original.Read(m.host)
	assert.NilError(m.t, err)
	entry := note.Of(name)
	assert.Assert(m.t, entry != nil, "%s is not noted", name)
	if entry.Kind == original.Regular {
		return m.read(filepath.Join(original.Dir, entry.Copy))
	}
	return string(entry.Kind)
}

func TestWhatTheMachinesOwnerHadSurvivesUpgradesAndRollbacks(t *testing.T) {
	m := newNode(t, func(m *machine) { m.write("/usr/local/bin/runc", "the owner's") })
	wanted := bundleOf(t, newer, "2.1.4")
	for _, kind := range []spec.Kind{spec.KindUpgrade, spec.KindRollback, spec.KindUpgrade} {
		m.receive(newer, wanted)
		m.succeeds(kind)
		assert.Equal(t, m.noted("/usr/local/bin/runc"), "the owner's")
		assert.Equal(t, m.noted("/usr/local/bin/kubelet"), "nothing")
	}
	edited, err := filepath.Glob(m.host.Path("/*/*/*/*.edited-*"))
	assert.NilError(t, err)
	assert.Equal(t, len(edited), 0, "%v: no one edited anything", edited)
}

var longAgo = time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)

func (m *machine) modTime(name string) time.Time {
	m.t.Helper()
	info, err := os.Lstat(m.host.Path(name))
	assert.NilError(m.t, err)
	return info.ModTime()
}

// A rollback restores a registry's file of the owner's that an upgrade replaced, and replaces one that an upgrade gave
// back to the owner; at each time the note has the originals for a reset.
func TestUpgradeKeepsNoteOfOwnersFiles(t *testing.T) {
	const name, owners = layout.RegistriesDir + "/docker.io/hosts.toml", "# the owner's\n"
	mirrors := map[string]spec.Mirror{"docker.io": {Hosts: []spec.MirrorHost{{Server: "http://192.0.2.9:5000"}}}}
	for text, test := range map[string]struct{ before, after map[string]spec.Mirror }{
		"replaces": {nil, mirrors},
		"restores": {mirrors, nil},
	} {
		t.Run(text, func(t *testing.T) {
			m := newNode(t, func(m *machine) {
				m.write(name, owners)
				assert.NilError(t, os.Chmod(m.host.Path(name), 0o640))
				assert.NilError(t, os.Chtimes(m.host.Path(name), longAgo, longAgo))
				m.join.Containerd.Registry.Mirrors = test.before
			})
			was, at := m.read(name), m.modTime(name)
			m.join.Containerd.Registry.Mirrors = test.after
			m.succeeds(spec.KindUpgrade)
			assert.Assert(t, m.read(name) != was)
			m.succeeds(spec.KindRollback)
			assert.Equal(t, m.read(name), was)
			assert.Assert(t, was != owners || m.modTime(name).Equal(at), "the owner's file has its time again")
			assert.Equal(t, m.noted(name), owners)
			note, err := original.Read(m.host)
			assert.NilError(t, err)
			assert.NilError(t, note.Restore(m.host, name))
			info, err := os.Stat(m.host.Path(name))
			assert.NilError(t, err)
			assert.Equal(t, info.Mode(), os.FileMode(0o640))
			assert.Equal(t, m.read(name), owners)
		})
	}
}
