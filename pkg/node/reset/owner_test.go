package reset

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// newMachine is a machine that only has its owner's files, and the operation of a join that was refused at once.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, killAfter: -1}
	m.host = &host.Host{Root: t.TempDir(), Runner: m}
	m.store = node.NewStore(m.host)
	m.operation = &spec.Operation{
		ID: "reset-1", Kind: spec.KindReset, Cluster: "team-a", Machine: "m1",
		Reset: &spec.Reset{
			ClusterUID:      "uid-a",
			BinariesPath:    "/usr/local/bin",
			CNIBinariesPath: "/opt/cni/bin",
			VolumesPath:     "/opt/local-path-provisioner",
		},
	}
	m.ownersFiles()
	m.writeMounts()
	m.write(spec.OperationsDir+"/join-1/spec.json", "{}")
	m.write(
		spec.OperationsDir+"/join-1/status.json",
		`{"id":"join-1","kind":"join","cluster":"team-a","state":"failed"}`,
	)
	assert.NilError(t, m.store.Prepare(m.operation.ID))
	return m
}

// sharedPlaces are filled as any kubelet and its pods do it.
func (m *machine) sharedPlaces() {
	m.process(901, "web", "/web", "4:memory:/kubepods/besteffort/pod1/c1", "")
	assert.NilError(m.t, os.MkdirAll(m.host.Path("/sys/fs/cgroup/memory/kubepods/besteffort/pod1"), 0o755))
	m.write("/etc/kubernetes/azure.json", "a key")
	m.write(layout.KubeletDir+"/pods/1/volumes/kubernetes.io~empty-dir/data/rows", "a user's data")
	m.write("/var/lib/cni/networks/cbr0/10.42.0.5", "web")
	m.write("/var/log/pods/default_web_0/web/0.log", "hello")
	m.mounts = append(m.mounts, layout.KubeletDir+"/pods/1/volumes/token")
	m.writeMounts()
	m.links = append(m.links, link{"cni0", "bridge", ""}, link{"veth1", "veth", "cni0"}, link{"flannel.1", "vxlan", ""})
	m.rules, m.services = []string{"ip nat KUBE-SERVICES", "ip filter FLANNEL-FWD"}, true
}

func (m *machine) enable(unit string) {
	m.write(layout.UnitsDir+"/"+unit, "[Unit]\n")
	assert.NilError(m.t, m.host.Link(layout.UnitsDir+"/"+unit, layout.UnitsDir+"/multi-user.target.wants/"+unit))
}

// inContainer starts a process of a container, which has its own PID namespace.
func (m *machine) inContainer(pid int, name, program, group string) {
	m.process(pid, name, program, group, "")
	assert.NilError(m.t, os.MkdirAll(m.host.Path("/proc/self/ns"), 0o755))
	_ = os.Symlink("pid:[4026531836]", m.host.Path("/proc/self/ns/pid"))
	dir := m.host.Path("/proc/" + strconv.Itoa(pid) + "/ns")
	assert.NilError(m.t, os.MkdirAll(dir, 0o755))
	assert.NilError(m.t, os.Symlink("pid:[4026532999]", dir+"/pid"))
}

