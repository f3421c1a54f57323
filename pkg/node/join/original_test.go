package join

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/original"
	"argosy.dev/argosy/pkg/node/spec"
)

// before is the content of the file that is noted to have stood at a path; "nothing" for none.
func (m *machine) before(name string) string {
	m.t.Helper()
	note, err := original.Read(m.host)
	assert.NilError(m.t, err)
	entry := note.Of(name)
	assert.Assert(m.t, entry != nil, "%s is not noted", name)
	switch entry.Kind {
	case original.Regular:
		return m.read(filepath.Join(original.Dir, entry.Copy))
	case original.Symlink:
		return "-> " + entry.Target
	}
	return string(entry.Kind)
}

// receiveAgain brings the same bundle once more, as when its folder was damaged, or was unpacked by another join.
func (m *machine) receiveAgain(files map[string]string) {
	m.t.Helper()
	m.receive(m.archive(files))
	assert.NilError(m.t, os.RemoveAll(m.host.Path(bundleDir(m.join))))
	apply(m.t, m, applyBundle)
}

func TestABundleThatIsReceivedAgainIsNotTheOwners(t *testing.T) {
	m := newMachine(t)
	m.write("/usr/local/bin/runc", "the owner's")
	m.write("/opt/runtimes/crictl", "the owner's")
	assert.NilError(t, m.host.Link("/opt/runtimes/crictl", "/usr/local/bin/ctr"))
	m.withBundle()
	apply(t, m, applyBinaries)
	files := bundleFiles()
	files["cni/bin/vlan"] = "vlan"
	for range 2 {
		m.receiveAgain(files)
		detail := apply(t, m, applyBinaries)
		assert.Assert(t, !strings.Contains(detail, "are kept as"), detail)
		for name, was := range map[string]string{
			"/usr/local/bin/runc": "the owner's", "/usr/local/bin/ctr": "-> /opt/runtimes/crictl",
			"/usr/local/bin/kubectl": "nothing", "/opt/cni/bin/vlan": "nothing",
		} {
			assert.Equal(t, m.before(name), was, name)
		}
	}
}

func TestWhatAVersionBeforeTheNoteKeptIsNotedOnce(t *testing.T) {
	m := newMachine(t).withBundle()
	apply(t, m, applyBinaries)
	// As a version before the note left it, after a bundle that was received again.
	assert.NilError(t, os.RemoveAll(m.host.Path(original.Dir)))
	previous := layout.Previous(m.join.BinariesPath)
	m.write(previous+"/runc", "the owner's")
	m.write(previous+"/kubectl", bundleFiles()["kubectl"])
	m.write(layout.ContainerdConfig, inspect.Mark+" of an older version\n")
	m.write(layout.ContainerdConfig+layout.KeptSuffix, "# the owner's\n")
	m.receiveAgain(bundleFiles())
	m.socket()
	apply(t, m, applyBinaries)
	detail := apply(t, m, applyContainerd)
	for name, was := range map[string]string{
		"/usr/local/bin/runc": "the owner's", "/usr/local/bin/kubectl": "nothing", "/usr/local/bin/kubelet": "nothing",
		layout.ContainerdConfig: "# the owner's\n", layout.Unit("containerd"): "nothing",
	} {
		assert.Equal(t, m.before(name), was, name)
	}
	assert.Assert(t, !m.host.Exists(previous+"/runc") && !m.host.Exists(layout.ContainerdConfig+layout.KeptSuffix))
	assert.Assert(t, strings.Contains(detail, "config.toml.edited-"), detail) // which nobody can tell any more
}

func TestEditOfArgosysFileIsKeptWhenReplaced(t *testing.T) {
	m := newMachine(t).withBundle()
	m.socket()
	apply(t, m, applyContainerd)
	edited := strings.Replace(m.read(layout.ContainerdConfig), "runc", "nvidia", 1)
	m.write(layout.ContainerdConfig, edited)
	assert.Assert(t, !holds(t, m, checkContainerd))
	detail := apply(t, m, applyContainerd)
	_, kept, parts := strings.Cut(detail, "; edits on the machine are kept as ")
	assert.Assert(t, parts, detail)
	assert.Equal(t, m.read(kept), edited)

	// A change of the documents is no edit.
	m.join.Containerd.PauseImage = "registry.k8s.io/pause:3.10"
	detail = apply(t, m, applyContainerd)
	assert.Equal(t, detail, "containerd started")
	assert.Equal(t, m.before(layout.ContainerdConfig), "nothing")
}

