package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	spdxjson "github.com/spdx/tools-golang/json"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
	"helm.sh/helm/v3/pkg/chart/loader"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// scratch is the folder of the files that all tests share: making a release takes a second or more.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "release"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

// smallProgram stands for all programs: the archives do not depend on their content.
var smallProgram = sync.OnceValues(func() ([]byte, error) {
	path := filepath.Join(scratch, "program")
	build := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, "../../test/slowest")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, errors.New(string(out))
	}
	return os.ReadFile(path)
})

var testKey = sync.OnceValues(func() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
})

// pushedRelease is a release that was made and pushed to a registry of the tests' own.
type pushedRelease struct {
	Release
	made   *Made
	folder string
	names  []string
}

var pushedOnce = sync.OnceValues(func() (p pushedRelease, err error) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)))) // ends with the process
	programs := filepath.Join(scratch, "programs")
	p.folder = filepath.Join(scratch, "made")
	if err = os.Mkdir(programs, 0o700); err != nil {
		return p, err
	}
	if p.Release, err = describe(programs); err != nil {
		return p, err
	}
	p.Registry = strings.TrimPrefix(server.URL, "http://") + "/team"
	if p.made, err = p.Make(context.Background(), p.folder); err != nil {
		return p, err
	}
	p.names, err = p.made.Push(context.Background())
	return p, err
})

// pushed returns the release that tests share, none of which changes it.
func pushed(t *testing.T) pushedRelease {
	t.Helper()
	p, err := pushedOnce()
	assert.NilError(t, err)
	return p
}

// described returns a release of this checkout whose programs are small.
func described(t *testing.T) Release {
	t.Helper()
	r, err := describe(t.TempDir())
	assert.NilError(t, err)
	return r
}

// describe is described with the programs in a folder.
func describe(programs string) (Release, error) {
	program, err := smallProgram()
	if err != nil {
		return Release{}, err
	}
	key, err := testKey()
	if err != nil {
		return Release{}, err
	}
	for _, platform := range platforms {
		if err := os.Mkdir(filepath.Join(programs, platform), 0o700); err != nil {
			return Release{}, err
		}
		for _, name := range []string{"argosy", imageName} {
			if err := os.WriteFile(filepath.Join(programs, platform, name), program, 0o600); err != nil {
				return Release{}, err
			}
		}
	}
	certificates := filepath.Join(programs, "certificates")
	return Release{
		Version: "v1.2.3-rc.1", Registry: "registry.example/team", Checkout: "../..", Programs: programs,
		Certificates: certificates, Commit: strings.Repeat("a", 40), Builder: "https://builder.example",
		Created: time.Unix(1700000000, 0).UTC(), Key: key,
	}, os.WriteFile(certificates, []byte("certificates"), 0o600)
}

// makeRelease makes a release and returns the folder with its files.
func makeRelease(t *testing.T, r Release) (*Made, string) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "made")
	made, err := r.Make(t.Context(), folder)
	assert.NilError(t, err)
	return made, folder
}

func filesOf(t *testing.T, folder string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	assert.NilError(t, err)
	files := map[string]string{}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		assert.NilError(t, err)
		files[entry.Name()] = string(content)
	}
	return files
}

func TestAReleaseThatIsMadeTwiceHasEqualFiles(t *testing.T) {
	first := pushed(t)
	r := described(t) // with programs of another time, in another folder
	r.Registry = first.Registry
	second, again := makeRelease(t, r)
	folder := first.folder
	want, got := filesOf(t, folder), filesOf(t, again)
	assert.DeepEqual(t, slices.Sorted(maps.Keys(want)), []string{
		"SHA256SUMS", "SHA256SUMS.sig", "argosy-1.2.3-rc.1.tgz", "argosy_v1.2.3-rc.1.intoto.json",
		"argosy_v1.2.3-rc.1.intoto.jsonl", "argosy_v1.2.3-rc.1.spdx.json", "argosy_v1.2.3-rc.1_darwin_amd64.tar.gz",
		"argosy_v1.2.3-rc.1_darwin_arm64.tar.gz", "argosy_v1.2.3-rc.1_kustomize.tar.gz",
		"argosy_v1.2.3-rc.1_linux_amd64.tar.gz", "argosy_v1.2.3-rc.1_linux_arm64.tar.gz", "cosign.pub",
		"executor-plugin_v1.2.3-rc.1_oci.tar",
	})
	for name := range want {
		assert.Check(t, want[name] == got[name], "%s differs", name)
	}
	of, err := first.made.pushed()
	assert.NilError(t, err)
	same, err := second.pushed()
	assert.NilError(t, err)
	assert.Assert(t, slices.Equal(of, same))
}

