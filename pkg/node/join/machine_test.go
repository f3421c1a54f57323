package join

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/nodetest"
	"argosy.dev/argosy/pkg/node/spec"
)

const testToken = "abcdef.0123456789abcdef"

// machine is a folder that looks like one to the phases, with a runner that records the commands.
type machine struct {
	t        *testing.T
	host     *host.Host
	programs *fakePrograms
	join     *spec.Join
	context  *node.Context
	ca       *nodetest.Authority
}

// fakePrograms answers commands by the name of the program; those without an answer succeed silently.
type fakePrograms struct {
	mu      sync.Mutex
	calls   []string
	answers map[string]func(argv []string) (string, error)
	// lasting answers programs that run until they are told to end.
	lasting map[string]func(ctx context.Context) (string, error)
}

func (f *fakePrograms) Run(ctx context.Context, c host.Command) ([]byte, error) {
	name := filepath.Base(c.Argv[0])
	f.mu.Lock()
	f.calls = append(f.calls, name+" "+strings.Join(c.Argv[1:], " "))
	f.mu.Unlock()
	if c.Stdin != nil {
		_, _ = io.Copy(io.Discard, c.Stdin)
	}
	answer := f.answers[name]
	if lasting := f.lasting[name]; lasting != nil {
		answer = func([]string) (string, error) { return lasting(ctx) }
	}
	if answer == nil {
		return nil, nil
	}
	output, err := answer(c.Argv)
	if err != nil {
		return []byte(output), &host.CommandError{Command: c, Output: []byte(output), Err: err}
	}
	return []byte(output), nil
}

func (f *fakePrograms) called(prefix string) bool {
	for _, call := range f.calls {
		if strings.HasPrefix(call, prefix) {
			return true
		}
	}
	return false
}

// newMachine is a clean machine on which everything is as a node needs it.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{
		t: t, programs: &fakePrograms{answers: map[string]func([]string) (string, error){}},
		ca: nodetest.NewAuthority(t, "kubernetes"),
	}
	m.host = &host.Host{Root: t.TempDir(), Runner: m.programs}
	for name, content := range map[string]string{
		"/proc/sys/kernel/hostname":                     "m1\n",
		"/proc/sys/kernel/osrelease":                    "6.1.0-test\n",
		"/proc/sys/kernel/random/boot_id":               "boot-1\n",
		"/proc/1/comm":                                  "systemd\n",
		"/proc/meminfo":                                 "MemTotal:        4000000 kB\nMemFree: 1 kB\n",
		"/proc/filesystems":                             "nodev\tsysfs\nnodev\toverlay\n",
		"/proc/sys/net/bridge/bridge-nf-call-iptables":  "1\n",
		"/proc/sys/net/bridge/bridge-nf-call-ip6tables": "1\n",
		"/proc/sys/net/netfilter/nf_conntrack_max":      "1000\n",
		"/proc/sys/net/ipv4/ip_forward":                 "0\n",
		"/proc/swaps":                                   "Filename Type Size Used Priority\n",
		"/etc/hosts":                                    "127.0.0.1 localhost\n127.0.1.1 m1.example.org M1 # us\n",
		"/etc/resolv.conf":                              "",
		"/sys/fs/cgroup/cgroup.controllers":             "cpu memory\n",
		"/run/systemd/system/.keep":                     "",
	} {
		m.write(name, content)
	}
	m.join = &spec.Join{
		KubernetesVersion: "v1.34.4", NodeName: "m1", Server: "https://127.0.0.1:1", CACert: m.ca.PEM,
		ClusterUID:   "uid",
		Bundle:       spec.Bundle{Name: "kubernetes-v1.34.4-amd64.tar.gz", SHA256: strings.Repeat("0", 64)},
		BinariesPath: "/usr/local/bin", CNIBinariesPath: "/opt/cni/bin",
		Containerd: spec.Containerd{CgroupDriver: "systemd"},
	}
	m.context = &node.Context{
		Operation: &spec.Operation{
			ID: "op", Kind: spec.KindJoin, Cluster: "team-a", Machine: "m1", Join: m.join,
			Secrets: spec.Secrets{BootstrapToken: testToken},
		},
		Host: m.host, Store: node.NewStore(m.host), Log: io.Discard,
	}
	return m
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

func (m *machine) remove(name string) {
	m.t.Helper()
	assert.NilError(m.t, os.Remove(m.host.Path(name)))
}

// bundleFiles are those of a small but complete bundle for this computer's architecture.
func bundleFiles() map[string]string {
	files := map[string]string{
		"pause-image.txt": "registry.k8s.io/pause:3.10.1\n", "pause-image.tar": "an image",
		"cni/bin/bridge": "bridge", "cni/bin/loopback": "loopback",
	}
	for _, name := range []string{
		"kubeadm", "kubelet", "kubectl", "containerd", "containerd-shim-runc-v2", "ctr",
		"runc",
	} {
		files[name] = nodetest.ELF(runtime.GOARCH) + name
	}
	return files
}

// archive packs files below release/ and makes the operation want the result.
func (m *machine) archive(files map[string]string) []byte {
	m.t.Helper()
	data := nodetest.Bundle(m.t, files)
	sum := sha256.Sum256(data)
	m.join.Bundle.SHA256, m.join.Bundle.Size = hex.EncodeToString(sum[:]), int64(len(data))
	m.programs.answers["kubelet"] = func([]string) (string, error) { return "Kubernetes v1.34.4\n", nil }
	m.programs.answers["containerd"] = func([]string) (string, error) {
		return "containerd github.com/containerd/containerd/v2 v2.1.4 abc\n", nil
	}
	return data
}

// receive brings the bundle to where the machine follows it, whole.
func (m *machine) receive(data []byte) {
	m.write(spec.BundlesDir+"/"+m.join.Bundle.SHA256+".tar.gz", string(data))
}

// withBundle is a machine on which the bundle is unpacked.
func (m *machine) withBundle() *machine {
	m.t.Helper()
	m.receive(m.archive(bundleFiles()))
	_, err := applyBundle(context.Background(), m.context)
	assert.NilError(m.t, err)
	return m
}

// joined writes the files of a kubelet of the cluster with this CA.
func (m *machine) joined(ca *nodetest.Authority, server, nodeName string, until time.Time) {
	m.t.Helper()
	const certificate = "/var/lib/kubelet/pki/kubelet-client-current.pem"
	m.write(certificate, ca.Issue(m.t, "system:node:"+nodeName, until))
	m.write(inspect.KubeletConf, ca.KubeletConf(server, certificate))
	m.write(layout.ClusterCA, ca.PEM)
	m.write(layout.UnitsDir+"/kubelet.service", inspect.Mark+": the kubelet\n")
}
