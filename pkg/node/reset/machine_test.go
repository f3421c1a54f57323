package reset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/nodetest"
	"argosy.dev/argosy/pkg/node/spec"
)

const (
	volume     = "/opt/local-path-provisioner/pvc-01234567-89ab-cdef-0123-456789abcdef_default_data"
	bundleName = "0000000000000000000000000000000000000000000000000000000000000000"
	bundleDir  = "/usr/local/bin/.argosy/" + bundleName
)

// errKilled is returned by every call after the simulated power cut.
var errKilled = errors.New("killed")

// machine is a folder that looks like a node to the phases. Its kernel and its programs do to the folder what the real
// ones do to a machine.
type machine struct {
	t         *testing.T
	host      *host.Host
	operation *spec.Operation
	store     *node.Store
	ca        *nodetest.Authority

	links    []link
	rules    []string
	services bool // kube-proxy's virtual servers are there
	stubborn int  // a process that survives being killed
	mounts   []string
	// calls are the changes that were asked of kernel and programs, and killAfter how many of them are carried out
	// before nothing works any more; negative for all.
	calls     []string
	killAfter int
	// fails are commands that end with an error.
	fails map[string]error
}

// newNode returns a machine that is node m1 of team-a, with pods on it, and with files of its owner.
func newNode(t *testing.T) *machine { return newNodeAt(t, nodetest.Root(t)) }

// newNodeAt has its files below this folder.
func newNodeAt(t *testing.T, root string) *machine {
	t.Helper()
	m := &machine{t: t, ca: nodetest.NewAuthority(t, "kubernetes"), killAfter: -1}
	m.host = &host.Host{Root: root, Runner: m}
	m.store = node.NewStore(m.host)
	m.operation = &spec.Operation{
		ID: "reset-1", Kind: spec.KindReset, Cluster: "team-a", Machine: "m1",
		Reset: &spec.Reset{
			ClusterUID: "uid-a", CACert: m.ca.PEM, BinariesPath: "/usr/local/bin",
			CNIBinariesPath: "/opt/cni/bin", VolumesPath: "/opt/local-path-provisioner",
		},
	}
	m.ownersFiles()
	m.installed()
	m.joined()
	m.podsRun()
	m.writeMounts()
	return m
}

// ownersFiles are files of the machine's owner, with or without Kubernetes.
func (m *machine) ownersFiles() {
	m.write("/etc/cni/net.d/10-site.conflist", "{}")
	m.write("/etc/containerd/conf.d/site.toml", "version = 3\n")
	m.write("/etc/containerd/certs.d/registry.example.org/hosts.toml", "# by hand\n")
	m.write("/etc/fstab", "# <device> <dir>\n/dev/sdb /srv ext4 defaults 0 0\n")
	m.write("/etc/systemd/system/multi-user.target.wants/ssh.service", "")
	m.write("/usr/local/bin/backup", "somebody's script")
	m.write("/opt/cni/bin/macvlan", "somebody's plugin")
	m.write("/opt/local-path-provisioner/README", "somebody's note")
	m.ownersKernel()
}

// ownersKernel fills in the links, rules and mounts of the owner's machine.
func (m *machine) ownersKernel() {
	m.write("/proc/1/comm", "systemd\n")
	m.write("/proc/self/cgroup", "4:memory:/system.slice/a.service\n3:cpu:/system.slice/a.service\n")
	m.write("/proc/self/status", "Name:\targosy-node\nPPid:\t1\n")
	m.write("/proc/sys/kernel/hostname", "m1\n")
	m.mounts = []string{"/", "/proc", "/srv", "/run", "/run/netns/site"}
	m.write("/run/netns/site", "")
	m.links = []link{
		{"lo", "device", ""},
		{"eth0", "device", ""},
		{"docker0", "bridge", ""},
		{"veth9", "veth", "docker0"},
	}
}

