package upgrade

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/join"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/nodetest"
	"argosy.dev/argosy/pkg/node/original"
	"argosy.dev/argosy/pkg/node/spec"
)

const (
	older = "v1.33.5"
	newer = "v1.34.4"

	kubeletExe = "/proc/812/exe"
)

// elf begins every program.
var elf = nodetest.ELF(runtime.GOARCH)

// errKilled is returned by every program after the simulated power cut.
var errKilled = errors.New("killed")

// machine is a folder that looks like a node to the phases. Its programs do to the folder what the real ones do to a
// machine.
type machine struct {
	t     *testing.T
	host  *host.Host
	store *node.Store
	ca    *nodetest.Authority
	join  *spec.Join
	// containerd is the version that the machine joins with; empty for 2.0.1.
	containerd string
	// token and logins are the operation's secrets.
	token  string
	logins map[string]spec.RegistryLogin
	// clusterConfig is the cluster's kubelet-config, as kubeadm finds it there.
	clusterConfig string
	// healthz is where the kubelet answers.
	healthz string
	// images are those that containerd has.
	images []string
	// runs has the program and the configuration that a service was last started with.
	runs map[string]string
	// restarts of a service that systemd made, and whether the kubelet of a version is one that dies at once.
	restarts int
	dies     string
	// quit closes containerd's socket.
	quit func()
	// archives are the bundles that were brought, by their digests.
	archives map[string]string
	// calls are the changes that were asked of programs, and killAfter how many of them are carried out before nothing
	// works any more; negative for all.
	calls     []string
	killAfter int
}

// bundle is one that repositories would offer.
type archived struct {
	bundle spec.Bundle
	data   []byte
}

// newNode is a machine that joined at the older version, by the very phases that join one, and that is wanted at the
// newer.
func newNode(t *testing.T, change ...func(m *machine)) *machine {
	t.Helper()
	m := newMachine(t, nodetest.Root(t), change...)
	m.joined("m1")
	m.succeeds(spec.KindJoin)
	m.wantsNewer()
	return m
}

// wantsNewer makes the documents want the newer version.
func (m *machine) wantsNewer() {
	m.receive(newer, bundleOf(m.t, newer, "2.1.4"))
	m.configured("maxPods: 110\nnewer: true\n")
	m.calls = nil
}

// newMachine is one that is wanted at the older version, and has the bundle for it.
func newMachine(t *testing.T, root string, change ...func(m *machine)) *machine {
	t.Helper()
	m := &machine{t: t, ca: nodetest.NewAuthority(t, "kubernetes"), runs: map[string]string{}, killAfter: -1}
	m.host = &host.Host{Root: root, Runner: m}
	m.store = node.NewStore(m.host)
	m.clean()
	m.listens()
	m.join = &spec.Join{
		NodeName: "m1", Server: "https://192.0.2.1:6443", CACert: m.ca.PEM, ClusterUID: "uid",
		BinariesPath: "/usr/local/bin", CNIBinariesPath: "/opt/cni/bin",
		Containerd: spec.Containerd{CgroupDriver: "systemd"},
	}
	for _, do := range change {
		do(m)
	}
	m.configured("maxPods: 110\n")
	m.receive(older, bundleOf(t, older, cmp.Or(m.containerd, "2.0.1")))
	return m
}

func (m *machine) clean() {
	for name, content := range map[string]string{
		"/proc/sys/kernel/hostname":                     "m1\n",
		"/proc/sys/kernel/random/boot_id":               "boot-1\n",
		"/proc/1/comm":                                  "systemd\n",
		"/proc/filesystems":                             "nodev\toverlay\n",
		"/proc/sys/net/bridge/bridge-nf-call-iptables":  "1\n",
		"/proc/sys/net/bridge/bridge-nf-call-ip6tables": "1\n",
		"/proc/sys/net/netfilter/nf_conntrack_max":      "1000\n",
		"/proc/sys/net/ipv4/ip_forward":                 "0\n",
		"/sys/fs/cgroup/cgroup.controllers":             "cpu memory\n",
		"/run/systemd/system/.keep":                     "",
	} {
		m.write(name, content)
	}
}

// listens makes containerd's socket and the kubelet's answer.
func (m *machine) listens() {
	m.t.Helper()
	m.listensAt()
	kubelet := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	m.t.Cleanup(kubelet.Close)
	var err error
	_, m.healthz, err = net.SplitHostPort(kubelet.Listener.Addr().String())
	assert.NilError(m.t, err)
}

// listensAt makes containerd's socket.
func (m *machine) listensAt() {
	m.t.Helper()
	socket := m.host.Path(layout.ContainerdSocket)
	assert.NilError(m.t, os.MkdirAll(filepath.Dir(socket), 0o755))
	_ = os.Remove(socket)
	listener, err := net.Listen("unix", socket)
	assert.NilError(m.t, err)
	m.quit = func() { _ = listener.Close() }
	m.t.Cleanup(m.quit)
}