func TestChecksumsAreThoseOfTheFiles(t *testing.T) {
	files := filesOf(t, pushed(t).folder)
	lines := strings.Split(strings.TrimSpace(files[Sums]), "\n")
	assert.Equal(t, len(lines), len(files)-len([]string{Sums, "SHA256SUMS.sig", "….jsonl", "cosign.pub"}))
	for _, line := range lines {
		sum, name, _ := strings.Cut(line, "  ")
		assert.Equal(t, "sha256:"+sum, hashOf([]byte(files[name])).String(), name)
	}
}

// unpack writes the files of an archive into a folder.
func unpack(t *testing.T, archive io.Reader, folder string) {
	t.Helper()
	reader := tar.NewReader(archive)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		assert.NilError(t, err)
		assert.Assert(t, header.ModTime.Equal(time.Unix(1700000000, 0)), header.Name)
		path := filepath.Join(folder, header.Name)
		assert.NilError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		if header.Typeflag == tar.TypeSymlink {
			assert.NilError(t, os.Symlink(header.Linkname, path))
			continue
		}
		content, err := io.ReadAll(reader)
		assert.NilError(t, err)
		assert.NilError(t, os.WriteFile(path, content, os.FileMode(header.Mode)))
	}
}

// unpacked returns a folder with the files of a compressed archive of a release.
func unpacked(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	assert.NilError(t, err)
	defer file.Close()
	plain, err := gzip.NewReader(file)
	assert.NilError(t, err)
	folder := t.TempDir()
	unpack(t, plain, folder)
	return folder
}

func TestTheLayoutHoldsTheImageOfBothArchitectures(t *testing.T) {
	r := pushed(t)
	file, err := os.Open(filepath.Join(r.folder, "executor-plugin_v1.2.3-rc.1_oci.tar"))
	assert.NilError(t, err)
	defer file.Close()
	unpackedLayout := t.TempDir()
	unpack(t, file, unpackedLayout)
	index, err := layout.ImageIndexFromPath(unpackedLayout)
	assert.NilError(t, err)
	assert.NilError(t, validate.Index(index))
	top, err := index.IndexManifest()
	assert.NilError(t, err)
	assert.Equal(t, top.Manifests[0].Annotations["org.opencontainers.image.ref.name"], r.Version)
	inner, err := index.ImageIndex(top.Manifests[0].Digest)
	assert.NilError(t, err)
	manifest, err := inner.IndexManifest()
	assert.NilError(t, err)
	var architectures []string
	for _, of := range manifest.Manifests {
		architectures = append(architectures, of.Platform.String())
		image, err := inner.Image(of.Digest)
		assert.NilError(t, err)
		config, err := image.ConfigFile()
		assert.NilError(t, err)
		assert.Equal(t, config.OS+"/"+config.Architecture, of.Platform.String())
		assert.DeepEqual(t, config.Config.Entrypoint, []string{"/executor-plugin"})
		assert.Equal(t, config.Config.User, "8737")
		assert.Equal(t, config.Config.Labels["org.opencontainers.image.revision"], r.Commit)
	}
	assert.DeepEqual(t, architectures, []string{"linux/amd64", "linux/arm64"})
}

func TestArchivesHoldTheProgramUnderBothNames(t *testing.T) {
	folder := pushed(t).folder
	program, err := smallProgram()
	assert.NilError(t, err)
	for _, platform := range platforms {
		name := "argosy_v1.2.3-rc.1_" + strings.ReplaceAll(platform, "-", "_") + ".tar.gz"
		held := unpacked(t, filepath.Join(folder, name))
		for _, name := range []string{"argosy", "kubectl-argosy"} {
			content, err := os.ReadFile(filepath.Join(held, name))
			assert.NilError(t, err)
			assert.Assert(t, bytes.Equal(content, program))
			info, err := os.Stat(filepath.Join(held, name))
			assert.NilError(t, err)
			assert.Equal(t, info.Mode().Perm(), os.FileMode(0o755))
		}
		license, err := os.ReadFile(filepath.Join(held, "LICENSE"))
		assert.NilError(t, err)
		assert.Assert(t, is.Contains(string(license), "Apache License"))
	}
}