// installed are binaries, units and settings as a join leaves them. It had taken the place of a runc and of a
// configuration of containerd.
func (m *machine) installed() {
	manifest := &bundle.Manifest{SHA256: bundleName}
	for name, to := range map[string]string{
		"kubelet": "/usr/local/bin", "kubeadm": "/usr/local/bin", "containerd": "/usr/local/bin",
		"ctr": "/usr/local/bin", "runc": "/usr/local/bin",
		"containerd-shim-runc-v2": "/usr/local/bin", "cni/bin/bridge": "/opt/cni/bin",
	} {
		m.write(bundleDir+"/release/"+name, "program "+name)
		manifest.Files = append(manifest.Files, bundle.File{Path: "release/" + name})
		assert.NilError(m.t, os.MkdirAll(m.host.Path(to), 0o755))
		assert.NilError(m.t, os.Link(m.host.Path(bundleDir+"/release/"+name),
			m.host.Path(filepath.Join(to, filepath.Base(name)))))
	}
	encoded, err := manifest.Encode()
	assert.NilError(m.t, err)
	assert.NilError(m.t, os.WriteFile(m.host.Path(filepath.Join(bundleDir, bundle.CompleteFile)), encoded, 0o644))
	m.write("/usr/local/bin/.argosy/previous/runc", "the owner's runc")
	m.write("/usr/local/bin/.argosy-ctr.tmp", "left by a crash")
	m.write("/usr/local/bin/argosy-node-0123456789abcdef", "an earlier plugin's")
	m.write(layout.ContainerdConfig, inspect.Mark+"\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = "+
		"['/opt/cni/bin']\n"+
		"[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/opt/registries'\n")
	m.write(layout.ContainerdConfig+layout.KeptSuffix, "# the owner's\n")
	m.write(layout.RegistriesDir+"/mirror.example.org/hosts.toml", inspect.Mark+"\n")
	m.write("/opt/registries/mirror.example.org_5000_/hosts.toml", inspect.Mark+"\n")
	m.write("/opt/registries/mirror.example.org_5000_/.argosy-hosts.toml.tmp", "left by a crash")
	m.write("/opt/registries/quay.io/hosts.toml", inspect.Mark+"\n")
	m.write("/opt/registries/quay.io/hosts.toml"+layout.KeptSuffix, "# the owner's\n")
	m.write(layout.RegistryLogins, inspect.Mark+"\n")
	m.write(spec.Root+"/hooks.json", "{}")
	for _, service := range []string{"kubelet", "containerd"} {
		m.write(layout.Unit(service), inspect.Mark+"\n[Service]\nExecStart=/usr/local/bin/"+service+"\n")
		assert.NilError(m.t, m.host.Link(layout.Unit(service), layout.EnabledLink(service)))
		m.write(spec.Root+"/"+service+".applied", "digest")
	}
	for _, name := range []string{layout.KubeletDropIn, layout.ModulesFile, layout.SysctlFile} {
		m.write(name, inspect.Mark+"\n")
	}
}

// joined are credentials and data as kubeadm, kubelet and flannel leave them.
func (m *machine) joined() {
	m.write(inspect.KubeletConf, m.ca.KubeletConf("https://192.0.2.1:6443",
		layout.KubeletDir+"/pki/kubelet-client-current.pem"))
	m.write(layout.ClusterCA, m.ca.PEM)
	m.write(layout.KubernetesDir+"/manifests/.keep", "")
	m.write(layout.KubeletConfig, "kind: KubeletConfiguration\n")
	m.write(layout.KubeletDir+"/pki/kubelet-client-current.pem", "key")
	m.write(containerdRoot+"/io.containerd.metadata.v1.bolt/meta.db", "images")
	m.write("/var/log/pods/default_web_0/web/0.log", "hello")
	m.write("/var/log/containers/.keep", "")
	m.write(layout.FlannelConf, `{"name":"cbr0"}`)
	m.write("/opt/cni/bin/flannel", "the addon's plugin")
	m.write("/run/flannel/subnet.env", "FLANNEL_MTU=1450\n")
	m.write("/var/lib/cni/networks/cbr0/10.244.5.2", "web")
	m.write(volume+"/rows", "a user's data")
	assert.NilError(m.t, m.store.WriteRecord(&spec.Record{
		Cluster: "team-a", ClusterUID: "uid-a", Machine: "m1",
		NodeName: "m1", Version: "v1.34.4",
	}))
	m.write(spec.OperationsDir+"/join-1/status.json", "{}")
	assert.NilError(m.t, m.store.Prepare(m.operation.ID))
	assert.NilError(m.t, m.store.WriteOperation(m.operation))
}

