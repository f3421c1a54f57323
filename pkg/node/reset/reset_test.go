package reset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/cri/critest"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/nodetest"
	"argosy.dev/argosy/pkg/node/spec"
)

// stays are the files that a reset leaves: the owner's, restored originals, and the operation's status.
var stays = []string{
	"/etc/cni/net.d/10-site.conflist",
	"/etc/containerd/certs.d/registry.example.org/hosts.toml",
	"/etc/containerd/conf.d/site.toml",
	"/etc/containerd/config.toml",
	"/etc/fstab",
	"/etc/systemd/system/multi-user.target.wants/ssh.service",
	"/opt/cni/bin/macvlan",
	"/opt/local-path-provisioner/README",
	volume + "/rows",
	"/opt/registries/quay.io/hosts.toml",
	"/run/netns/site",
	"/usr/local/bin/backup",
	"/usr/local/bin/runc",
	"/var/lib/argosy/lock",
	"/var/lib/argosy/ops/reset-1/spec.json",
	"/var/lib/argosy/ops/reset-1/status.json",
}

func assertClean(t *testing.T, m *machine) {
	t.Helper()
	assert.DeepEqual(t, m.files(), stays)
	read := func(name string) string {
		content, err := m.host.ReadFile(name)
		assert.NilError(t, err)
		return string(content)
	}
	assert.Equal(t, read("/usr/local/bin/runc"), "the owner's runc")
	assert.Equal(t, read(layout.ContainerdConfig), "# the owner's\n")
	assert.DeepEqual(t, m.mounts, []string{"/", "/proc", "/srv", "/run", "/run/netns/site"})
	assert.DeepEqual(t, m.links, []link{
		{"lo", "device", ""},
		{"eth0", "device", ""},
		{"docker0", "bridge", ""},
		{"veth9", "veth", "docker0"},
	})
	assert.Assert(t, len(m.rules) == 0 && !m.services)
	for pid, lives := range map[int]bool{700: false, 800: false, 900: false, 901: false, 902: true, 903: true} {
		assert.Equal(t, m.host.Exists(fmt.Sprintf("/proc/%d", pid)), lives, "process %d", pid)
	}
	assert.Assert(t, !m.host.Exists("/sys/fs/cgroup/memory/kubepods") &&
		m.host.Exists("/sys/fs/cgroup/memory/system.slice"))
}

func TestResetCleansNodeAndKeepsOwnersFiles(t *testing.T) {
	m := newNode(t)
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)
	assertClean(t, m)
	for _, text := range []string{
		"the machine is node m1 of cluster team-a, at v1.34.4", "1 original restored",
		"the site's own /etc/cni/net.d/10-site.conflist stays", "1 volume left in /opt/local-path-provisioner",
	} {
		assert.Assert(t, strings.Contains(log, text), log)
	}
}

func TestASecondResetFindsEverythingSoAlready(t *testing.T) {
	m := newNode(t)
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)
	m.calls = nil
	plan := m.plan()
	assert.Equal(t, plan.State, spec.Succeeded, "%v", plan.Phases)
	status, log = m.reset()
	assert.Assert(t, !status.Changed, log)
	assert.Equal(t, len(m.calls), 0, "%v", m.calls)
	assertClean(t, m)
}

func TestAMachineThatWasNeverANodeIsLeftAlone(t *testing.T) {
	m := newNode(t)
	assert.NilError(t, os.RemoveAll(m.host.Root))
	*m = machine{t: t, host: m.host, store: m.store, operation: m.operation, killAfter: -1}
	m.ownersFiles()
	m.writeMounts()
	before := m.files()
	plan := m.plan()
	assert.Equal(t, plan.State, spec.Succeeded, "%v", plan.Phases)
	assert.DeepEqual(t, m.files(), before)
}

func TestKilledResetIsFinishedByTheNext(t *testing.T) {
	whole := newNode(t)
	whole.listen()
	_, _ = whole.reset()
	total := len(whole.calls)
	assert.Assert(t, total > 10, "%v", whole.calls)
	for killed := range total {
		t.Run(fmt.Sprintf("after %d changes", killed), func(t *testing.T) {
			m := newNode(t)
			m.killAfter = killed
			status, log := m.reset()
			if status.State == spec.Succeeded {
				t.Fatalf("it was not killed: %s", log)
			}
			m.killAfter = -1
			status, log = m.reset()
			assert.Equal(t, status.State, spec.Succeeded, log)
			assertClean(t, m)
		})
	}
}

