package reset

import (
	"os"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
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

func TestOwnersMountsAreEmptiedAndStay(t *testing.T) {
	m := place(t, "/dev/sdb /var/lib/kubelet/pods ext4 defaults 0 0\n", "/var/lib/kubelet/pods")
	m.write("/var/lib/kubelet/pods/1/file", "x")
	m.write("/var/lib/kubelet/config.yaml", "x")
	assert.Assert(t, m.tree().left("/var/lib/kubelet"))
	assert.NilError(t, m.tree().clear(t.Context(), "/var/lib/kubelet"))
	assert.Assert(t, m.host.Exists("/var/lib/kubelet/pods") && !m.host.Exists("/var/lib/kubelet/pods/1") &&
		!m.host.Exists("/var/lib/kubelet/config.yaml"))
	assert.Assert(t, !m.tree().left("/var/lib/kubelet"))
}

func TestWhatIsMountedBeneathIsNotEntered(t *testing.T) {
	m := place(t, "", "/var/lib/kubelet/pods/1/volumes/my data", "/var/lib/kubelet/file")
	m.write("/var/lib/kubelet/pods/1/volumes/my data/precious", "x")
	err := m.tree().clear(t.Context(), "/var/lib/kubelet")
	assert.ErrorContains(t, err, `something is mounted on "/var/lib/kubelet/pods/1/volumes/my data"`)
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
	assert.Assert(t, m.host.Exists("/var/lib/kubelet/pods/1/volumes/my data/precious"))
}

func TestLinkedFolderIsEmptied(t *testing.T) {
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
		"/var/lib/kubelet", "/var/lib/kubelet/plugins", "/var/lib/kubelet/pods/a", "/var/lib/kubelet/pods/a/b",
		"/var/lib/kubelet/pods/a", "/var/lib/kubeletter", "/var/lib/kubelet/owners")
	m.write("/var/lib/kubelet/file", "x")
	points, err := podMounts(m.host)
	assert.NilError(t, err)
	assert.DeepEqual(t, points, []string{
		"/var/lib/kubelet/pods/a", "/var/lib/kubelet/pods/a/b",
		"/var/lib/kubelet/pods/a",
	})
}

func TestFstabIsReadAsTheSystemReadsIt(t *testing.T) {
	for name, test := range map[string]struct{ field, point string }{
		"a blank":                {`/var/lib/kubelet/pods/my\040data`, "/var/lib/kubelet/pods/my data"},
		"a tab":                  {`/var/lib/kubelet/pods/a\011b`, "/var/lib/kubelet/pods/a\tb"},
		"a line's end":           {`/var/lib/kubelet/pods/a\012b`, "/var/lib/kubelet/pods/a\nb"},
		"a backslash":            {`/var/lib/kubelet/pods/a\134b`, `/var/lib/kubelet/pods/a\b`},
		"an escaped escape":      {`/var/lib/kubelet/pods/a\134040b`, `/var/lib/kubelet/pods/a\040b`},
		"a slash at the end":     {"/var/lib/kubelet/pods/data/", "/var/lib/kubelet/pods/data"},
		"two slashes":            {"/var/lib//kubelet/pods/data", "/var/lib/kubelet/pods/data"},
		"a link on the way":      {"/srv/kubelet/pods/data", "/var/lib/kubelet/pods/data"},
		"what looks like escape": {`/var/lib/kubelet/pods/a\9b`, `/var/lib/kubelet/pods/a\9b`},
	} {
		t.Run(name, func(t *testing.T) {
			m := place(t, "# what is mounted\n/dev/sdb\t"+test.field+" ext4 defaults 0 0\n")
			assert.NilError(t, os.MkdirAll(m.host.Path(test.point), 0o755))
			assert.NilError(t, os.MkdirAll(m.host.Path("/srv"), 0o755))
			m.symlink(m.host.Path("/var/lib/kubelet"), "/srv/kubelet")
			escaped := strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`).Replace(test.point)
			m.write("/proc/self/mountinfo", "2 1 0:2 / "+escaped+" rw - ext4 /dev/sdb rw\n")
			points, err := podMounts(m.host)
			assert.NilError(t, err)
			assert.Equal(t, len(points), 0, "%q", points)
			assert.Assert(t, m.tree().table.own[test.point])
		})
	}
}

func TestWhatAUnitOfTheOwnerMountsStays(t *testing.T) {
	m := place(t, "", "/var/lib/kubelet/pods/data", "/var/lib/kubelet/pods/1/volumes/x")
	m.write("/var/lib/kubelet/pods/data/file", "x")
	m.write("/etc/systemd/system/var-lib-kubelet-pods-data.mount",
		"[Mount]\nWhat=/dev/sdb\nWhere=/var/lib/kubelet/pods/data\n")
	points, err := podMounts(m.host)
	assert.NilError(t, err)
	assert.DeepEqual(t, points, []string{"/var/lib/kubelet/pods/1/volumes/x"})
}

func TestOnlyNodeDataAreRemovedFromOwnersDisk(t *testing.T) {
	for name, mounts := range map[string][]string{"by a link": nil, "by a mount": {"/var/lib/kubelet"}} {
		t.Run(name, func(t *testing.T) {
			m := place(t, "", mounts...)
			dir := "/var/lib/kubelet"
			if mounts == nil {
				dir = "/mnt/nvme"
				assert.NilError(t, os.MkdirAll(m.host.Path(dir), 0o755))
				assert.NilError(t, os.MkdirAll(m.host.Path("/var/lib"), 0o755))
				m.symlink(m.host.Path(dir), "/var/lib/kubelet")
			}
			for _, name := range []string{
				"/pods/1/file", "/config.yaml", "/cpu_manager_state", "/pods-api/pods-api.sock", "/dra_health_state",
				"/graceful_node_shutdown_state", "/seccomp/mine.json", "/datasets/part-0", "/lost+found/1",
			} {
				m.write(dir+name, "x")
			}
			files := m.tree()
			data := files.nodeData("/var/lib/kubelet")
			assert.Assert(t, files.leftIn(data))
			assert.NilError(t, files.clearIn(t.Context(), data))
			assert.Assert(t, !files.leftIn(data))
			for name, stays := range map[string]bool{
				"/pods": false, "/config.yaml": false, "/cpu_manager_state": false, "/pods-api": false,
				"/dra_health_state": false, "/graceful_node_shutdown_state": false, "/seccomp/mine.json": true,
				"/datasets/part-0": true, "/lost+found/1": true,
			} {
				assert.Equal(t, m.host.Exists(dir+name), stays, name)
			}
		})
	}
}

func TestALinkIntoAFolderOfAllSoftwareIsRefused(t *testing.T) {
	m := place(t, "")
	m.write("/var/lib/dpkg/status", "x")
	m.symlink(m.host.Path("/var/lib"), "/var/lib/kubelet")
	assert.ErrorContains(t, m.tree().clearIn(t.Context(), m.tree().nodeData("/var/lib/kubelet")),
		`it leads to "/var/lib"`)
	assert.Assert(t, m.host.Exists("/var/lib/dpkg/status"))
}
