package release_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"

	"argosy.dev/argosy/pkg/bundle/assemble"
	"argosy.dev/argosy/pkg/bundle/release"
	"argosy.dev/argosy/pkg/bundle/release/releasetest"
	"argosy.dev/argosy/pkg/errclass"
)

const kubelet = "dl.k8s.io/release/v1.34.4/bin/linux/amd64/kubelet"

var (
	containerd = "github.com/containerd/containerd/releases/download/v" + releasetest.Version("containerd") +
		"/containerd-static-" + releasetest.Version("containerd") + "-linux-amd64.tar.gz"
	runcSums = "github.com/opencontainers/runc/releases/download/v" + releasetest.Version("runc") + "/runc.sha256sum"
)

func plan(t *testing.T, server *releasetest.Server, arches ...string) release.Plan {
	t.Helper()
	return release.Plan{
		Kubernetes: releasetest.Kubernetes, Arches: arches,
		Parts:   []assemble.Part{assemble.Node, assemble.ControlPlane},
		Mirrors: server.Mirrors(), Cache: t.TempDir(),
	}
}

// tree lists the files beneath dir.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	assert.NilError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			relative, _ := filepath.Rel(dir, path)
			files = append(files, relative)
		}
		return err
	}))
	return files
}

func TestReleasesBecomeADirectoryOfBinaries(t *testing.T) {
	server := releasetest.New(t, "amd64", "arm64")
	dir := t.TempDir()
	components, err := release.Fetch(t.Context(), plan(t, server, "arm64", "amd64"), dir)
	assert.NilError(t, err)

	var want []string
	for _, arch := range []string{"amd64", "arm64"} {
		for _, name := range strings.Fields(`cni/bin/bandwidth cni/bin/bridge cni/bin/firewall cni/bin/host-local cni/bin/loopback
			cni/bin/portmap containerd containerd-shim-runc-v2 crictl ctr etcd etcdctl etcdutl kine konnectivity-server
			kube-apiserver kube-controller-manager kube-scheduler kubeadm kubectl kubelet pause-image.tar pause-image.txt runc`) {
			want = append(want, arch+"/"+name)
		}
	}
	assert.DeepEqual(t, tree(t, dir), want)
	for name, program := range map[string]string{
		"amd64/kubelet": "kubelet", "arm64/ctr": "ctr", "arm64/cni/bin/bridge": "bridge", "amd64/etcdutl": "etcdutl",
		"arm64/kine": "kine", "amd64/konnectivity-server": "proxy-server", "arm64/konnectivity-server": "proxy-server",
	} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		assert.NilError(t, err)
		arch, _, _ := strings.Cut(name, "/")
		assert.Assert(t, string(got) == string(releasetest.Program(arch, program)), name)
	}
	reference, err := os.ReadFile(filepath.Join(dir, "arm64/pause-image.txt"))
	assert.NilError(t, err)
	assert.Equal(t, string(reference), "registry.k8s.io/pause:"+releasetest.Version("pause")+"\n")

	// Names and addresses are the published ones, also with a mirror.
	at := slices.IndexFunc(components, func(c assemble.Component) bool {
		return c.Name == "containerd" &&
			c.Arch == "amd64"
	})
	assert.DeepEqual(t, components[at], assemble.Component{
		Name: "containerd", Arch: "amd64", Version: "v" + releasetest.Version("containerd"),
		Location: "https://" + containerd,
		SHA256: releasetest.Digest(releasetest.Archive(t, "amd64", "bin/", "containerd", "containerd-shim-runc-v2",
			"containerd-stress", "ctr")),
		PURL:  "pkg:github/containerd/containerd@v" + releasetest.Version("containerd"),
		Files: []string{"containerd", "containerd-shim-runc-v2", "ctr"},
	})
	at = slices.IndexFunc(components, func(c assemble.Component) bool { return c.Name == "konnectivity-server" })
	assert.Assert(t, cmp.Regexp(`^https://registry.k8s.io/v2/kas-network-proxy/proxy-server/manifests/sha256:[0-9a-f]{64}$`, components[at].Location))
	_, err = assemble.FromDirectory(dir, releasetest.Kubernetes)
	assert.NilError(t, err)
}

