package build

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/bundle/release/releasetest"
)

// kubeletAddress is the program that most of these tests fetch.
const kubeletAddress = "dl.k8s.io/release/" + releasetest.Kubernetes + "/bin/linux/" + runtime.GOARCH + "/kubelet"

// kubeletRecipe compiles pause where the kubelet's release is not taken: any program is as good.
func kubeletRecipe() recipe {
	return recipe{
		Component: "kubernetes", Module: "pause", Version: releasetest.Kubernetes, Official: []string{"kubelet"},
		Programs: map[string]string{"kubelet": "argosy.dev/argosy/test/lab/build/modules/pause"},
	}
}

// officialBuilder takes releases from the server, or from nowhere where it is nil.
func officialBuilder(t *testing.T, server *releasetest.Server) (*Builder, *strings.Builder) {
	t.Helper()
	b, log := newCache(t), &strings.Builder{}
	b.Log, b.Official = log, &Official{patience: 10 * time.Second}
	if server != nil {
		b.Official.Mirrors = server.Mirrors()
	}
	return b, log
}

// isOfficial reports whether a folder's program is that of the server.
func isOfficial(t *testing.T, folder, program string) bool {
	t.Helper()
	path := filepath.Join(folder, program)
	info, err := os.Stat(path)
	assert.NilError(t, err)
	assert.Equal(t, info.Mode().Perm(), os.FileMode(0o755))
	content, err := os.ReadFile(path)
	assert.NilError(t, err)
	return string(content) == string(releasetest.Program(runtime.GOARCH, program))
}

func TestProgramsAreTakenFromTheirReleases(t *testing.T) {
	server := releasetest.New(t, runtime.GOARCH)
	b, log := officialBuilder(t, server)
	for _, r := range []recipe{
		kubeletRecipe(),
		{
			Component: "cni", Module: "pause", Version: "v" + releasetest.Version("cni-plugins"),
			Official: []string{"cni-plugins"}, Programs: map[string]string{"bridge": "", "host-local": ""},
		},
		{
			Component: "etcd", Module: "pause", Version: "v" + releasetest.Version("etcd"), Official: []string{"etcd"},
			Programs: map[string]string{"etcd": "", "etcdctl": "", "etcdutl": ""},
		},
	} {
		folder, err := b.programs(t.Context(), r, func(folder string) error {
			return os.WriteFile(filepath.Join(folder, "extra"), nil, 0o644)
		})
		assert.NilError(t, err)
		for program := range r.Programs {
			assert.Assert(t, isOfficial(t, folder, program), program)
		}
		files, err := os.ReadDir(folder)
		assert.NilError(t, err)
		assert.Equal(t, len(files), len(r.Programs)+1, "the programs and the extra file alone")
	}
	assert.Assert(t, strings.HasPrefix(log.String(), "official releases: asking dl.k8s.io, for 10s at most\n"), log)
	assert.Equal(t, strings.Count(log.String(), " at most\n"), 2, log)
	assert.Assert(t, strings.Contains(log.String(), "kubernetes "+releasetest.Kubernetes+": fetched in "), log)

	// Without the internet, later: the cache has it, and nothing is asked.
	log.Reset()
	b.Official = &Official{Mirrors: map[string]string{"dl.k8s.io": "http://127.0.0.1:1"}}
	folder, err := b.programs(t.Context(), kubeletRecipe(), nil)
	assert.NilError(t, err)
	assert.Assert(t, isOfficial(t, folder, "kubelet"))
	assert.Equal(t, log.String(), "")
}

func TestALostConnectionDoesNotCompile(t *testing.T) {
	server := releasetest.New(t, runtime.GOARCH)
	server.Cut(kubeletAddress, 40_000)
	b, _ := officialBuilder(t, server)
	folder, err := b.programs(t.Context(), kubeletRecipe(), nil)
	assert.NilError(t, err)
	assert.Assert(t, isOfficial(t, folder, "kubelet"))
}