// configured sets the cluster's kubelet-config.
func (m *machine) configured(config string) {
	m.clusterConfig = "healthzPort: " + m.healthz + "\n" + config
	m.join.KubeletConfig = m.clusterConfig
}

// bundleOf is a bundle of a version, with containerd of another.
func bundleOf(t *testing.T, version, containerd string, more ...string) archived {
	t.Helper()
	files := map[string]string{
		"pause-image.txt": "registry.k8s.io/pause:" + version[1:] + "\n", "pause-image.tar": "an image",
		"cni/bin/bridge": "bridge " + version, "cni/bin/loopback": "loopback " + version,
	}
	for _, name := range []string{"kubeadm", "kubelet", "kubectl", "runc"} {
		files[name] = elf + name + " " + version
	}
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
		files[name] = elf + name + " v" + containerd
	}
	for _, name := range more {
		files[name] = name + " " + version
	}
	data := nodetest.Bundle(t, files)
	sum := sha256.Sum256(data)
	return archived{spec.Bundle{
		Name: "kubernetes-" + version + ".tar.gz", SHA256: hex.EncodeToString(sum[:]), Size: int64(len(data)),
	}, data}
}

// receive makes the documents want a version, and brings its bundle to where the machine follows it, whole.
func (m *machine) receive(version string, b archived) {
	m.t.Helper()
	m.join.KubernetesVersion, m.join.Bundle = version, b.bundle
	m.write(spec.BundlesDir+"/"+b.bundle.SHA256+".tar.gz", string(b.data))
	if m.archives == nil {
		m.archives = map[string]string{}
	}
	m.archives[b.bundle.SHA256] = string(b.data)
}

func (m *machine) write(name, content string) {
	m.t.Helper()
	path := m.host.Path(name)
	assert.NilError(m.t, os.MkdirAll(filepath.Dir(path), 0o755))
	assert.NilError(m.t, os.WriteFile(path, []byte(content), 0o644))
}

func (m *machine) read(name string) string {
	m.t.Helper()
	data, err := m.host.ReadFile(name)
	assert.NilError(m.t, err)
	return string(data)
}

// file describes a file for comparisons: its kind, and for programs the version.
type file struct {
	mode    fs.FileMode
	content string
	inode   uint64
}

// files returns all files of the machine but those of the kernel and of operations.
func (m *machine) files(but ...string) map[string]file {
	m.t.Helper()
	found := map[string]file{}
	passed := append([]string{
		"/proc", "/sys", "/run", spec.OperationsDir, spec.LockFile, spec.BundlesDir, original.Dir,
	}, but...)
	walk := func(path string, entry fs.DirEntry, err error) error {
		assert.NilError(m.t, err)
		name := strings.TrimPrefix(path, m.host.Root)
		// An edit that was put right is the owner's, and stays.
		if slices.Contains(passed, name) || strings.Contains(name, ".edited-") {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := entry.Info()
		assert.NilError(m.t, err)
		if entry.IsDir() {
			return nil
		}
		one := file{mode: info.Mode()}
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			assert.NilError(m.t, err)
			if name == layout.RegistryLogins {
				// A rollback takes the logins of now.
				content, err = join.WithoutLogins(content)
				assert.NilError(m.t, err)
			}
			one.content = string(content)
		}
		if strings.Contains(name, "/bin/") {
			one.inode = info.Sys().(*syscall.Stat_t).Ino
		}
		found[name] = one
		return nil
	}
	assert.NilError(m.t, filepath.WalkDir(m.host.Root, walk))
	return found
}

// beside are all files but Argosy's notes for a rollback and its store of bundles.
func (m *machine) beside() map[string]file {
	return m.files(keptFile, keptDir, layout.Store(m.join.BinariesPath))
}

// same compares, and names the differences.
func (m *machine) same(before, now map[string]file) {
	m.t.Helper()
	for name, was := range before {
		is, there := now[name]
		assert.Assert(m.t, there, "%s is gone", name)
		assert.Equal(m.t, is, was, "%s", name)
	}
	for name := range now {
		_, there := before[name]
		assert.Assert(m.t, there, "%s was not there before", name)
	}
	for _, running := range []string{"kubelet", "containerd"} {
		if program, there := before[m.join.BinariesPath+"/"+running]; there {
			assert.Assert(m.t, strings.HasPrefix(m.runs[running], program.content+"\n"), "%s runs with another program",
				running)
		}
	}
}

