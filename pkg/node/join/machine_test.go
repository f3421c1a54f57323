package join

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
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
	"argosy.dev/argosy/pkg/node/spec"
)

const testToken = "abcdef.0123456789abcdef"

// machine is a folder that looks like one to the phases, with a runner that records what would be started.
type machine struct {
	t        *testing.T
	host     *host.Host
	programs *fakePrograms
	join     *spec.Join
	context  *node.Context
	ca       *authority
}

// fakePrograms answers commands by the name of the program; those without an answer succeed silently.
type fakePrograms struct {
	mu      sync.Mutex
	calls   []string
	answers map[string]func(argv []string) (string, error)
}

func (f *fakePrograms) Run(_ context.Context, c host.Command) ([]byte, error) {
	name := filepath.Base(c.Argv[0])
	f.mu.Lock()
	f.calls = append(f.calls, name+" "+strings.Join(c.Argv[1:], " "))
	f.mu.Unlock()
	if c.Stdin != nil {
		_, _ = io.Copy(io.Discard, c.Stdin)
	}
	answer := f.answers[name]
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
	m := &machine{t: t, programs: &fakePrograms{answers: map[string]func([]string) (string, error){}}, ca: newAuthority(t, "kubernetes")}
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
		KubernetesVersion: "v1.34.4", NodeName: "m1", Server: "https://192.0.2.1:6443", CACert: string(m.ca.pem), ClusterUID: "uid",
		Bundle:       spec.Bundle{Name: "kubernetes-v1.34.4-amd64.tar.gz", SHA256: strings.Repeat("0", 64)},
		BinariesPath: "/usr/local/bin", CNIBinariesPath: "/opt/cni/bin",
		Containerd: spec.Containerd{CgroupDriver: "systemd"},
	}
	m.context = &node.Context{
		Operation: &spec.Operation{ID: "op", Kind: spec.KindJoin, Cluster: "team-a", Machine: "m1", Join: m.join, Secrets: spec.Secrets{BootstrapToken: testToken}},
		Host:      m.host, Store: node.NewStore(m.host), Log: io.Discard,
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

// elf is enough of a program's header to tell its machine.
func elf(arch string) string {
	header := make([]byte, 64)
	copy(header, "\x7fELF\x02\x01\x01")
	header[16], header[20] = 2, 1
	header[18] = map[string]byte{"amd64": 62, "arm64": 183}[arch]
	header[52], header[54], header[58] = 64, 56, 64
	return string(header)
}

// bundleFiles are those of a small but complete bundle for this computer's architecture.
func bundleFiles() map[string]string {
	files := map[string]string{"pause-image.txt": "registry.k8s.io/pause:3.10.1\n", "pause-image.tar": "an image", "cni/bin/bridge": "bridge", "cni/bin/loopback": "loopback"}
	for _, name := range []string{"kubeadm", "kubelet", "kubectl", "containerd", "containerd-shim-runc-v2", "ctr", "runc"} {
		files[name] = elf(runtime.GOARCH) + name
	}
	return files
}

// archive packs files below release/ and makes the operation want the result.
func (m *machine) archive(files map[string]string) []byte {
	m.t.Helper()
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	packed := tar.NewWriter(compressed)
	for name, content := range files {
		assert.NilError(m.t, packed.WriteHeader(&tar.Header{Name: "./release/" + name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content))}))
		_, err := io.WriteString(packed, content)
		assert.NilError(m.t, err)
	}
	assert.NilError(m.t, packed.Close())
	assert.NilError(m.t, compressed.Close())
	sum := sha256.Sum256(out.Bytes())
	m.join.Bundle.SHA256, m.join.Bundle.Size = hex.EncodeToString(sum[:]), int64(out.Len())
	m.programs.answers["kubelet"] = func([]string) (string, error) { return "Kubernetes v1.34.4\n", nil }
	m.programs.answers["containerd"] = func([]string) (string, error) {
		return "containerd github.com/containerd/containerd/v2 v2.1.4 abc\n", nil
	}
	return out.Bytes()
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

type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	pem         []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	assert.NilError(t, err)
	certificate, err := x509.ParseCertificate(der)
	assert.NilError(t, err)
	return &authority{key, certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (a *authority) issue(t *testing.T, name string, until time.Time) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, a.key.Public(), a.key)
	assert.NilError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// joined leaves what a kubelet of the cluster with this CA leaves.
func (m *machine) joined(ca *authority, server, nodeName string, until time.Time) {
	m.t.Helper()
	const certificate = "/var/lib/kubelet/pki/kubelet-client-current.pem"
	m.write(certificate, string(ca.issue(m.t, "system:node:"+nodeName, until)))
	m.write(inspect.KubeletConf, fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: default
clusters:
- name: default-cluster
  cluster: {server: %q, certificate-authority-data: %s}
contexts:
- name: default
  context: {cluster: default-cluster, user: default-auth}
users:
- name: default-auth
  user: {client-certificate: %s, client-key: %s}
`, server, base64.StdEncoding.EncodeToString(ca.pem), certificate, certificate))
	m.write(layout.ClusterCA, string(ca.pem))
	m.write(layout.UnitsDir+"/kubelet.service", inspect.Mark+": the kubelet\n")
}