// fuse is a context that ends after it was asked a number of times, which the removal of files does at each of them.
type fuse struct {
	context.Context
	burnt, length int
}

func (f *fuse) Err() error {
	f.burnt++
	if f.length > 0 && f.burnt > f.length {
		return errKilled
	}
	return nil
}

func TestResetKilledWhileRemovingFilesIsFinishedByTheNext(t *testing.T) {
	resetIsFinishedByTheNext(t, newNode)
}

// resetIsFinishedByTheNext kills resets of new machines after ever more steps.
func resetIsFinishedByTheNext(t *testing.T, machineOf func(*testing.T) *machine) {
	t.Helper()
	run := func(m *machine, ctx context.Context) *spec.Status {
		status, err := m.engine().Run(ctx, m.operation.ID, t.Context(), io.Discard)
		assert.NilError(t, err)
		return status
	}
	whole := &fuse{Context: t.Context()}
	assert.Equal(t, run(machineOf(t), whole).State, spec.Succeeded)
	for length := 2; length < whole.burnt-3; length += 1 + whole.burnt/15 {
		t.Run(fmt.Sprintf("after %d steps", length), func(t *testing.T) {
			m := machineOf(t)
			assert.Equal(t, run(m, &fuse{Context: t.Context(), length: length}).State, spec.Failed)
			status, log := m.reset()
			assert.Equal(t, status.State, spec.Succeeded, log)
			assertClean(t, m)
		})
	}
}

func TestPodsEndWithAndWithoutContainerd(t *testing.T) {
	for name, test := range map[string]struct {
		answers bool
		calls   []string
	}{
		"answers": {true, []string{
			"ctr --address /run/containerd/containerd.sock --namespace k8s.io tasks delete --force c1",
		}},
		"hangs": {false, []string{"kill 901", "kill 900"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newNode(t)
			if test.answers {
				m.listen()
			}
			status, log := m.reset()
			assert.Equal(t, status.State, spec.Succeeded, log)
			assert.DeepEqual(t, m.calls[:1], []string{"systemctl stop kubelet.service"})
			assert.DeepEqual(t, m.calls[1:1+len(test.calls)], test.calls)
			assertClean(t, m)
		})
	}
}

func TestSomebodyElsesContainerdStays(t *testing.T) {
	m := newNode(t)
	m.listen()
	m.write("/usr/bin/ctr", "the owner's")
	m.write(layout.Unit("containerd"), "[Unit]\n")
	m.write(layout.ContainerdConfig, "# the owner's\n")
	assert.NilError(t, m.host.Remove(layout.ContainerdConfig+layout.KeptSuffix))
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)
	assert.Assert(t, slices.ContainsFunc(m.calls, func(call string) bool {
		return strings.HasSuffix(call,
			"tasks delete --force c1")
	}), m.calls)
	for _, name := range []string{
		layout.Unit("containerd"), layout.EnabledLink("containerd"),
		containerdRoot + "/io.containerd.metadata.v1.bolt/meta.db", "/proc/700",
	} {
		assert.Assert(t, m.host.Exists(name), name)
	}
	assert.Assert(t, !slices.Contains(m.calls, "systemctl stop containerd.service"), m.calls)
}

func TestForeignRuntimeEndsPodsAndStays(t *testing.T) {
	m := newNode(t)
	m.write(layout.Unit("containerd"), "[Unit]\n")
	record, err := m.store.Record()
	assert.NilError(t, err)
	record.AtJoin.CRISocket = "unix:///run/own.sock"
	assert.NilError(t, m.store.WriteRecord(record))
	pods := []string{"0123456789abcdef", "two"}
	runtime := critest.New("cri-o", "1.30.2", 0)
	runtime["ListPodSandbox"] = func([]byte) ([]byte, string, string) {
		answer := []byte{}
		for _, id := range pods {
			answer = append(answer, critest.Message(1, critest.Message(1, id))...)
		}
		return answer, "0", ""
	}
	runtime["RemovePodSandbox"] = func(request []byte) ([]byte, string, string) {
		pods = slices.DeleteFunc(pods, func(id string) bool {
			return string(request) == string(critest.Message(1,
				id))
		})
		return nil, "0", ""
	}
	critest.Serve(t, runtime, m.host.Path("/run/own.sock"))
	assert.Assert(t, strings.Contains(fmt.Sprint(m.plan().Phases), "pod 0123456789ab"))
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)
	assert.Equal(t, len(pods), 0)
	assert.Assert(t, m.host.Exists("/run/own.sock") && m.host.Exists(layout.Unit("containerd")))
}