func TestReleasesThatDoNotFitAreCompiled(t *testing.T) {
	kubelet := releasetest.Program(runtime.GOARCH, "kubelet")
	for name, test := range map[string]struct {
		change func(*releasetest.Server)
		told   string
	}{
		"another program": {
			func(s *releasetest.Server) { s.Put(kubeletAddress, releasetest.Program(runtime.GOARCH, "malware")) },
			"it was damaged on its way or replaced, and is not used",
		},
		"a part of it": {
			func(s *releasetest.Server) { s.Put(kubeletAddress, kubelet[:len(kubelet)/2]) },
			"it was damaged on its way or replaced, and is not used",
		},
		"not published":         {func(s *releasetest.Server) { s.Delete(kubeletAddress) }, "404"},
		"no checksum":           {func(s *releasetest.Server) { s.Delete(kubeletAddress + ".sha256") }, "404"},
		"a checksum of another": {put(".sha256", strings.Repeat("0", 64)+"  kubectl\n"), `does not name "kubelet"`},
		"a page for a checksum": {put(".sha256", "<html>log in first</html>"), "reading its checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			server := releasetest.New(t, runtime.GOARCH)
			test.change(server)
			b, log := officialBuilder(t, server)
			folder, err := b.programs(t.Context(), kubeletRecipe(), nil)
			assert.NilError(t, err)
			assert.Assert(t, !isOfficial(t, folder, "kubelet"))
			assert.Assert(t, strings.Contains(log.String(), "its release is not used, it is compiled instead"), log)
			assert.Assert(t, strings.Contains(log.String(), test.told), log)
			kept, err := filepath.Glob(filepath.Join(b.Cache, "kubernetes", "*-official-*[0-9a-f]"))
			assert.NilError(t, err)
			assert.Equal(t, len(kept), 0, "nothing unverified is kept")
			// The next run finds the compiled programs, and asks for nothing.
			log.Reset()
			again, err := b.programs(t.Context(), kubeletRecipe(), nil)
			assert.NilError(t, err)
			assert.Equal(t, again, folder)
			assert.Equal(t, log.String(), "")
		})
	}
}

// put publishes text beside the kubelet.
func put(suffix, text string) func(*releasetest.Server) {
	return func(s *releasetest.Server) { s.Put(kubeletAddress+suffix, []byte(text)) }
}

func TestAProgramThatDoesNotRunIsNotTaken(t *testing.T) {
	b, log := officialBuilder(t, releasetest.New(t, runtime.GOARCH))
	r := kubeletRecipe()
	r.Versions = []versionCheck{{Call: []string{"kubelet", "--version"}, Holds: "Kubernetes " + r.Version}}
	_, err := b.officialPrograms(t.Context(), r, nil)
	assert.ErrorIs(t, err, errCompile)
	assert.Assert(t, strings.Contains(log.String(), "kubelet --version"), log)
}

func TestWithoutTheInternetAllIsCompiledAtOnce(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer silent.Close()
	for name, address := range map[string]string{
		"refused": "http://127.0.0.1:1", "silent": "http://" + silent.Addr().String(), "no name": "http://a.invalid",
	} {
		t.Run(name, func(t *testing.T) {
			server := releasetest.New(t, runtime.GOARCH)
			b, log := officialBuilder(t, server)
			b.Official.patience = 50 * time.Millisecond
			b.Official.Mirrors["dl.k8s.io"] = address
			folder, err := b.programs(t.Context(), kubeletRecipe(), nil)
			assert.NilError(t, err)
			assert.Assert(t, !isOfficial(t, folder, "kubelet"))
			etcd := kubeletRecipe()
			etcd.Component, etcd.Official = "etcd", []string{"etcd"}
			_, err = b.programs(t.Context(), etcd, nil)
			assert.NilError(t, err)
			assert.Equal(t, strings.Count(log.String(), " at most\n"), 1, "it is decided once: %s", log)
			assert.Equal(t, strings.Count(log.String(), "without the internet all is compiled"), 1, log)
		})
	}
}

func TestAServerThatIsMissingCostsItsPartAlone(t *testing.T) {
	server := releasetest.New(t, runtime.GOARCH)
	b, log := officialBuilder(t, server)
	b.Official.Mirrors["github.com"] = "http://127.0.0.1:1"
	etcd := kubeletRecipe()
	etcd.Component, etcd.Official = "etcd", []string{"etcd"}
	folder, err := b.programs(t.Context(), etcd, nil)
	assert.NilError(t, err)
	assert.Assert(t, !isOfficial(t, folder, "kubelet"))
	assert.Assert(t, strings.Contains(log.String(), "github.com does not answer, what it has is compiled"), log)
	folder, err = b.programs(t.Context(), kubeletRecipe(), nil)
	assert.NilError(t, err)
	assert.Assert(t, isOfficial(t, folder, "kubelet"))
}

func TestReleasesAreOnlyTakenWhenAsked(t *testing.T) {
	b, log := officialBuilder(t, nil)
	b.Official = nil
	folder, err := b.programs(t.Context(), kubeletRecipe(), nil)
	assert.NilError(t, err)
	assert.Assert(t, !isOfficial(t, folder, "kubelet"))
	assert.Assert(t, !strings.Contains(log.String(), "official"), log)

	// A program compiled before is used, and nothing is fetched.
	log.Reset()
	b.Official = &Official{}
	again, err := b.programs(t.Context(), kubeletRecipe(), nil)
	assert.NilError(t, err)
	assert.Equal(t, again, folder)
	assert.Equal(t, log.String(), "")
	assert.Assert(t, !errors.Is(err, errCompile))
}
