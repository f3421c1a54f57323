package join

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/original"
)

const (
	packaged = "/usr/lib/systemd/system/" + containerdUnit
	blob     = "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256/0123"
)

// packaged installs a distribution's containerd that was never started.
func (m *machine) packaged() {
	m.write(packaged, "[Service]\nExecStart=/usr/bin/containerd\n")
	assert.NilError(m.t, os.MkdirAll(m.host.Path("/var/lib/containerd"), 0o755))
}

// startsAtBoot enables a unit of the distribution's.
func (m *machine) startsAtBoot(unit string) {
	link := layout.UnitsDir + "/multi-user.target.wants/" + unit
	assert.NilError(m.t, m.host.Link("/usr/lib/systemd/system/"+unit, link))
}

// containerdRuns has systemd tell that the machine's containerd runs.
func (m *machine) containerdRuns() {
	m.programs.answers["systemctl"] = func(argv []string) (string, error) {
		if argv[1] == "show" {
			return "active\n", nil
		}
		return "", nil
	}
}

// docker installs Docker, which has containers in the machine's containerd.
func (m *machine) docker() {
	m.packaged()
	m.write("/usr/lib/systemd/system/docker.service",
		"[Unit]\nBindsTo=containerd.service\n[Service]\nExecStart=/usr/sbin/dockerd\n")
	m.startsAtBoot(dockerUnit)
}

func (m *machine) task(namespace, id string) {
	assert.NilError(m.t, os.MkdirAll(m.host.Path(filepath.Join(containerdTasks, namespace, id)), 0o755))
}

func TestAContainerdThatIsInUseIsNotTakenOver(t *testing.T) {
	for name, test := range map[string]struct {
		change func(m *machine)
		says   []string
	}{
		"Docker's, at work": {func(m *machine) {
			m.docker()
			m.containerdRuns()
			m.startsAtBoot(containerdUnit)
			m.task("moby", "c1")
			m.write(blob, "an image")
		}, []string{
			"looks like Docker's", "containerd.service runs", "containerd.service starts at boot",
			"docker.service uses it and goes down with it", "1 container in its namespace moby",
			"images or other data in /var/lib/containerd",
		}},
		"Docker's, of which only the socket starts": {func(m *machine) {
			m.docker()
			m.remove("/etc/systemd/system/multi-user.target.wants/docker.service")
			assert.NilError(m.t, m.host.Link("/usr/lib/systemd/system/docker.socket",
				"/etc/systemd/system/sockets.target.wants/docker.socket"))
		}, []string{"looks like Docker's"}},
		"the distribution's, with images": {func(m *machine) {
			m.packaged()
			m.containerdRuns()
			m.write(blob, "an image")
		}, []string{"looks like the distribution's package: containerd.service runs; images"}},
		"images on another disk": {func(m *machine) {
			m.write("/mnt/nvme/io.containerd.content.v1.content/blobs/sha256/0123", "an image")
			m.write("/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db", "nothing")
			assert.NilError(m.t, os.Symlink(m.host.Path("/mnt/nvme/io.containerd.content.v1.content"),
				m.host.Path("/var/lib/containerd/io.containerd.content.v1.content")))
		}, []string{"images or other data in /var/lib/containerd."}},
		"images where its own configuration has moved them": {func(m *machine) {
			m.packaged()
			m.write(layout.ContainerdConfig, "version = 2\nroot = \"/data/containerd\"\n")
			m.write("/data/containerd/io.containerd.content.v1.content/blobs/sha256/0123", "an image")
		}, []string{"images or other data in /data/containerd."}},
		"nerdctl's, with containers": {func(m *machine) {
			m.write("/usr/local/lib/systemd/system/containerd.service", "[Service]\n")
			m.write("/usr/local/bin/nerdctl", "a program")
			m.task("default", "c1")
			m.task("default", "c2")
		}, []string{"looks like nerdctl's: 2 containers in its namespace default."}},
		"images of one that is gone": {
			func(m *machine) { m.write(blob, "an image") },
			[]string{"not any more: images or other data in /var/lib/containerd."},
		},
		"images where a drop-in has moved them": {func(m *machine) {
			m.packaged()
			m.write("/etc/containerd/conf.d/site.toml", "root = '/mnt/nvme'\n")
			m.write("/mnt/nvme/io.containerd.content.v1.content/blobs/sha256/0123", "an image")
		}, []string{"images or other data in /mnt/nvme."}},
		"answers": {func(m *machine) {
			m.socket()
			m.write("/proc/700/comm", "containerd\n")
		}, []string{"containerd runs"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.fakeAPI(0)
			test.change(m)
			for _, ignore := range [][]string{nil, {"all"}} {
				m.ignore(ignore...)
				_, _, err := checkPreflight(t.Context(), m.context)
				assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
				var failure *node.Failure
				assert.Assert(t, errors.As(err, &failure))
				problem := strings.Join(failure.Problems, "\n")
				ways := []string{"containerd.enabled: false", "add ContainerdInUse to ignorePreflightErrors"}
				for _, text := range append(test.says, ways...) {
					assert.Assert(t, strings.Contains(problem, text), "%q is not in %q", text, problem)
				}
			}
			m.ignore("containerdinuse")
			held, detail, err := checkPreflight(t.Context(), m.context)
			assert.NilError(t, err)
			assert.Assert(t, held && strings.Contains(detail, "Ignored, as ignorePreflightErrors says."), detail)

			m.ignore()
			found := findings{}
			m.join.Containerd.External = true
			checkContainerdInUse(t.Context(), m.host, m.join, &found)
			assert.Equal(t, len(found.problems)+len(found.remarks), 0)
		})
	}
}