func TestAProofThatFailsNamesAllThatIsLeft(t *testing.T) {
	m := newNode(t)
	m.stubborn = 901
	status, _ := m.reset()
	assert.Equal(t, status.State, spec.Failed)
	assert.Equal(t, status.Phase, "pods")
	assert.Assert(t, strings.Contains(status.Error.Message, "process web (pid 901)"), status.Error.Message)

	// As if the phases before had overlooked something: the proof looks for itself.
	m = newNode(t)
	c := &cleaner{kernel: m}
	n := &node.Context{Operation: m.operation, Host: m.host, Store: m.store}
	_, err := c.prove(t.Context(), n)
	var failure *node.Failure
	assert.Assert(t, errors.As(err, &failure))
	left := strings.Join(failure.Problems, "\n")
	for _, text := range []string{
		"process kubelet (pid 800)", "kubelet.service, which starts at boot", "process web (pid 901)",
		"process containerd-shim (pid 900)",
		"control group /sys/fs/cgroup/memory/kubepods", "process containerd (pid 700)",
		"mount /var/lib/kubelet/pods/1/volumes/token",
		"link veth1", "link cni0", "link flannel.1", "network namespace /run/netns/cni-1", "rules ip nat KUBE-SERVICES",
		layout.FlannelConf, "/var/lib/cni",
		"binaries from /usr/local/bin/.argosy", "/usr/local/bin/argosy-node-0123456789abcdef",
		"/usr/local/bin/.argosy-ctr.tmp",
		layout.KubernetesDir, layout.KubeletDir, containerdRoot, "/var/log/pods", layout.Unit("kubelet"),
		layout.SysctlFile,
		layout.RegistriesDir + "/mirror.example.org/hosts.toml", "credentials in /etc/kubernetes/kubelet.conf",
	} {
		assert.Assert(t, strings.Contains(left, text), "%s is not among\n%s", text, left)
	}
	for _, text := range []string{"docker", "veth9", "site", "registry.example.org", "macvlan"} {
		assert.Assert(t, !strings.Contains(left, text), "%s is among\n%s", text, left)
	}
	assert.Assert(t, m.store != nil && m.host.Exists(spec.RecordFile), "a machine that is not clean keeps its record")
}

func TestVolumesGoWhenThatIsAskedFor(t *testing.T) {
	m := newNode(t)
	m.operation.Reset.RemoveVolumes = true
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)
	assert.Assert(t, !m.host.Exists(volume))
	assert.Assert(t, m.host.Exists("/opt/local-path-provisioner/README"), "what is no volume stays")
}

func TestABinaryThatSomebodyReplacedStays(t *testing.T) {
	m := newNode(t)
	assert.NilError(t, m.host.Remove("/usr/local/bin/ctr"))
	m.write("/usr/local/bin/ctr", "somebody's own")
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)
	assert.Assert(t, m.host.Holds("/usr/local/bin/ctr", []byte("somebody's own")))
}

func TestWhatWasInstalledElsewhereIsFoundByItsUnits(t *testing.T) {
	m := newNode(t)
	m.operation.Reset.BinariesPath, m.operation.Reset.CNIBinariesPath = "/opt/bin", "/opt/cni/other"
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)
	assertClean(t, m)
}