func TestOnlyTheWantedPartIsFetched(t *testing.T) {
	server := releasetest.New(t, "amd64")
	p := plan(t, server, "amd64")
	p.Parts = []assemble.Part{assemble.Node}
	dir := t.TempDir()
	_, err := release.Fetch(t.Context(), p, dir)
	assert.NilError(t, err)
	assert.Assert(t, !slices.Contains(tree(t, dir), "amd64/etcd"))
	assert.Equal(t, len(server.Asked("dl.k8s.io/release/v1.34.4/bin/linux/amd64/kube-apiserver")), 0)
}

func TestWhatIsInTheCacheIsNotFetchedAgain(t *testing.T) {
	server := releasetest.New(t, "amd64")
	p := plan(t, server, "amd64")
	for range 2 {
		_, err := release.Fetch(t.Context(), p, t.TempDir())
		assert.NilError(t, err)
	}
	assert.DeepEqual(t, server.Asked(kubelet), []string{""})
	assert.DeepEqual(t, server.Asked(containerd), []string{""})
}

func TestACachedFileThatWasDamagedIsFetchedAnew(t *testing.T) {
	server := releasetest.New(t, "amd64")
	p := plan(t, server, "amd64")
	kept := filepath.Join(p.Cache, "sha256", releasetest.Digest(releasetest.Program("amd64", "kubelet")))
	assert.NilError(t, os.MkdirAll(filepath.Dir(kept), 0o755))
	assert.NilError(t, os.WriteFile(kept, []byte("damaged"), 0o644))
	dir := t.TempDir()
	_, err := release.Fetch(t.Context(), p, dir)
	assert.NilError(t, err)
	got, err := os.ReadFile(filepath.Join(dir, "amd64/kubelet"))
	assert.NilError(t, err)
	assert.Equal(t, releasetest.Digest(got), filepath.Base(kept))
}

func TestLostConnectionIsResumedAtTheLastByte(t *testing.T) {
	server := releasetest.New(t, "amd64")
	server.Cut(kubelet, 40_000)
	p := plan(t, server, "amd64")
	var mu sync.Mutex
	var said []string
	p.Report = func(line string) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, line)
	}
	_, err := release.Fetch(t.Context(), p, t.TempDir())
	assert.NilError(t, err)
	assert.DeepEqual(t, server.Asked(kubelet), []string{"", "bytes=40000-"})
	assert.Assert(t, slices.ContainsFunc(said, func(line string) bool {
		return strings.Contains(line, "kubelet v1.34.4 for amd64") && strings.Contains(line, "trying again")
	}), said)
}

func TestAnEarlierBuildsBeginningIsUsed(t *testing.T) {
	whole := releasetest.Program("amd64", "kubelet")
	for name, test := range map[string]struct {
		there []byte
		asked []string
	}{
		"a part":                   {whole[:1000], []string{"bytes=1000-"}},
		"all but the name":         {whole, []string{"bytes=98304-"}},
		"a part of something else": {[]byte(strings.Repeat("x", 1000)), []string{"bytes=1000-", ""}},
		"more than there is":       {append(slices.Clone(whole), 'x'), []string{"bytes=98305-", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			server := releasetest.New(t, "amd64")
			p := plan(t, server, "amd64")
			partial := filepath.Join(p.Cache, "sha256", releasetest.Digest(whole)+".partial")
			assert.NilError(t, os.MkdirAll(filepath.Dir(partial), 0o755))
			assert.NilError(t, os.WriteFile(partial, test.there, 0o644))
			_, err := release.Fetch(t.Context(), p, t.TempDir())
			assert.NilError(t, err)
			assert.DeepEqual(t, server.Asked(kubelet), test.asked)
			assert.Assert(t, !slices.ContainsFunc(tree(t, p.Cache),
				func(name string) bool { return strings.HasSuffix(name, ".partial") }))
		})
	}
}