func TestAContainerdThatNothingUsesIsOnlyWorthARemark(t *testing.T) {
	for name, test := range map[string]struct {
		change func(m *machine)
		remark string
	}{
		"installed": {(*machine).packaged, "The containerd of " + packaged + " has no containers and no images"},
		"as a package starts it when it is installed": {func(m *machine) {
			m.packaged()
			m.containerdRuns()
			m.startsAtBoot(containerdUnit)
			m.write("/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db", "nothing")
		}, "has no containers and no images"},
		"started once": {func(m *machine) {
			m.packaged()
			m.write("/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db", "nothing")
			m.write("/var/lib/containerd/io.containerd.grpc.v1.introspection/uuid", "01234567")
		}, "has no containers and no images"},
		"masked": {func(m *machine) {
			assert.NilError(m.t, m.host.Link("/dev/null", layout.Unit("containerd")))
		}, ""},
		"a configuration": {func(m *machine) {
			m.write(layout.ContainerdConfig, "# nvidia\n")
		}, "config.toml is not Argosy's and is restored"},
		"Docker with a containerd of its own": {func(m *machine) {
			m.write("/usr/lib/systemd/system/docker.service", "[Service]\nExecStart=/opt/bin/dockerd\n")
			m.startsAtBoot(dockerUnit)
		}, ""},
		"a folder on another disk, with other data": {func(m *machine) {
			m.packaged()
			m.remove("/var/lib/containerd")
			m.write("/mnt/nvme/datasets/1", "a user's")
			m.write("/mnt/nvme/io.containerd.metadata.v1.bolt/meta.db", "nothing")
			assert.NilError(m.t, os.Symlink(m.host.Path("/mnt/nvme"), m.host.Path("/var/lib/containerd")))
		}, "has no containers and no images"},
		"data beside those of containerd": {func(m *machine) {
			m.write("/etc/containerd/conf.d/site.toml", "root = '/mnt/nvme'\n")
			m.write("/mnt/nvme/datasets/1", "a user's")
		}, ""},
		"Argosy's, of a join that broke off": {func(m *machine) {
			m.write(layout.Unit("containerd"), inspect.Mark+"\n")
			m.write(blob, "an image")
			m.containerdRuns()
		}, ""},
		"Argosy's, whose unit a power cut emptied": {func(m *machine) {
			m.write(layout.Unit("containerd"), "")
			m.write(Stamp("containerd"), "")
			m.write(blob, "an image")
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			test.change(m)
			found := findings{}
			checkContainerdInUse(t.Context(), m.host, m.join, &found)
			assert.Equal(t, len(found.problems), 0, "%v", found.problems)
			assert.Assert(t, strings.Contains(strings.Join(found.remarks, " "), test.remark), "%v", found.remarks)
			assert.Assert(t, test.remark != "" || len(found.remarks) == 0, "%v", found.remarks)
		})
	}
}

func TestContainerdIsNotedBeforeItIsTakenOver(t *testing.T) {
	m := newMachine(t).withBundle()
	m.docker()
	m.containerdRuns()
	m.write(blob, "an image")
	m.socket()
	apply(t, m, applyContainerd)
	m.write("/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256/4567", "a pod's image")
	m.write(layout.ContainerdConfig, "# an edit\n")
	apply(t, m, applyContainerd)
	note, err := original.Read(m.host)
	assert.NilError(t, err)
	assert.DeepEqual(t, note.Containerd, &original.Containerd{Active: true, Data: []string{"/var/lib/containerd"}})

	clean := newMachine(t).withBundle()
	clean.socket()
	apply(t, clean, applyContainerd)
	clean.write(blob, "a pod's image")
	apply(t, clean, applyContainerd)
	note, err = original.Read(clean.host)
	assert.NilError(t, err)
	assert.DeepEqual(t, note.Containerd, &original.Containerd{})
}

func TestAContainerdThatRanUnusedRunsAgainAfterAReset(t *testing.T) {
	m := newMachine(t).withBundle()
	m.packaged()
	m.containerdRuns()
	m.socket()
	apply(t, m, applyContainerd)
	note, err := original.Read(m.host)
	assert.NilError(t, err)
	assert.DeepEqual(t, note.Containerd, &original.Containerd{Active: true})
}

func TestKubeadmIsNotToldOfChecksThatAreNotIts(t *testing.T) {
	m := newMachine(t)
	m.ignore("all", inUseCheck)
	registration := renderJoin(m.join, "/d", testToken)["nodeRegistration"].(object)
	assert.DeepEqual(t, registration["ignorePreflightErrors"], []string{"all"})
	m.ignore(inUseCheck)
	registration = renderJoin(m.join, "/d", testToken)["nodeRegistration"].(object)
	_, given := registration["ignorePreflightErrors"]
	assert.Assert(t, !given)
	assert.DeepEqual(t, m.join.Registration.IgnorePreflightErrors, []string{inUseCheck})
}