// podsRun adds the files and processes of running pods.
func (m *machine) podsRun() {
	m.process(800, "kubelet", "/usr/local/bin/kubelet", "", "")
	m.process(700, "containerd", "/usr/local/bin/containerd", "", "")
	m.process(900, "containerd-shim", "/usr/local/bin/containerd-shim-runc-v2", "",
		"-namespace k8s.io -id c1 -address /run/containerd/containerd.sock")
	m.process(901, "web", "/web", "4:memory:/kubepods/besteffort/pod1/c1\n3:cpu:/kubepods/besteffort/pod1/c1", "")
	m.dockerRuns()
	for _, group := range []string{"/sys/fs/cgroup/memory/kubepods/besteffort/pod1", "/sys/fs/cgroup/cpu/kubepods"} {
		assert.NilError(m.t, os.MkdirAll(m.host.Path(group), 0o755))
	}
	for _, dir := range []string{
		layout.KubeletDir + "/pods/1/volumes/token",
		containerdState + "/io.containerd.runtime.v2.task/k8s.io/c1/rootfs",
	} {
		m.mounts = append(m.mounts, dir)
		assert.NilError(m.t, os.MkdirAll(m.host.Path(dir), 0o755))
	}
	m.write("/run/netns/cni-1", "")
	m.mounts = append(m.mounts, "/run/netns/cni-1")
	m.links = append(m.links, link{"veth1", "veth", "cni0"}, link{"cni0", "bridge", ""}, link{"flannel.1", "vxlan", ""},
		link{"kube-ipvs0", "dummy", ""})
	m.rules, m.services = []string{"ip nat KUBE-SERVICES", "ip filter FLANNEL-FWD"}, true
}

// dockerRuns adds the owner's Docker.
func (m *machine) dockerRuns() {
	m.process(902, "dockerd", "/usr/bin/dockerd", "4:memory:/system.slice/docker.service", "")
	m.process(903, "containerd-shim", "/usr/bin/containerd-shim-runc-v2", "",
		"-namespace moby -id d1 -address /run/docker/containerd/containerd.sock")
	m.write("/proc/net/tcp", "  sl  local_address rem_address   st\n")
	assert.NilError(m.t, os.MkdirAll(m.host.Path("/sys/fs/cgroup/memory/system.slice"), 0o755))
}

func (m *machine) process(pid int, name, program, group, flags string) {
	dir := fmt.Sprintf("/proc/%d", pid)
	m.write(dir+"/comm", name+"\n")
	m.write(dir+"/cgroup", group+"\n")
	m.write(dir+"/cmdline", strings.Join(append([]string{program}, strings.Fields(flags)...), "\x00"))
	assert.NilError(m.t, os.Symlink(program, m.host.Path(dir+"/exe")))
}

func (m *machine) write(name, content string) {
	m.t.Helper()
	path := m.host.Path(name)
	assert.NilError(m.t, os.MkdirAll(filepath.Dir(path), 0o755))
	assert.NilError(m.t, os.WriteFile(path, []byte(content), 0o644))
}

func (m *machine) writeMounts() {
	var table strings.Builder
	for i, point := range m.mounts {
		fmt.Fprintf(&table, "%d 1 0:%d / %s rw - tmpfs tmpfs rw\n", i+2, i+2, strings.ReplaceAll(point, " ", `\040`))
	}
	for i, controller := range []string{"memory", "cpu"} {
		const line = "%[1]d 1 0:%[1]d / /sys/fs/cgroup/%[2]s rw - cgroup cgroup rw,%[2]s\n"
		fmt.Fprintf(&table, line, 1000+i, controller)
	}
	m.write("/proc/self/mountinfo", table.String())
}

// files returns all files of the machine but those of the kernel.
func (m *machine) files() []string {
	var found []string
	assert.NilError(m.t, filepath.WalkDir(m.host.Root, func(path string, entry fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, m.host.Root)
		if err == nil && !entry.IsDir() && !strings.HasPrefix(name, "/proc/") {
			found = append(found, name)
		}
		return err
	}))
	return found
}

// changes counts a change, and reports whether it can still be made.
func (m *machine) changes(format string, args ...any) error {
	if m.killAfter >= 0 && len(m.calls) >= m.killAfter {
		return errKilled
	}
	m.calls = append(m.calls, fmt.Sprintf(format, args...))
	return nil
}

func (m *machine) Unmount(path string) error {
	name := strings.TrimPrefix(path, m.host.Root)
	if err := m.changes("unmount %s", name); err != nil {
		return err
	}
	at := slices.Index(m.mounts, name)
	assert.Assert(m.t, at >= 0, "%s is no mount", name)
	m.mounts = slices.Delete(m.mounts, at, at+1)
	m.writeMounts()
	return nil
}