func TestForeignMachineIsRefusedAndUnchanged(t *testing.T) {
	for name, test := range map[string]struct {
		has  func(m *machine)
		says []string
	}{
		"k3s, as it runs": {func(m *machine) {
			m.enable("k3s-agent.service")
			m.process(870, "k3s-agent", "/var/lib/rancher/k3s/data/0123/bin/k3s",
				"4:memory:/system.slice/k3s-agent.service", "")
			m.write("/etc/rancher/k3s/config.yaml", "server: https://192.0.2.9:6443\n")
			m.sharedPlaces()
		}, []string{"k3s (k3s-agent.service, process k3s-agent (pid 870), /etc/rancher/k3s", "k3s-agent-uninstall.sh"}},
		"k3s, stopped but enabled": {func(m *machine) { m.enable("k3s.service") }, []string{"k3s (k3s.service)"}},
		"k3s, under another name": {
			func(m *machine) { m.enable("k3s-edge.service") },
			[]string{"k3s (k3s-edge.service)"},
		},
		"k3s, killed and disabled with its pods alive": {func(m *machine) {
			m.write("/var/lib/rancher/k3s/agent/kubelet.kubeconfig", "")
			m.sharedPlaces()
		}, []string{"/var/lib/kubelet", "control group /sys/fs/cgroup/memory/kubepods", "perhaps left by k3s " +
			"(/var/lib/rancher/k3s)"}},
		"RKE2": {func(m *machine) {
			m.write("/usr/local/lib/systemd/system/rke2-server.service", "[Unit]\n")
			m.process(870, "rke2", "/usr/local/bin/rke2", "", "")
		}, []string{"RKE2 (rke2-server.service, process rke2", "rke2-uninstall.sh"}},
		"k0s": {
			func(m *machine) { m.enable("k0sworker.service") },
			[]string{"k0s (k0sworker.service)", "k0s reset"},
		},
		"MicroK8s": {
			func(m *machine) { m.enable("snap.microk8s.daemon-kubelite.service") },
			[]string{"MicroK8s (snap.microk8s.daemon-kubelite.service)", "snap remove"},
		},
		"MicroShift": {func(m *machine) { m.enable("microshift.service") }, []string{"MicroShift"}},
		"KubeEdge":   {func(m *machine) { m.enable("edgecore.service") }, []string{"KubeEdge"}},
		"a package": {
			func(m *machine) { m.write("/usr/lib/systemd/system/kubelet.service", "[Unit]\n") },
			[]string{
				"a kubelet that Argosy did not install (/usr/lib/systemd/system/kubelet.service)",
				"kubeadm reset",
			},
		},
		"no unit": {
			func(m *machine) { m.process(870, "kubelet", "/opt/kubelet", "", "") },
			[]string{"process /opt/kubelet (pid 870)"},
		},
		"only pods": {(*machine).sharedPlaces, []string{
			"/etc/kubernetes", "/var/lib/kubelet",
			"as kubeadm and other installers leave it",
		}},
		"only links": {
			func(m *machine) { m.links = append(m.links, link{"flannel.1", "vxlan", ""}) },
			[]string{"link flannel.1"},
		},
		"only chains": {
			func(m *machine) { m.rules = []string{"ip nat KUBE-SERVICES"} },
			[]string{"rules ip nat KUBE-SERVICES"},
		},
		"kind": {func(m *machine) {
			m.inContainer(870, "kubelet", "/usr/bin/kubelet", "4:memory:/docker/0123/kubelet")
			m.inContainer(871, "web", "/web", "4:memory:/docker/0123/kubelet/kubepods/besteffort/pod1/c1")
			m.inContainer(872, "containerd-shim", "/usr/local/bin/containerd-shim-runc-v2",
				"4:memory:/docker/0123/system.slice/containerd.service")
		}, []string{"kind", "process kubelet (pid 870)", "kind delete cluster"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			test.has(m)
			before := m.files()
			plan := m.plan()
			assert.Equal(t, plan.State, spec.Failed)
			assert.Equal(t, plan.Phase, "preflight")
			assert.Equal(t, plan.Error.Class, errclass.Permanent)
			for _, text := range test.says {
				assert.Assert(t, strings.Contains(plan.Error.Message, text), plan.Error.Message)
			}
			status, log := m.reset()
			assert.Equal(t, status.Phase, "preflight", log)
			assert.Equal(t, len(m.calls), 0, "%v", m.calls)
			assert.DeepEqual(t, without(m.files(), spec.Root), without(before, spec.Root))
			assert.Assert(t, m.host.Exists(spec.OperationsDir+"/join-1/status.json"))
		})
	}
}

func TestKilledResetWithoutRecordIsFinishedByTheNext(t *testing.T) {
	resetIsFinishedByTheNext(t, func(t *testing.T) *machine {
		m := newNode(t)
		assert.NilError(t, m.host.Remove(spec.RecordFile, spec.KubeletFile, spec.Root+"/kubelet.applied",
			spec.PreviousFile))
		return m
	})
}