func TestTwoBuildsShareACache(t *testing.T) {
	server := releasetest.New(t, "amd64")
	p := plan(t, server, "amd64")
	var builds sync.WaitGroup
	errs := make([]error, 3)
	for i := range errs {
		dir := t.TempDir()
		builds.Go(func() { _, errs[i] = release.Fetch(t.Context(), p, dir) })
	}
	builds.Wait()
	assert.NilError(t, errors.Join(errs...))
	assert.DeepEqual(t, server.Asked(kubelet), []string{""})
}

func TestWhatCannotBeVerifiedOrIsNotThereIsRefused(t *testing.T) {
	zeros := strings.Repeat("0", 64)
	for name, test := range map[string]struct {
		change func(*testing.T, *releasetest.Server, *release.Plan)
		want   string
		class  errclass.Class
	}{
		"wrong checksum": {
			func(_ *testing.T, s *releasetest.Server,
				_ *release.Plan,
			) {
				s.Put(kubelet+".sha256", []byte(zeros))
			},
			"fetching kubelet v1.34.4 for amd64: verifying it: its sha256 is", errclass.Permanent,
		},
		"no checksum": {
			func(_ *testing.T, s *releasetest.Server,
				_ *release.Plan,
			) {
				s.Delete(containerd + ".sha256sum")
			},
			"what can't be verified is not packed", errclass.Configuration,
		},
		"a checksum file without this file": {func(_ *testing.T, s *releasetest.Server, _ *release.Plan) {
			s.Put(runcSums, []byte(zeros+"  runc.s390x\n"+zeros+"  runc.arm64\n"))
		}, `it does not name "runc.amd64"`, errclass.Configuration},
		"a checksum that is none": {
			func(_ *testing.T, s *releasetest.Server,
				_ *release.Plan,
			) {
				s.Put(kubelet+".sha256", []byte("<html>"))
			},
			"64 hexadecimal digits", errclass.Configuration,
		},
		"a component that is not there": {
			func(_ *testing.T, s *releasetest.Server,
				_ *release.Plan,
			) {
				s.Delete(kubelet)
			},
			"404 Not Found; was this version published", errclass.Configuration,
		},
		"an archive without the program": {func(t *testing.T, s *releasetest.Server, _ *release.Plan) {
			content := releasetest.Archive(t, "amd64", "bin/", "containerd", "ctr")
			s.Put(containerd, content)
			s.Put(containerd+".sha256sum", []byte(releasetest.Digest(content)))
		}, "the archive has no bin/containerd-shim-runc-v2", errclass.Permanent},
		"an architecture without releases": {
			func(_ *testing.T, _ *releasetest.Server,
				p *release.Plan,
			) {
				p.Arches = []string{"arm64"}
			},
			"for arm64", errclass.Configuration,
		},
		"an architecture without an image": {func(_ *testing.T, s *releasetest.Server, p *release.Plan) {
			mirrors := p.Mirrors
			both := releasetest.New(t, "amd64", "arm64")
			p.Mirrors = both.Mirrors()
			p.Mirrors["registry.k8s.io"] = mirrors["registry.k8s.io"]
			p.Arches = []string{"arm64"}
		}, "no child with platform linux/arm64", errclass.Configuration},
		"an image that is not there": {func(_ *testing.T, _ *releasetest.Server, p *release.Plan) {
			p.Versions = map[string]string{"pause": "3.99"}
		}, "pulling image", errclass.Configuration},
		"a version of Kubernetes that is not there": {
			func(_ *testing.T, _ *releasetest.Server,
				p *release.Plan,
			) {
				p.Kubernetes = "v1.34.99"
			},
			"v1.34.99", errclass.Configuration,
		},
		"a minor version that the table lacks": {
			func(_ *testing.T, _ *releasetest.Server,
				p *release.Plan,
			) {
				p.Kubernetes = "v1.99.0"
			},
			"only 1.34, 1.35, 1.36", errclass.Configuration,
		},
		"an unknown architecture": {
			func(_ *testing.T, _ *releasetest.Server,
				p *release.Plan,
			) {
				p.Arches = []string{"mips"}
			},
			`"mips" is none of amd64, arm64`, errclass.Configuration,
		},
		"a mirror that is no URL": {
			func(_ *testing.T, _ *releasetest.Server, p *release.Plan) {
				p.Mirrors["dl.k8s.io"] = "mirror.example.org"
			},
			`the mirror of "dl.k8s.io"`, errclass.Configuration,
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := releasetest.New(t, "amd64")
			p := plan(t, server, "amd64")
			test.change(t, server, &p)
			_, err := release.Fetch(t.Context(), p, t.TempDir())
			assert.ErrorContains(t, err, test.want)
			assert.Equal(t, errclass.ClassOf(err), test.class)
		})
	}
}

