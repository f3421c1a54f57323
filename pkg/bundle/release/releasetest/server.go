package releasetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/bundle/components"
)

// Kubernetes is the version that a Server has, with all that goes with it.
const Kubernetes = "v1.34.4"

// Version returns the version of a component that a Server has, without a "v".
func Version(component string) string {
	versions, err := components.Versions(Kubernetes, nil)
	if err != nil {
		panic(err)
	}
	return versions[component]
}

// at returns an address with {name} replaced by the version of that component.
func at(address string) string {
	return placeholder.ReplaceAllStringFunc(address, func(name string) string { return Version(name[1 : len(name)-1]) })
}

var placeholder = regexp.MustCompile(`\{[a-z-]+\}`)

// Server is one HTTP server in the place of dl.k8s.io and github.com, and a registry in that of registry.k8s.io,
// quay.io and ghcr.io.
type Server struct {
	files    *httptest.Server
	registry *httptest.Server

	mu      sync.Mutex
	content map[string][]byte
	cuts    map[string]int
	asked   map[string][]string
}

// New starts a server with every component of Kubernetes for the architectures; it ends with the test.
func New(t testing.TB, arches ...string) *Server {
	t.Helper()
	s := &Server{content: map[string][]byte{}, cuts: map[string]int{}, asked: map[string][]string{}}
	s.files = httptest.NewServer(s)
	t.Cleanup(s.files.Close)
	s.registry = httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.registry.Close)
	for _, arch := range arches {
		s.publish(t, arch)
	}
	s.publishSums(arches)
	s.PutImage(t, at("pause:{pause}"), arches, "pause")
	s.PutImage(t, at("kas-network-proxy/proxy-server:v{konnectivity}"), arches, "proxy-server")
	return s
}

// Mirrors lead to the server from each official host.
func (s *Server) Mirrors() map[string]string {
	return map[string]string{
		"dl.k8s.io":       s.files.URL + "/dl.k8s.io",
		"github.com":      s.files.URL + "/github.com",
		"registry.k8s.io": s.registry.URL,
		"quay.io":         s.registry.URL,
		"ghcr.io":         s.registry.URL,
	}
}

// Registry is the host and port of the registry, which also takes pushes.
func (s *Server) Registry() string { return strings.TrimPrefix(s.registry.URL, "http://") }

// Put publishes content at an official address, without its scheme.
func (s *Server) Put(address string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.content[address] = content
}

// Delete removes the content at an address.
func (s *Server) Delete(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.content, address)
}

// Cut lets the next answer from an address end after so many bytes, as when a connection is lost.
func (s *Server) Cut(address string, after int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cuts[address] = after
}

// Asked gives the Range header of each request for an address so far, "" where there was none.
func (s *Server) Asked(address string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked[address])
}

// ServeHTTP serves the content at an address.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	address := strings.TrimPrefix(r.URL.Path, "/")
	s.mu.Lock()
	s.asked[address] = append(s.asked[address], r.Header.Get("Range"))
	content, published := s.content[address]
	after, cut := s.cuts[address]
	delete(s.cuts, address)
	s.mu.Unlock()
	switch {
	case !published:
		http.NotFound(w, r)
	case cut:
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content[:after])
		// Without an answer that has begun, net/http's client asks again by itself.
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	default:
		http.ServeContent(w, r, address, time.Unix(1, 0), bytes.NewReader(content))
	}
}