func (m *machine) MakePrivate(string) error { return nil }

func (m *machine) Kill(pid int) error {
	if err := m.changes("kill %d", pid); err != nil || pid == m.stubborn {
		return err
	}
	return os.RemoveAll(m.host.Path("/proc/" + strconv.Itoa(pid)))
}

func (m *machine) Links() ([]link, error) { return slices.Clone(m.links), nil }

func (m *machine) RemoveLink(name string) error {
	if err := m.changes("remove link %s", name); err != nil {
		return err
	}
	m.links = slices.DeleteFunc(m.links, func(l link) bool { return l.Name == name })
	return nil
}

func (m *machine) Rules(*podNetworks) ([]string, error) { return slices.Clone(m.rules), nil }

func (m *machine) RemoveRules(*podNetworks) error {
	err := m.changes("remove rules")
	if err == nil {
		m.rules = nil
	}
	return err
}

func (m *machine) RemoveServices() error {
	err := m.changes("remove services")
	if err == nil {
		m.services = false
	}
	return err
}

// Run does to the machine the same as systemctl and ctr.
func (m *machine) Run(_ context.Context, c host.Command) ([]byte, error) {
	words := append([]string{filepath.Base(c.Argv[0])}, c.Argv[1:]...)
	command := strings.ReplaceAll(strings.Join(words, " "), m.host.Root, "")
	switch {
	case strings.HasPrefix(command, "systemctl show"), strings.HasPrefix(command, "systemctl is-system-running"):
		return []byte("active\n"), nil
	case strings.HasSuffix(command, "list --quiet"):
		const warning = "time=\"2026-01-05T10:00:00Z\" level=warning msg=\"something is deprecated\"\n"
		if m.host.Exists("/proc/900") {
			return []byte(warning + "c1\n"), nil
		}
		return []byte(warning), nil
	}
	err := m.changes("%s", command)
	if err == nil {
		err = m.fails[command]
	}
	if err != nil {
		return nil, &host.CommandError{Command: c, Err: err}
	}
	for ending, pids := range map[string][]int{
		"stop kubelet.service": {800}, "stop containerd.service": {700}, "tasks delete --force c1": {900, 901},
	} {
		for _, pid := range pids {
			if strings.HasSuffix(command, ending) && pid != m.stubborn {
				assert.NilError(m.t, os.RemoveAll(m.host.Path("/proc/"+strconv.Itoa(pid))))
			}
		}
	}
	return nil, nil
}

// listen makes containerd answer.
func (m *machine) listen() {
	m.t.Helper()
	path := m.host.Path(layout.ContainerdSocket)
	assert.NilError(m.t, os.MkdirAll(filepath.Dir(path), 0o755))
	// The name of a socket is short, and a test's folder is not.
	m.t.Chdir(filepath.Dir(path))
	listener, err := net.Listen("unix", filepath.Base(path))
	assert.NilError(m.t, err)
	m.t.Cleanup(func() { _ = listener.Close() })
}

func (m *machine) engine() *node.Engine {
	c := &cleaner{kernel: m, goneTimeout: 100 * time.Millisecond}
	return &node.Engine{Host: m.host, Store: m.store, Phases: map[spec.Kind][]node.Phase{spec.KindReset: c.phases()}}
}

// reset carries out the operation.
func (m *machine) reset() (*spec.Status, string) {
	m.t.Helper()
	var log bytes.Buffer
	assert.NilError(m.t, m.store.WriteOperation(m.operation))
	status, err := m.engine().Run(m.t.Context(), m.operation.ID, m.t.Context(), &log)
	assert.NilError(m.t, err)
	return status, log.String()
}

func (m *machine) plan() *spec.Status {
	m.t.Helper()
	status, err := m.engine().Plan(m.t.Context(), m.operation)
	assert.NilError(m.t, err)
	return status
}

// nodeContext returns the context of a phase.
func (m *machine) nodeContext() *node.Context {
	return &node.Context{Operation: m.operation, Host: m.host, Store: m.store, Log: io.Discard}
}

// ownerOf is the user and group that own a file.
func ownerOf(info fs.FileInfo) string {
	owner := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d", owner.Uid, owner.Gid)
}