func TestOnlyContainerdsDataAreRemovedFromMovedFolder(t *testing.T) {
	for _, dir := range []string{"/mnt/nvme", "/var/lib", "/run/site", "/srv"} {
		t.Run(dir, func(t *testing.T) {
			m := newNode(t)
			m.write("/etc/containerd/conf.d/site.toml", "version = 3\nroot = '"+dir+"'\nstate = '"+dir+"'\n")
			m.write(dir+"/io.containerd.metadata.v1.bolt/meta.db", "images")
			m.write(dir+"/tmpmounts/x", "")
			owners := []string{
				dir + "/containerd.sock", dir + "/datasets/imagenet/part-0", dir + "/io.backup/file", dir +
					"/lost+found/1", dir + "/s/file",
			}
			for _, name := range owners {
				m.write(name, "the owner's")
			}
			mounts := []string{dir + "/datasets/imagenet", dir + "/io.containerd.snapshotter.v1.zfs"}
			m.mounts = append(m.mounts, append(mounts, dir+"/io.containerd.runtime.v2.task/k8s.io/c2/rootfs")...)
			m.write(dir+"/io.containerd.snapshotter.v1.zfs/1", "")
			m.writeMounts()
			status, log := m.reset()
			assert.Equal(t, status.State, spec.Succeeded, log)
			assert.DeepEqual(t, m.mounts[len(m.mounts)-2:], mounts)
			assert.Assert(t, m.host.Exists(dir+"/io.containerd.snapshotter.v1.zfs"),
				"a snapshotter's own disk stays mounted")
			left := m.files()
			for _, name := range owners {
				at := slices.Index(left, name)
				assert.Assert(t, at >= 0, "%s is gone", name)
				left = slices.Delete(left, at, at+1)
			}
			slices.Sort(left)
			assert.DeepEqual(t, left, slices.Sorted(slices.Values(stays)))
		})
	}
}

// whose describes a machine and an operation by their clusters.
func TestAnotherClustersNodeIsRefusedUntouched(t *testing.T) {
	for name, test := range map[string]struct {
		change func(m *machine)
		says   string
		class  errclass.Class
	}{
		"another UID": {
			func(m *machine) { m.operation.Reset.ClusterUID = "uid-b" },
			`node "m1" of a cluster "team-a" with the UID uid-a`, errclass.Permanent,
		},
		"another CA": {
			func(m *machine) { m.operation.Reset.CACert = nodetest.NewAuthority(m.t, "kubernetes").PEM },
			`another cluster than "team-a" by its certificate authority`, errclass.Permanent,
		},
		"cluster gone, another name": {func(m *machine) {
			m.operation.Cluster, m.operation.Reset.ClusterUID, m.operation.Reset.CACert = "team-b", "", ""
		}, `node "m1" of cluster "team-a", not of "team-b"`, errclass.Permanent},
		"somebody's kubelet": {
			func(m *machine) { m.write(layout.Unit("kubelet"), "[Unit]\n") },
			"a kubelet that Argosy did not install (/etc/systemd/system/kubelet.service", errclass.Permanent,
		},
		"others' containers": {func(m *machine) {
			m.process(950, "containerd-shim", "/usr/local/bin/containerd-shim-runc-v2", "",
				"-namespace moby -address /run/containerd/containerd.sock")
		}, `runs 1 container of the namespace "moby"`, errclass.Permanent},
		"a path that is none": {
			func(m *machine) { m.operation.Reset.BinariesPath = "/usr/local/bin;reboot" },
			"not a plain absolute path", errclass.Configuration,
		},
		"volumes everywhere": {
			func(m *machine) { m.operation.Reset.VolumesPath = "/home" },
			"not a clean absolute path beneath a folder", errclass.Configuration,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newNode(t)
			test.change(m)
			before := m.files()
			plan := m.plan()
			assert.Equal(t, plan.State, spec.Failed)
			assert.Assert(t, strings.Contains(plan.Error.Message, test.says), plan.Error.Message)
			assert.Equal(t, plan.Error.Class, test.class)
			status, _ := m.reset()
			assert.Equal(t, status.Phase, "preflight")
			assert.Equal(t, len(m.calls), 0, "%v", m.calls)
			assert.Assert(t, len(m.files()) >= len(before), "files are missing")
		})
	}
}

func TestTheClustersOwnNodeIsAccepted(t *testing.T) {
	for name, change := range map[string]func(m *machine){
		"by its UID":             func(*machine) {},
		"gone, by its name":      func(m *machine) { m.operation.Reset.ClusterUID, m.operation.Reset.CACert = "", "" },
		"half joined, no record": func(m *machine) { assert.NilError(m.t, m.host.Remove(spec.RecordFile)) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newNode(t)
			change(m)
			status, log := m.reset()
			assert.Equal(t, status.State, spec.Succeeded, log)
			assertClean(t, m)
		})
	}
}