// Run does to the machine the same as the programs.
func (m *machine) Run(_ context.Context, c host.Command) ([]byte, error) {
	name := filepath.Base(c.Argv[0])
	words := strings.Join(c.Argv[1:], " ")
	switch {
	case words == "--version":
		content, err := os.ReadFile(c.Argv[0])
		if err != nil {
			return nil, &host.CommandError{Command: c, Err: err}
		}
		return content[len(elf):], nil
	case strings.HasPrefix(words, "show "):
		if m.dying() {
			m.restarts += 5
		}
		return fmt.Appendf(nil, "NRestarts=%d\n", m.restarts), nil
	case name == "kubelet" && strings.HasSuffix(words, "--exit-on-lock-contention=true"):
		// It was asked whether it takes its settings, and touched nothing.
		return []byte(`"command failed" err="no lock file specified"`), &host.CommandError{Command: c}
	case name == "journalctl":
		return []byte("kubelet: unknown flag\n"), nil
	case words == "is-system-running":
		return []byte("running\n"), nil
	case strings.Contains(words, "images import --help"):
		return []byte("--local --sync-fs"), nil
	case strings.Contains(words, "images list"):
		return []byte("REF\n" + strings.Join(m.images, "\n") + "\n"), nil
	}
	if m.killAfter >= 0 && len(m.calls) >= m.killAfter {
		return nil, &host.CommandError{Command: c, Err: errKilled}
	}
	call := strings.ReplaceAll(strings.TrimSpace(name+" "+words), m.host.Root, "")
	m.calls = append(m.calls, call)
	switch name {
	case "systemctl":
		m.systemd(c.Argv[1:])
	case "kubeadm":
		m.kubeadm(c.Argv[0], words)
	case "ctr":
		m.images = append(m.images, m.importing()+" x io.cri-containerd.pinned=pinned")
	}
	return nil, nil
}

// importing is the image that the bundle brings.
func (m *machine) importing() string { return "registry.k8s.io/pause:" + m.join.KubernetesVersion[1:] }

func (m *machine) dying() bool {
	return m.dies != "" && strings.Contains(m.read("/usr/local/bin/kubelet"), m.dies)
}

// systemd starts a service with the present files.
func (m *machine) systemd(args []string) {
	if len(args) < 2 {
		return
	}
	switch args[1] {
	case "kubelet.service":
		m.restarts = 0
		_ = os.Remove(m.host.Path(kubeletExe))
		m.runs["kubelet"] = m.read("/usr/local/bin/kubelet") + "\n" + m.read(layout.KubeletConfig) +
			m.read(layout.KubeletFlags)
		if !m.dying() {
			m.write("/proc/812/comm", "kubelet\n")
			// As in /proc, this is the file itself and not its name.
			assert.NilError(m.t, os.Link(m.host.Path("/usr/local/bin/kubelet"), m.host.Path(kubeletExe)))
		}
	case "containerd.service":
		m.runs["containerd"] = m.read("/usr/local/bin/containerd") + "\n" + m.read(layout.ContainerdConfig)
	}
}

// kubeadm writes the kubelet's files. One of another version than the installed kubelet is only run to upgrade the
// node.
func (m *machine) kubeadm(program, words string) {
	content, err := os.ReadFile(program)
	assert.NilError(m.t, err)
	version := strings.Fields(string(content[len(elf):]))[1]
	m.write(layout.KubeletConfig, "# of kubeadm "+version+"\n"+m.clusterConfig)
	switch words {
	case "upgrade node", "upgrade node --ignore-preflight-errors=SystemVerification,Mem":
		m.write(layout.KubeletFlags, `KUBELET_KUBEADM_ARGS="--hostname-override=m1 --of=`+version+`"`+"\n")
		m.write(layout.KubeletDir+"/instance-config.yaml", "of: "+version+"\n")
	case "upgrade node phase kubelet-config":
	case "join --config " + m.host.Path(m.store.Dir("join-1")+"/join.json"):
		m.joined("m1")
		m.write(layout.KubeletConfig, "# of kubeadm "+version+"\n"+m.clusterConfig)
		m.systemd([]string{"restart", "kubelet.service"})
	default:
		m.t.Errorf("kubeadm was called with %q", words)
	}
	// The names of its files get to the disk soon, and their content later.
	assert.NilError(m.t, commitNames(m.host.Path(layout.KubeletDir)))
}