func TestTheChartHasTheReleasesVersionAndImage(t *testing.T) {
	folder := pushed(t).folder
	chart, err := loader.Load(filepath.Join(folder, "argosy-1.2.3-rc.1.tgz"))
	assert.NilError(t, err)
	assert.NilError(t, chart.Validate())
	assert.Equal(t, chart.Metadata.Version, "1.2.3-rc.1")
	assert.Equal(t, chart.Metadata.AppVersion, "v1.2.3-rc.1")
	image := chart.Values["image"].(map[string]any)
	assert.Equal(t, image["repository"], pushed(t).Registry+"/executor-plugin")
	assert.Assert(t, len(chart.Templates) > 5 && len(chart.Schema) > 0)
}

func TestTheBasesRenderTheReleasesImage(t *testing.T) {
	folder := pushed(t).folder
	held := unpacked(t, filepath.Join(folder, "argosy_v1.2.3-rc.1_kustomize.tar.gz"))
	base := filepath.Join(held, "argosy-v1.2.3-rc.1", "install")
	for path, image := range map[string]string{
		base: pushed(t).Registry + "/executor-plugin:v1.2.3-rc.1", base + "/argo": "", base + "/rbac/provision": "",
	} {
		rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), path)
		assert.NilError(t, err)
		text, err := rendered.AsYaml()
		assert.NilError(t, err)
		assert.Assert(t, is.Contains(string(text), image))
		assert.Assert(t, !strings.Contains(string(text), DefaultRegistry))
	}
}

func TestTheListOfContentsNamesEveryModule(t *testing.T) {
	r := described(t)
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("go", args...).Output()
		assert.NilError(t, err)
		return string(out)
	}
	run("build", "-buildvcs=false", "-o", r.program("linux-arm64", imageName), "../../install/image")
	files, err := r.listContents(nil)
	assert.NilError(t, err)
	document, err := spdxjson.Read(bytes.NewReader(files["argosy_v1.2.3-rc.1.spdx.json"]))
	assert.NilError(t, err)
	listed, identifiers := map[string]string{}, map[string]bool{}
	for _, found := range document.Packages {
		listed[found.PackageName] = found.PackageVersion
		assert.Assert(t, !identifiers[string(found.PackageSPDXIdentifier)], found.PackageSPDXIdentifier)
		identifiers[string(found.PackageSPDXIdentifier)] = true
	}
	modules := 0
	for _, line := range strings.Split(run("list", "-deps", "-f",
		"{{with .Module}}{{.Path}} {{.Version}}{{end}}", "../../install/image"), "\n") {
		path, version, found := strings.Cut(line, " ")
		if found && version != "" {
			assert.Equal(t, listed[path], version, path)
			modules++
		}
	}
	assert.Assert(t, modules > 5, "only %d modules are listed", modules)
	assert.Equal(t, "go"+listed["stdlib"], runtime.Version())
	assert.Equal(t, listed["argosy"], r.Version)
	assert.Equal(t, len(document.Relationships), len(document.Packages))
}

func TestTheProvenanceNamesEveryFileAndTheCommit(t *testing.T) {
	r := pushed(t)
	made, files := r.made, filesOf(t, r.folder)
	var stated statement
	decoder := json.NewDecoder(strings.NewReader(files["argosy_v1.2.3-rc.1.intoto.json"]))
	decoder.DisallowUnknownFields()
	assert.NilError(t, decoder.Decode(&stated))
	assert.Equal(t, stated.Type, "https://in-toto.io/Statement/v1")
	assert.Equal(t, stated.PredicateType, "https://slsa.dev/provenance/v1")
	subjects := map[string]string{}
	for _, subject := range stated.Subject {
		subjects[subject.Name] = subject.Digest["sha256"]
	}
	for name, sum := range made.Files {
		if name != "argosy_v1.2.3-rc.1.intoto.json" {
			assert.Equal(t, subjects[name], sum, name)
		}
	}
	image, err := made.Image.Digest()
	assert.NilError(t, err)
	assert.Equal(t, subjects[r.Registry+"/executor-plugin"], image.Hex)
	assert.Equal(t, len(subjects), len(made.Files)-1+len([]string{"image", "chart"}))
	dependencies := stated.Predicate.BuildDefinition.ResolvedDependencies
	assert.Equal(t, dependencies[0].Digest["gitCommit"], r.Commit)
	assert.Equal(t, stated.Predicate.RunDetails.Builder.ID, r.Builder)
}

