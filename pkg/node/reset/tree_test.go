package reset

import (
	"os"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/fault"
	"argosy.dev/argosy/pkg/node/host"
)

// place is a machine that has nothing but files and mounts.
func place(t *testing.T, fstab string, mounts ...string) *machine {
	t.Helper()
	m := &machine{t: t, mounts: mounts, killAfter: -1}
	m.host = &host.Host{Root: t.TempDir(), Runner: m}
	m.write("/etc/fstab", fstab)
	m.writeMounts()
	return m
}

func (m *machine) tree() *tree {
	files, err := newTree(m.host)
	assert.NilError(m.t, err)
	return files
}

func (m *machine) symlink(to, name string) {
	assert.NilError(m.t, os.Symlink(to, m.host.Path(name)))
}

func TestAFolderIsRemovedAndLinksInItLeadNowhere(t *testing.T) {
	m := place(t, "")
	m.write("/var/lib/kubelet/pods/1/file", "x")
	m.write("/srv/precious", "x")
	m.symlink(m.host.Path("/srv"), "/var/lib/kubelet/pods/out")
	m.symlink("../../../../srv", "/var/lib/kubelet/pods/1/out")
	assert.Assert(t, m.tree().left("/var/lib/kubelet"))
	assert.NilError(t, m.tree().clear(t.Context(), "/var/lib/kubelet"))
	assert.Assert(t, !m.host.Exists("/var/lib/kubelet") && m.host.Exists("/srv/precious"))
	assert.Assert(t, !m.tree().left("/var/lib/kubelet"))
	assert.NilError(t, m.tree().clear(t.Context(), "/var/lib/kubelet"), "one that is not there is fine")
}

func TestAFolderThatIsAMountIsEmptiedAndStays(t *testing.T) {
	m := place(t, "", "/var/lib/kubelet")
	m.write("/var/lib/kubelet/pods/1/file", "x")
	assert.Assert(t, m.tree().left("/var/lib/kubelet"))
	assert.NilError(t, m.tree().clear(t.Context(), "/var/lib/kubelet"))
	assert.Assert(t, m.host.Exists("/var/lib/kubelet") && !m.host.Exists("/var/lib/kubelet/pods"))
	assert.Assert(t, !m.tree().left("/var/lib/kubelet"))
}

func TestWhatTheOwnerMountsBeneathIsEmptiedAndStaysWithTheWayThere(t *testing.T) {
	m := place(t, "/dev/sdb /var/lib/kubelet/pods ext4 defaults 0 0\n", "/var/lib/kubelet/pods")
	m.write("/var/lib/kubelet/pods/1/file", "x")
	m.write("/var/lib/kubelet/config.yaml", "x")
	assert.Assert(t, m.tree().left("/var/lib/kubelet"))
	assert.NilError(t, m.tree().clear(t.Context(), "/var/lib/kubelet"))
	assert.Assert(t, m.host.Exists("/var/lib/kubelet/pods") && !m.host.Exists("/var/lib/kubelet/pods/1") && !m.host.Exists("/var/lib/kubelet/config.yaml"))
	assert.Assert(t, !m.tree().left("/var/lib/kubelet"))
}

func TestWhatIsMountedBeneathIsNotEntered(t *testing.T) {
	m := place(t, "", "/var/lib/kubelet/pods/1/volumes/my data", "/var/lib/kubelet/file")
	m.write("/var/lib/kubelet/pods/1/volumes/my data/precious", "x")
	err := m.tree().clear(t.Context(), "/var/lib/kubelet")
	assert.ErrorContains(t, err, `something is mounted on "/var/lib/kubelet/pods/1/volumes/my data"`)
	assert.Equal(t, fault.ClassOf(err), fault.Permanent)
	assert.Assert(t, m.host.Exists("/var/lib/kubelet/pods/1/volumes/my data/precious"))
}

func TestAFolderOnAnotherDiskByALinkIsEmptiedThere(t *testing.T) {
	m := place(t, "", "/data/kubelet/pods/1")
	m.write("/data/kubelet/pods/file", "x")
	assert.NilError(t, os.MkdirAll(m.host.Path("/var/lib"), 0o755))
	m.symlink(m.host.Path("/data/kubelet"), "/var/lib/kubelet")
	points, err := podMounts(m.host)
	assert.NilError(t, err)
	assert.DeepEqual(t, points, []string{"/data/kubelet/pods/1"})
	m.mounts = nil
	m.writeMounts()
	assert.NilError(t, m.tree().clear(t.Context(), "/var/lib/kubelet"))
	assert.DeepEqual(t, m.files(), []string{"/etc/fstab", "/var/lib/kubelet"})
	assert.Assert(t, m.host.Exists("/data/kubelet") && !m.tree().left("/var/lib/kubelet"))
}

func TestALinkIntoTheSystemIsRefused(t *testing.T) {
	m := place(t, "")
	m.write("/etc/passwd", "x")
	assert.NilError(t, os.MkdirAll(m.host.Path("/var/lib"), 0o755))
	m.symlink(m.host.Path("/etc"), "/var/lib/kubelet")
	assert.ErrorContains(t, m.tree().clear(t.Context(), "/var/lib/kubelet"), `it leads to "/etc"`)
	assert.Assert(t, m.host.Exists("/etc/passwd") && m.tree().left("/var/lib/kubelet"))
}

func TestMountsAreTakenAwayInnermostFirstAndTheOwnersStay(t *testing.T) {
	m := place(t, "/dev/sdb /var/lib/kubelet/plugins ext4 defaults 0 0\n",
		"/var/lib/kubelet", "/var/lib/kubelet/plugins", "/var/lib/kubelet/a", "/var/lib/kubelet/a/b", "/var/lib/kubelet/a", "/var/lib/kubeletter")
	m.write("/var/lib/kubelet/file", "x")
	points, err := podMounts(m.host)
	assert.NilError(t, err)
	assert.DeepEqual(t, points, []string{"/var/lib/kubelet/a", "/var/lib/kubelet/a/b", "/var/lib/kubelet/a"})
}