// commitNames has the file system commit its journal, as it does every five seconds.
func commitNames(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// operation returns one of a kind, for the documents.
func (m *machine) operation(kind spec.Kind) *spec.Operation {
	return &spec.Operation{
		ID: string(kind) + "-1", Kind: kind, Cluster: "team-a", Machine: "m1", Join: m.join,
		Secrets: spec.Secrets{BootstrapToken: m.token, Registries: m.logins},
	}
}

func (m *machine) engine() *node.Engine {
	return &node.Engine{Host: m.host, Store: m.store, Phases: map[spec.Kind][]node.Phase{
		spec.KindJoin: join.Phases(), spec.KindStage: StagePhases(), spec.KindUpgrade: Phases(),
		spec.KindRollback: RollbackPhases(),
	}}
}

// carryOut runs an operation until its end, or until the stop.
func (m *machine) carryOut(kind spec.Kind, engine *node.Engine, stop context.Context) *spec.Status {
	m.t.Helper()
	op := m.operation(kind)
	assert.NilError(m.t, errors.Join(m.store.Prepare(op.ID), m.store.WriteOperation(op)))
	var log bytes.Buffer
	status, err := engine.Run(m.t.Context(), op.ID, stop, &log)
	assert.NilError(m.t, err)
	assert.Assert(m.t, !strings.Contains(log.String(), "older bundle"), log.String())
	return status
}

func (m *machine) runsKind(kind spec.Kind) *spec.Status {
	m.t.Helper()
	return m.carryOut(kind, m.engine(), m.t.Context())
}

func (m *machine) succeeds(kind spec.Kind) *spec.Status {
	m.t.Helper()
	status := m.runsKind(kind)
	assert.Equal(m.t, status.State, spec.Succeeded, "%s: %s", status.Phase, status.Message)
	return status
}

func (m *machine) fails(kind spec.Kind) *spec.Status {
	m.t.Helper()
	status := m.runsKind(kind)
	assert.Equal(m.t, status.State, spec.Failed)
	return status
}

// stopsAfter runs an operation that is told to stop when this phase is over.
func (m *machine) stopsAfter(kind spec.Kind, phase string) {
	m.t.Helper()
	stop, cancel := context.WithCancelCause(m.t.Context())
	defer cancel(nil)
	engine := m.engine()
	phases := slices.Clone(engine.Phases[kind])
	at := slices.IndexFunc(phases, func(p node.Phase) bool { return p.Name == phase })
	check, apply := phases[at].Check, phases[at].Apply
	phases[at].Check = func(ctx context.Context, c *node.Context) (bool, string, error) {
		held, detail, err := check(ctx, c)
		if held {
			cancel(node.ErrStopped)
		}
		return held, detail, err
	}
	phases[at].Apply = func(ctx context.Context, c *node.Context) (string, error) {
		defer cancel(node.ErrStopped)
		return apply(ctx, c)
	}
	engine.Phases[kind] = phases
	status := m.carryOut(kind, engine, stop)
	if at < len(phases)-1 {
		assert.Equal(m.t, status.State, spec.Failed)
		assert.Equal(m.t, status.Phase, phases[at+1].Name)
	}
}

// plan returns the outcome of each phase of an operation.
func (m *machine) plan(kind spec.Kind) *spec.Status {
	m.t.Helper()
	status, err := m.engine().Plan(m.t.Context(), m.operation(kind))
	assert.NilError(m.t, err)
	return status
}

// allHeld makes sure that an operation has nothing to do and does nothing.
func (m *machine) allHeld(kind spec.Kind) {
	m.t.Helper()
	m.calls = nil
	before := m.files()
	assert.Equal(m.t, m.plan(kind).State, spec.Succeeded)
	assert.Assert(m.t, !m.succeeds(kind).Changed)
	assert.Equal(m.t, len(m.calls), 0, "%v", m.calls)
	m.same(before, m.files())
}

// called counts the calls that begin so.
func (m *machine) called(prefix string) int {
	return len(slices.DeleteFunc(slices.Clone(m.calls), func(call string) bool {
		return !strings.HasPrefix(call,
			prefix)
	}))
}

// restarted counts how often a service was started.
func (m *machine) restarted(service string) int {
	return len(slices.DeleteFunc(slices.Clone(m.calls), func(call string) bool {
		return !strings.HasPrefix(call, "systemctl ") || !strings.HasSuffix(call, service+".service")
	}))
}

func (m *machine) record() spec.Record {
	m.t.Helper()
	record, err := m.store.Record()
	assert.NilError(m.t, err)
	assert.Assert(m.t, record != nil)
	return *record
}

// joined leaves the credentials of a kubelet of the cluster.
func (m *machine) joined(nodeName string) {
	m.t.Helper()
	const certificate = layout.KubeletDir + "/pki/kubelet-client-current.pem"
	m.write(certificate, m.ca.Issue(m.t, "system:node:"+nodeName, time.Now().Add(time.Hour)))
	m.write(inspect.KubeletConf, m.ca.KubeletConf(m.join.Server, certificate))
	m.write(layout.ClusterCA, m.ca.PEM)
	m.write(layout.KubeletConfig, "# of kubeadm join\n"+m.clusterConfig)
	m.write(layout.KubeletFlags, `KUBELET_KUBEADM_ARGS="--hostname-override=m1"`+"\n")
}