// publish puts everything that is published by architecture.
func (s *Server) publish(t testing.TB, arch string) {
	t.Helper()
	for _, program := range []string{
		"kubeadm", "kubelet", "kubectl", "kube-apiserver", "kube-controller-manager",
		"kube-scheduler",
	} {
		address := at("dl.k8s.io/release/v{kubernetes}/bin/linux/") + arch + "/" + program
		s.Put(address, Program(arch, program))
		// The digest alone, and no end of the line.
		s.Put(address+".sha256", []byte(Digest(Program(arch, program))))
	}
	for _, archive := range []struct {
		address, sums string
		folder        string
		programs      []string
	}{
		{
			"github.com/containerd/containerd/releases/download/v{containerd}/" +
				"containerd-static-{containerd}-linux-" + arch + ".tar.gz",
			".sha256sum",
			"bin/",
			[]string{"containerd", "containerd-shim-runc-v2", "containerd-stress", "ctr"},
		},
		{
			"github.com/containernetworking/plugins/releases/download/v{cni-plugins}/cni-plugins-linux-" + arch +
				"-v{cni-plugins}.tgz",
			".sha256",
			"./",
			[]string{"bandwidth", "bridge", "dhcp", "firewall", "host-local", "loopback", "portmap"},
		},
		{
			"github.com/kubernetes-sigs/cri-tools/releases/download/v{crictl}/crictl-v{crictl}-linux-" + arch +
				".tar.gz",
			".sha256",
			"",
			[]string{"crictl"},
		},
		{
			"github.com/etcd-io/etcd/releases/download/v{etcd}/etcd-v{etcd}-linux-" + arch + ".tar.gz", "",
			"etcd-v{etcd}-linux-" + arch + "/",
			[]string{"etcd", "etcdctl", "etcdutl"},
		},
	} {
		address := at(archive.address)
		content := Archive(t, arch, at(archive.folder), archive.programs...)
		s.Put(address, content)
		if archive.sums != "" {
			s.Put(address+archive.sums, []byte(Digest(content)+"  "+path.Base(address)+"\n"))
		}
	}
	s.Put(at("github.com/opencontainers/runc/releases/download/v{runc}/runc.")+arch, Program(arch, "runc"))
	s.Put(at("github.com/k3s-io/kine/releases/download/v{kine}/kine-")+arch, Program(arch, "kine"))
	// With the folder of the machine that built it.
	s.Put(at("github.com/k3s-io/kine/releases/download/v{kine}/sha256sum-")+arch+".txt",
		[]byte(Digest(Program(arch, "kine"))+"  dist/artifacts/kine-"+arch+"\n"))
}

// publishSums puts the checksum files that hold those of all architectures.
func (s *Server) publishSums(arches []string) {
	for sums, files := range map[string][]string{
		"github.com/opencontainers/runc/releases/download/v{runc}/runc.sha256sum": {"runc.amd64", "runc.arm64"},
		"github.com/etcd-io/etcd/releases/download/v{etcd}/SHA256SUMS": {
			"etcd-v{etcd}-linux-amd64.tar.gz",
			"etcd-v{etcd}-linux-arm64.tar.gz",
		},
	} {
		sums = at(sums)
		var text strings.Builder
		for _, file := range files {
			file = at(file)
			if content, published := s.content[sums[:strings.LastIndex(sums, "/")+1]+file]; published {
				fmt.Fprintf(&text, "%s *%s\n", Digest(content), file)
			}
		}
		s.Put(sums, []byte(text.String()))
	}
}

// PutImage publishes an image with one program at that path, over a layer with something else.
func (s *Server) PutImage(t testing.TB, repository string, arches []string, program string) {
	t.Helper()
	index := v1.ImageIndex(empty.Index)
	for _, arch := range arches {
		image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: arch})
		assert.NilError(t, err)
		for _, files := range []map[string][]byte{
			{"etc/passwd": []byte("root:x:0:0:root:/:/none\n")},
			{program: Program(arch, path.Base(program))},
		} {
			content := tarGz(t, files)
			layer, err := tarball.LayerFromOpener(func() (io.ReadCloser,
				error,
			) {
				return io.NopCloser(bytes.NewReader(content)), nil
			})
			assert.NilError(t, err)
			image, err = mutate.AppendLayers(image, layer)
			assert.NilError(t, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	reference, err := name.ParseReference(s.Registry() + "/" + repository)
	assert.NilError(t, err)
	assert.NilError(t, remote.WriteIndex(reference, index))
}

// Archive is a tar.gz with programs in a folder, "bin/" or "".
func Archive(t testing.TB, arch, folder string, programs ...string) []byte {
	t.Helper()
	files := map[string][]byte{}
	for _, program := range programs {
		files[folder+program] = Program(arch, program)
	}
	return tarGz(t, files)
}

func tarGz(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var content bytes.Buffer
	compressed := gzip.NewWriter(&content)
	archive := tar.NewWriter(compressed)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		assert.NilError(t, archive.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: name, Mode: 0o755,
			Size: int64(len(files[name])),
		}))
		_, err := archive.Write(files[name])
		assert.NilError(t, err)
	}
	assert.NilError(t, archive.Close())
	assert.NilError(t, compressed.Close())
	return content.Bytes()
}

// Digest is a SHA-256 as checksum files have it.
func Digest(content []byte) string {
	return fmt.Sprintf("%x", sha256.Sum256(content))
}