func TestKindInDockerBesideANodeLosesNothing(t *testing.T) {
	m := newNode(t)
	// In their own file systems they run from the same paths.
	m.inContainer(970, "kubelet", "/usr/local/bin/kubelet", "4:memory:/docker/0123/kubelet")
	m.inContainer(973, "containerd", "/usr/local/bin/containerd", "4:memory:/docker/0123/system.slice")
	m.inContainer(971, "web", "/web", "4:memory:/docker/0123/kubelet/kubepods/besteffort/pod1/c1")
	m.process(972, "containerd-shim", "/usr/local/bin/containerd-shim-runc-v2",
		"4:memory:/docker/0123/system.slice/containerd.service",
		"-namespace k8s.io -id c9 -address /run/containerd/containerd.sock")
	assert.NilError(t, os.MkdirAll(m.host.Path("/proc/972/ns"), 0o755))
	assert.NilError(t, os.Symlink("pid:[4026532999]", m.host.Path("/proc/972/ns/pid")))
	group := "/sys/fs/cgroup/memory/docker/0123/kubelet/kubepods/besteffort/pod1"
	assert.NilError(t, os.MkdirAll(m.host.Path(group), 0o755))
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)
	for _, name := range []string{"/proc/970", "/proc/971", "/proc/972", "/proc/973", group} {
		assert.Assert(t, m.host.Exists(name), name)
	}
	assertClean(t, m)
}

func without(names []string, dir string) []string {
	var rest []string
	for _, name := range names {
		if !strings.HasPrefix(name, dir+"/") {
			rest = append(rest, name)
		}
	}
	return rest
}

// TestWhatAResetDoesFollowsItsTable walks the table of foreign.
func TestWhatAResetDoesFollowsItsTable(t *testing.T) {
	marks := map[string]func(m *machine){
		"none": func(*machine) {},
		"of a join before its kubelet": func(m *machine) {
			m.write(bundleDir+"/release/kubelet", "")
			m.write(layout.SysctlFile, inspect.Mark+"\n")
		},
		"of a node": func(m *machine) { m.write(layout.Unit("kubelet"), inspect.Mark+"\n") },
	}
	others := map[string]func(m *machine){
		"none":    func(*machine) {},
		"remains": func(m *machine) { m.write("/etc/rancher/k3s/config.yaml", "") },
		"enabled": func(m *machine) { m.enable("k3s.service") },
		"runs":    func(m *machine) { m.process(870, "k3s-server", "/usr/local/bin/k3s", "", "") },
	}
	signs := map[string]func(m *machine){"none": func(*machine) {}, "some": (*machine).sharedPlaces}
	const (
		nothing = "nothing"
		refused = "refused"
		own     = "own files"
		all     = "all"
	)
	for _, row := range []struct{ marks, others, signs, answer string }{
		{"none", "none", "none", nothing},
		{"none", "remains", "none", nothing},
		{"none", "enabled", "none", refused},
		{"none", "runs", "some", refused},
		{"none", "none", "some", refused},
		{"none", "remains", "some", refused},
		{"of a join before its kubelet", "none", "some", own},
		{"of a join before its kubelet", "remains", "none", own},
		{"of a join before its kubelet", "runs", "some", refused},
		{"of a node", "none", "some", all},
		{"of a node", "remains", "some", all},
		{"of a node", "enabled", "some", refused},
		{"of a node", "runs", "none", refused},
	} {
		t.Run(strings.Join([]string{row.marks, row.others, row.signs}, ", "), func(t *testing.T) {
			m := newMachine(t)
			for _, fill := range []func(m *machine){marks[row.marks], others[row.others], signs[row.signs]} {
				fill(m)
			}
			before := m.files()
			status, log := m.reset()
			assert.Equal(t, status.State == spec.Failed, row.answer == refused, log)
			told := "k3s (/etc/rancher/k3s) stays as it is"
			assert.Equal(t, strings.Contains(log, told), row.others == "remains" && row.answer != refused, log)
			assert.Equal(t, m.host.Exists("/etc/rancher/k3s/config.yaml"), row.others == "remains")
			for _, name := range []string{
				layout.KubeletDir + "/pods/1/volumes/kubernetes.io~empty-dir/data/rows",
				"/etc/kubernetes/azure.json", "/proc/901",
			} {
				assert.Equal(t, m.host.Exists(name), row.signs == "some" && row.answer != all, name)
			}
			switch row.answer {
			case refused:
				assert.Equal(t, len(m.calls), 0, "%v", m.calls)
				assert.DeepEqual(t, without(m.files(), spec.Root), without(before, spec.Root))
			case nothing:
				assert.Equal(t, len(m.calls), 0, "%v", m.calls)
				assert.Assert(t, !m.host.Exists(spec.OperationsDir+"/join-1"), "what a refused join left is Argosy's")
			case own:
				assert.Assert(t, !m.host.Exists(layout.Store("/usr/local/bin")) && !m.host.Exists(layout.SysctlFile))
				assert.Equal(t, len(m.links) > 4, row.signs == "some")
			case all:
				assert.Assert(t, !m.host.Exists(layout.Unit("kubelet")) && len(m.links) == 4)
			}
		})
	}
}

