package reset

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/original"
	"argosy.dev/argosy/pkg/node/spec"
)

const containerdUnit = "/usr/lib/systemd/system/containerd.service"

// owners are the originals, by path: content, or "-> target".
var owners = map[string]string{
	"/usr/local/bin/runc":                "the owner's runc",
	"/usr/local/bin/ctr":                 "-> /opt/tools/ctr",
	"/opt/cni/bin/bridge":                "the owner's bridge",
	layout.ContainerdConfig:              "# the owner's, with a runtime of nvidia's\n",
	layout.Unit("containerd"):            "[Unit]\n# an override of the owner's\n",
	layout.EnabledLink("containerd"):     "-> " + containerdUnit,
	layout.SysctlFile:                    "# the owner's\n",
	"/opt/registries/quay.io/hosts.toml": "# the owner's\n",
}

var longAgo = time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)

// newNotedNode is newNode as this version joins it: the originals are in the note.
func newNotedNode(t *testing.T) *machine {
	t.Helper()
	m := newNode(t)
	assert.NilError(t, os.RemoveAll(m.host.Path(layout.Previous("/usr/local/bin"))))
	for _, name := range []string{layout.ContainerdConfig, "/opt/registries/quay.io/hosts.toml"} {
		assert.NilError(t, m.host.Remove(name+layout.KeptSuffix))
	}
	ours := map[string]string{}
	for _, name := range m.installedPaths() {
		if target, err := os.Readlink(m.host.Path(name)); err == nil {
			ours[name] = "-> " + target
			assert.NilError(t, m.host.Remove(name))
			continue
		}
		// Aside, so that a program is the bundle's file again afterwards.
		ours[name] = name + ".ours"
		assert.NilError(t, m.host.Rename(name, ours[name]))
	}
	m.bring(owners)
	for _, name := range m.installedPaths() {
		file := original.File{Name: name, Program: strings.Contains(name, "/bin/")}
		if target, is := strings.CutPrefix(ours[name], "-> "); is {
			file.Link = target
		} else if content, err := m.host.ReadFile(ours[name]); err == nil {
			file.SHA256 = original.DigestOf(content)
		}
		_, err := original.Take(m.host, file)
		assert.NilError(t, err)
	}
	for name, was := range ours {
		assert.NilError(t, m.host.Remove(name))
		if target, is := strings.CutPrefix(was, "-> "); is {
			assert.NilError(t, m.host.Link(target, name))
		} else {
			assert.NilError(t, m.host.Rename(was, name))
		}
	}
	return m
}

// installedPaths are those that installed has written, without Argosy's own folder and its stores.
func (m *machine) installedPaths() []string {
	return []string{
		"/usr/local/bin/kubelet", "/usr/local/bin/kubeadm", "/usr/local/bin/containerd", "/usr/local/bin/ctr",
		"/usr/local/bin/runc", "/usr/local/bin/containerd-shim-runc-v2", "/opt/cni/bin/bridge",
		layout.ContainerdConfig, layout.RegistryLogins,
		layout.RegistriesDir + "/mirror.example.org/hosts.toml", "/opt/registries/mirror.example.org_5000_/hosts.toml",
		"/opt/registries/quay.io/hosts.toml", layout.KubeletDropIn, layout.ModulesFile, layout.SysctlFile,
		layout.Unit("kubelet"), layout.EnabledLink("kubelet"),
		layout.Unit("containerd"), layout.EnabledLink("containerd"),
	}
}

// bring writes the owner's files, with modes and times of their own.
func (m *machine) bring(files map[string]string) {
	for name, content := range files {
		if target, is := strings.CutPrefix(content, "-> "); is {
			assert.NilError(m.t, m.host.Link(target, name))
			continue
		}
		m.write(name, content)
		assert.NilError(m.t, os.Chmod(m.host.Path(name), 0o750))
		if os.Geteuid() == 0 {
			assert.NilError(m.t, os.Chown(m.host.Path(name), 1, 2))
		}
		assert.NilError(m.t, os.Chtimes(m.host.Path(name), longAgo, longAgo))
	}
}