func TestFetchingEndsWhenItIsCancelled(t *testing.T) {
	server := releasetest.New(t, "amd64")
	server.Cut(kubelet, 1)
	p := plan(t, server, "amd64")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.Report = func(line string) {
		if strings.Contains(line, "trying again") {
			cancel()
		}
	}
	_, err := release.Fetch(ctx, p, t.TempDir())
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, errclass.ClassOf(err), errclass.Cancelled)
}

func TestProgramsOfOneVersionAreFetchedByName(t *testing.T) {
	const coredns = "github.com/coredns/coredns/releases/download/v9.8.7/coredns_9.8.7_linux_amd64.tgz"
	const proxy = "dl.k8s.io/release/v9.8.7/bin/linux/amd64/kube-proxy"
	server := releasetest.New(t, "amd64")
	archive := releasetest.Archive(t, "amd64", "", "coredns")
	server.Put(coredns, archive)
	server.Put(coredns+".sha256", []byte(releasetest.Digest(archive)+"  release/coredns_9.8.7_linux_amd64.tgz\n"))
	server.Put(proxy, releasetest.Program("amd64", "kube-proxy"))
	server.Put(proxy+".sha256", []byte(releasetest.Digest(releasetest.Program("amd64", "kube-proxy"))))
	for image, program := range map[string]string{
		"argoproj/argocli": "bin/argo", "argoproj/argoexec": "bin/argoexec",
		"argoproj/workflow-controller": "bin/workflow-controller", "flannel-io/flannel": "opt/bin/flanneld",
		"kas-network-proxy/proxy-agent": "proxy-agent",
	} {
		server.PutImage(t, image+":v9.8.7", []string{"amd64"}, program)
	}
	dir := t.TempDir()
	names := []string{
		"argocli", "argoexec", "workflow-controller", "flannel", "konnectivity-agent", "coredns", "kube-proxy",
	}
	assert.NilError(t, release.FetchPrograms(t.Context(), plan(t, server, "amd64"), names, "9.8.7", dir))
	files := []string{"argo", "argoexec", "coredns", "flanneld", "kube-proxy", "proxy-agent", "workflow-controller"}
	for _, file := range files {
		got, err := os.ReadFile(filepath.Join(dir, "amd64", file))
		assert.NilError(t, err)
		assert.Equal(t, releasetest.Digest(got), releasetest.Digest(releasetest.Program("amd64", file)), file)
	}
	assert.Equal(t, len(tree(t, dir)), len(files))
	hosts := []string{"dl.k8s.io", "ghcr.io", "github.com", "quay.io", "registry.k8s.io"}
	assert.DeepEqual(t, release.Hosts(names), hosts)

	err := release.FetchPrograms(t.Context(), plan(t, server, "amd64"), []string{"kubelt"}, "9.8.7", t.TempDir())
	assert.ErrorContains(t, err, `choosing a release: "kubelt" is not in the catalogue`)
}