func TestADistributionsUnitAndItsLinkAreNoted(t *testing.T) {
	m := newMachine(t).withBundle()
	m.socket()
	assert.NilError(t, m.host.Link("/usr/lib/systemd/system/containerd.service", layout.EnabledLink("containerd")))
	assert.NilError(t, m.host.Link("/dev/null", layout.Unit("containerd")))
	apply(t, m, applyContainerd)
	assert.Equal(t, m.before(layout.EnabledLink("containerd")), "-> /usr/lib/systemd/system/containerd.service")
	assert.Equal(t, m.before(layout.Unit("containerd")), "-> /dev/null")
}

func TestTheOwnersKernelFilesAreNoted(t *testing.T) {
	m := newMachine(t)
	m.write(layout.SysctlFile, "# the owner's\n")
	apply(t, m, applyKernel)
	assert.Equal(t, m.before(layout.SysctlFile), "# the owner's\n")
	assert.Equal(t, m.before(layout.ModulesFile), "nothing")
}

func TestCustomAuthorityPathIsNotedBeforeKubeadm(t *testing.T) {
	m := newMachine(t)
	m.join.Registration.CACertPath = "/etc/pki/site/cluster.crt"
	m.write("/etc/pki/site/cluster.crt", m.ca.PEM)
	assert.NilError(t, noteClusterCA(m.context))
	m.remove("/etc/pki/site/cluster.crt") // as is done before kubeadm writes its own
	m.write("/etc/pki/site/cluster.crt", "half of it")
	assert.NilError(t, noteClusterCA(m.context))
	assert.Equal(t, m.before("/etc/pki/site/cluster.crt"), m.ca.PEM)
}

func TestFlannelConfigurationIsNotedOnceBeforeTheAddon(t *testing.T) {
	m := newMachine(t)
	m.write(layout.FlannelConf, "the owner's")
	assert.NilError(t, noteFlannel(m.host))
	// As cp does it.
	assert.NilError(t, os.WriteFile(m.host.Path(layout.FlannelConf), []byte("the addon's"), 0o600))
	assert.NilError(t, noteFlannel(m.host))
	assert.Equal(t, m.before(layout.FlannelConf), "the owner's")
	assert.DeepEqual(t, inspect.NetworkConfigs(m.host), []string{layout.FlannelConf})
	edits, err := filepath.Glob(m.host.Path(layout.FlannelConf) + ".edited-*")
	assert.NilError(t, err)
	assert.Equal(t, len(edits), 0)

	older := newMachine(t) // joined before there was this note
	older.write(layout.FlannelConf, "the addon's")
	older.write(inspect.KubeletConf, "x")
	assert.NilError(t, noteFlannel(older.host))
	note, err := original.Read(older.host)
	assert.NilError(t, err)
	assert.Assert(t, note.Of(layout.FlannelConf) == nil)
}

func TestAJoinStopsWhereTheNoteCannotBeRead(t *testing.T) {
	m := newMachine(t).withBundle()
	m.write("/usr/local/bin/runc", "the owner's")
	m.write(original.Dir+"/index.json", "")
	for _, apply := range []func() error{
		func() error { _, err := applyBinaries(t.Context(), m.context); return err },
		func() error { _, err := applyKernel(t.Context(), m.context); return err },
		func() error { _, err := applyContainerd(t.Context(), m.context); return err },
		func() error { _, err := applyKubelet(t.Context(), m.context); return err },
	} {
		assert.ErrorIs(t, apply(), node.ErrUnreadable)
	}
	assert.Equal(t, m.read("/usr/local/bin/runc"), "the owner's")
	assert.Assert(t, !m.host.Exists(spec.Root+"/containerd.applied"))
}