// assertOwners makes sure that everything stands there again as it did before Argosy.
func assertOwners(t *testing.T, m *machine) {
	t.Helper()
	wanted := newMachineOf(t, owners)
	for name := range owners {
		assert.Equal(t, looks(t, m.host, name), looks(t, wanted, name), name)
	}
	owned := func(name string) bool { return owners[name] != "" }
	assert.DeepEqual(t, slices.DeleteFunc(m.files(), owned), slices.DeleteFunc(slices.Clone(stays), owned))
}

// newMachineOf has nothing but the owner's files.
func newMachineOf(t *testing.T, files map[string]string) *host.Host {
	t.Helper()
	m := &machine{t: t, host: &host.Host{Root: t.TempDir()}}
	m.bring(files)
	return m.host
}

// writeNote replaces the note.
func (m *machine) writeNote(note *original.Note) {
	data, err := json.Marshal(note)
	assert.NilError(m.t, err)
	m.write(original.Dir+"/index.json", string(data))
}

// looks is content, mode, time and owner of a file, or where a link leads.
func looks(t *testing.T, h *host.Host, name string) string {
	t.Helper()
	info, err := os.Lstat(h.Path(name))
	assert.NilError(t, err)
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(h.Path(name))
		assert.NilError(t, err)
		return "-> " + target
	}
	content, err := h.ReadFile(name)
	assert.NilError(t, err)
	return strings.Join([]string{
		string(content), info.Mode().String(), info.ModTime().UTC().String(), ownerOf(info),
	}, " ")
}

func TestWhatStoodThereBeforeComesBackExactly(t *testing.T) {
	m := newNotedNode(t)
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)
	assertOwners(t, m)
	m.calls = nil
	status, log = m.reset()
	assert.Assert(t, !status.Changed, log)
	assertOwners(t, m)
}

func TestKilledResetWithNoteIsFinishedByTheNext(t *testing.T) {
	whole := newNotedNode(t)
	changes := 0
	whole.host.Before = func(host.Change) error { changes++; return nil }
	status, log := whole.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)
	for cut := 3; cut < changes; cut += 1 + changes/40 {
		m := newNotedNode(t)
		left := cut
		m.host.Before = func(host.Change) error {
			if left--; left < 0 {
				return errKilled
			}
			return nil
		}
		_ = m.store.WriteOperation(m.operation)
		_, _ = m.engine().Run(t.Context(), m.operation.ID, t.Context(), &strings.Builder{})
		m.host.Before = nil
		status, log := m.reset()
		assert.Equal(t, status.State, spec.Succeeded, "cut after %d changes: %s", cut, log)
		assertOwners(t, m)
	}
}

func TestWhatSomebodyPutThereSinceStaysAndIsNamed(t *testing.T) {
	m := newNotedNode(t)
	for _, name := range []string{"/usr/local/bin/runc", layout.SysctlFile} {
		assert.NilError(t, m.host.Remove(name))
		m.write(name, "another's")
	}
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)
	for _, name := range []string{"/usr/local/bin/runc", layout.SysctlFile} {
		assert.Assert(t, m.host.Holds(name, []byte("another's")), name)
		assert.Assert(t, strings.Contains(log, name), log)
	}
	assert.Assert(t, strings.Contains(log, "it is neither Argosy's nor the original"), log)
}

func TestAnEditOfArgosysFileIsKeptByAReset(t *testing.T) {
	m := newNotedNode(t)
	written, err := m.host.ReadFile(layout.ContainerdConfig)
	assert.NilError(t, err)
	edited := string(written) + "# and a runtime of nvidia's\n"
	m.write(layout.ContainerdConfig, edited)
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)
	kept, err := filepath.Glob(m.host.Path(layout.ContainerdConfig) + ".edited-*")
	assert.NilError(t, err)
	assert.Equal(t, len(kept), 1)
	content, err := os.ReadFile(kept[0])
	assert.NilError(t, err)
	assert.Equal(t, string(content), edited)
	assert.Assert(t, strings.Contains(log, "edits on the machine are kept as "+layout.ContainerdConfig+".edited-"), log)
	assert.NilError(t, os.Remove(kept[0]))
	assertOwners(t, m)
}