func TestSecondResetKeepsOwnersDataBesideTheKubelets(t *testing.T) {
	m := newMachine(t)
	m.write("/mnt/nvme/datasets/part-0", "the owner's")
	m.write("/mnt/nvme/pods/1/volumes/kubernetes.io~empty-dir/data/rows", "a pod's")
	assert.NilError(t, os.MkdirAll(m.host.Path("/var/lib"), 0o755))
	assert.NilError(t, os.Symlink(m.host.Path("/mnt/nvme"), m.host.Path(layout.KubeletDir)))
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Failed, "without a mark, the pod's data are another's: %s", log)

	m.write(layout.Unit("kubelet"), inspect.Mark+"\n")
	for _, changed := range []bool{true, false} {
		status, log = m.reset()
		assert.Equal(t, status.State, spec.Succeeded, log)
		assert.Equal(t, status.Changed, changed, log)
	}
	assert.Assert(t, m.host.Exists("/mnt/nvme/datasets/part-0") && !m.host.Exists("/mnt/nvme/pods"))
}

func TestEmptyRecordDoesNotPreventReset(t *testing.T) {
	for name, change := range map[string]func(m *machine){
		"the record":    func(*machine) {},
		"also the unit": func(m *machine) { m.write(layout.Unit("kubelet"), "") },
		"also all other marks": func(m *machine) {
			m.write(layout.Unit("kubelet"), "")
			m.write(layout.KubeletDropIn, "")
			m.write(layout.SysctlFile, "")
		},
		"and the cluster is gone": func(m *machine) { m.operation.Reset.ClusterUID, m.operation.Reset.CACert = "", "" },
	} {
		t.Run(name, func(t *testing.T) {
			m := newNode(t)
			m.write(spec.RecordFile, "")
			change(m)
			assert.Assert(
				t,
				strings.Contains(m.plan().Phases[0].Detail, "its record of which one cannot be read"),
				"%v",
				m.plan().Phases[0],
			)
			status, log := m.reset()
			assert.Equal(t, status.State, spec.Succeeded, log)
			assertClean(t, m)
		})
	}
}

func TestAnotherClustersNodeWithAnUnreadableRecordIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(m *machine)
		says   string
	}{
		"by its certificate authority": {
			func(m *machine) { m.operation.Reset.CACert = newNode(m.t).ca.PEM },
			"by its certificate authority",
		},
		"by its last join": {func(m *machine) {
			m.operation.Reset.ClusterUID, m.operation.Reset.CACert = "", ""
			m.write(spec.OperationsDir+"/join-1/status.json",
				`{"id":"join-1","kind":"join","cluster":"team-b","state":"succeeded"}`)
		}, `it last joined cluster "team-b"`},
	} {
		t.Run(name, func(t *testing.T) {
			m := newNode(t)
			m.write(spec.RecordFile, "\x00\x00")
			test.change(m)
			status, log := m.reset()
			assert.Equal(t, status.Phase, "preflight", log)
			assert.Assert(t, strings.Contains(status.Error.Message, test.says), status.Error.Message)
			assert.Equal(t, len(m.calls), 0, "%v", m.calls)
		})
	}
}