func TestAReleaseWithoutAKeyHasNoSignatures(t *testing.T) {
	r := described(t)
	r.Key = nil
	_, folder := makeRelease(t, r)
	for name := range filesOf(t, folder) {
		assert.Assert(t, !strings.HasSuffix(name, ".sig") && !strings.HasSuffix(name, ".jsonl") && name != "cosign.pub",
			name)
	}
}

func TestAReleaseThatCanNotBeWholeIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(t *testing.T, r *Release, folder string)
		want   string
	}{
		"no version": {
			func(_ *testing.T, r *Release, _ string) { r.Version = "latest" },
			`reading version "latest"`,
		},
		"no letter": {func(_ *testing.T, r *Release, _ string) { r.Version = "1.2.3" }, `reading version "1.2.3"`},
		"leading zero": {
			func(_ *testing.T, r *Release, _ string) { r.Version = "v01.2.3" },
			`reading version "v01.2.3"`,
		},
		"build metadata": {
			func(_ *testing.T, r *Release, _ string) { r.Version = "v1.2.3+x" },
			`reading version "v1.2.3+x"`,
		},
		"path": {func(_ *testing.T, r *Release, _ string) { r.Version = "v1.2.3-../x" }, "reading version"},
		"a folder in use": {func(t *testing.T, _ *Release, folder string) {
			assert.NilError(t, os.WriteFile(filepath.Join(folder, "mine"), nil, 0o600))
		}, "is not empty"},
		"a program missing": {func(t *testing.T, r *Release, _ string) {
			assert.NilError(t, os.Remove(r.program("darwin-arm64", "argosy")))
		}, "darwin-arm64"},
		"no checkout": {func(t *testing.T, r *Release, _ string) { r.Checkout = t.TempDir() }, "no such file"},
		"no authorities": {func(t *testing.T, r *Release, _ string) {
			assert.NilError(t, os.Remove(r.Certificates))
		}, "certificates"},
	} {
		t.Run(name, func(t *testing.T) {
			r, folder := described(t), t.TempDir()
			test.change(t, &r, folder)
			_, err := r.Make(t.Context(), folder)
			assert.Assert(t, is.ErrorContains(err, test.want))
		})
	}
}

func TestAChangeHasExactlyOnePlace(t *testing.T) {
	for text, places := range map[string]string{"a: 1\n": "0 lines", "b: 1\nb: 2\n": "2 lines"} {
		entries := []entry{{name: "x", content: []byte(text)}}
		err := edit(entries, map[string][]change{"x": {{`(?m)^b: .*$`, "b: 3"}}})
		assert.Assert(t, is.ErrorContains(err, places))
	}
}

func TestOnlyACheckoutWithoutChangesIsReleased(t *testing.T) {
	checkout := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		_, err := git(t.Context(), checkout, args...)
		assert.NilError(t, err)
	}
	run("init", "--quiet")
	path := filepath.Join(checkout, "file")
	assert.NilError(t, os.WriteFile(path, []byte("1"), 0o600))
	run("add", "file")
	t.Setenv("GIT_COMMITTER_DATE", "2026-01-02T03:04:05Z")
	run("-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message", "first")
	commit, created, err := Commit(t.Context(), checkout)
	assert.NilError(t, err)
	assert.Equal(t, len(commit), 40)
	assert.Equal(t, created.Format(time.RFC3339), "2026-01-02T03:04:05Z")

	assert.NilError(t, os.WriteFile(path, []byte("2"), 0o600))
	_, _, err = Commit(t.Context(), checkout)
	assert.Assert(t, is.ErrorContains(err, "it has changes that are in no commit"))
	assert.Assert(t, is.ErrorContains(err, "file"))
	_, _, err = Commit(t.Context(), filepath.Join(checkout, "none"))
	assert.Assert(t, is.ErrorContains(err, "running git status"))
}