func TestRestoredLinkOfRemovedPackageIsNoNode(t *testing.T) {
	m := newNotedNode(t)
	link := layout.EnabledLink("kubelet")
	m.bring(map[string]string{link: "-> /usr/lib/systemd/system/kubelet.service"})
	note, err := original.Read(m.host)
	assert.NilError(t, err)
	note.Of(link).Kind, note.Of(link).Target = original.Symlink, "/usr/lib/systemd/system/kubelet.service"
	m.writeNote(note)
	assert.NilError(t, m.host.Link(layout.Unit("kubelet"), link))
	for range 2 {
		status, log := m.reset()
		assert.Equal(t, status.State, spec.Succeeded, log)
		assert.Equal(t, looks(t, m.host, link), "-> /usr/lib/systemd/system/kubelet.service")
	}
}

func TestAnAuthorityOfTheOwnersComesBack(t *testing.T) {
	const name = "/etc/pki/site/cluster.crt"
	m := newNotedNode(t)
	m.operation.Reset.CACertPath = name
	m.write(name, m.ca.PEM+"# the owner's\n")
	_, err := original.Take(m.host, original.File{Name: name})
	assert.NilError(t, err)
	assert.NilError(t, m.host.Remove(name))
	m.write(name, m.ca.PEM)
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)
	assert.Assert(t, m.host.Holds(name, []byte(m.ca.PEM+"# the owner's\n")))
}

func TestAConfigurationOfFlannelOfBeforeStaysOrComesBack(t *testing.T) {
	for name, addon := range map[string]string{
		"another network is used": "", "the addon replaced it": `{"name":"cbr0"}`,
	} {
		t.Run(name, func(t *testing.T) {
			m := newNotedNode(t)
			m.write(layout.FlannelConf, "the owner's")
			_, err := original.Take(m.host, original.File{Name: layout.FlannelConf, InPlace: true})
			assert.NilError(t, err)
			m.write("/opt/cni/bin/flannel", "a plugin")
			if addon != "" {
				m.write(layout.FlannelConf, addon)
			}
			for range 2 {
				status, log := m.reset()
				assert.Equal(t, status.State, spec.Succeeded, log)
				assert.Assert(t, m.host.Holds(layout.FlannelConf, []byte("the owner's")))
				assert.Equal(t, m.host.Exists("/opt/cni/bin/flannel"), addon == "")
			}
		})
	}
}

func TestTheProofComparesWithTheNote(t *testing.T) {
	m := newNotedNode(t)
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)

	m = newNotedNode(t)
	_, err := removeBinaries(t.Context(), m.nodeContext())
	assert.NilError(t, err)
	assert.NilError(t, m.host.Remove("/usr/local/bin/runc"))
	left, err := findBinaries(t.Context(), m.nodeContext())
	assert.NilError(t, err)
	assert.DeepEqual(t, left, []string{"/usr/local/bin/runc, which replaced the original"})
}

func TestDamagedNoteIsSetAsideByReset(t *testing.T) {
	m := newNotedNode(t)
	const image = containerdRoot + "/io.containerd.content.v1.content/blobs/sha256/0123"
	m.write(image, "perhaps the owner's")
	m.write(original.Dir+"/index.json", "")
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)
	assert.Assert(t, m.host.Exists(image), "the note may have told that it was there before")
	assert.Assert(t, strings.Contains(log, containerdRoot+" stays, since the note"), log)
	assert.Assert(t, strings.Contains(log, "none of them was restored: see "+unreadableNote), log)
	kept, err := filepath.Glob(m.host.Path(unreadableNote) + "/*-runc")
	assert.NilError(t, err)
	assert.Equal(t, len(kept), 1)
	assert.Assert(t, !m.host.Exists(layout.Unit("kubelet")) && !m.host.Exists("/usr/local/bin/kubelet"))
	status, log = m.reset()
	assert.Assert(t, !status.Changed, log)
}
