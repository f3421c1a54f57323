package main

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/bundle/release/releasetest"
)

// buildArgs ask a stand-in for all official servers.
func buildArgs(server *releasetest.Server, output, cache string, further ...string) []string {
	args := []string{"bundle", "build", "--kubernetes", releasetest.Kubernetes, "--output", output, "--cache", cache}
	for host, mirror := range server.Mirrors() {
		args = append(args, "--mirror", host+"="+mirror)
	}
	return append(args, further...)
}

var referenceLine = regexp.MustCompile(`(\S+)@(sha256:[0-9a-f]{64})\n`)

func TestBuildFromReleasesWritesBundlesAndImages(t *testing.T) {
	server := releasetest.New(t, "amd64", "arm64")
	output, cache := t.TempDir(), t.TempDir()
	archive := filepath.Join(output, "image.tar")
	out, _, err := run(t, buildArgs(server, output, cache, "--image-archive", archive, "--push",
		server.Registry()+"/team/kubernetes")...)
	assert.NilError(t, err)

	pushed := referenceLine.FindAllStringSubmatch(out, -1)
	assert.Equal(t, len(pushed), 2, out)
	for i, tag := range []string{"v1.34.4", "v1.34.4-full"} {
		assert.Equal(t, pushed[i][1], server.Registry()+"/team/kubernetes:"+tag)
		reference, err := name.ParseReference(pushed[i][1])
		assert.NilError(t, err)
		index, err := remote.Index(reference)
		assert.NilError(t, err)
		assert.NilError(t, validate.Index(index))
		digest, err := index.Digest()
		assert.NilError(t, err)
		assert.Equal(t, digest.String(), pushed[i][2])
	}
	contents, err := os.ReadFile(filepath.Join(output, "v1.34.4/kubernetes-v1.34.4-arm64.spdx.json"))
	assert.NilError(t, err)
	number := releasetest.Version("containerd")
	assert.Assert(t, strings.Contains(string(contents), `"https://github.com/containerd/containerd/releases/download/v`+
		number+"/containerd-static-"+number+`-linux-arm64.tar.gz"`))

	// The output is a repository for any web server.
	web := httptest.NewServer(http.FileServer(http.Dir(output)))
	defer web.Close()
	repository := &bundle.Repository{URL: web.URL}
	found, err := repository.Locate(t.Context(), "v1.34.4", "arm64")
	assert.NilError(t, err)
	body, err := repository.Open(t.Context(), found, 0)
	assert.NilError(t, err)
	defer body.Close()
	into := t.TempDir()
	_, err = bundle.Receive(t.Context(), body, bundle.TarGzip, found.SHA256, into)
	assert.NilError(t, err)
	assert.NilError(t, bundle.CheckMachine(filepath.Join(into, "release/cni/bin/portmap"), "arm64"))

	left, err := filepath.Glob(filepath.Join(cache, "*"))
	assert.NilError(t, err)
	assert.DeepEqual(t, left, []string{filepath.Join(cache, "sha256")})
}

func TestBuildIsReproducibleAlsoFromADirectory(t *testing.T) {
	server := releasetest.New(t, "amd64", "arm64")
	var first map[string]string
	for range 2 {
		output := t.TempDir()
		_, _, err := run(t, buildArgs(server, output, t.TempDir(), "--arch", "amd64", "--image-archive",
			filepath.Join(output, "v1.34.4/image.tar"))...)
		assert.NilError(t, err)
		digests := digestsIn(t, filepath.Join(output, "v1.34.4"))
		assert.Equal(t, len(digests), 4, "%v", digests)
		if first != nil {
			assert.DeepEqual(t, digests, first)
		}
		first = digests
	}

	// The bundle's own files, in a folder, give the same bundle again.
	output, binaries := t.TempDir(), t.TempDir()
	_, _, err := run(t, buildArgs(server, output, t.TempDir(), "--arch", "amd64")...)
	assert.NilError(t, err)
	archive, err := os.Open(filepath.Join(output, "v1.34.4/kubernetes-v1.34.4-amd64.tar.gz"))
	assert.NilError(t, err)
	defer archive.Close()
	_, err = bundle.Unpack(t.Context(), archive, bundle.TarGzip, binaries)
	assert.NilError(t, err)
	assert.NilError(t, os.Rename(filepath.Join(binaries, "release"), filepath.Join(binaries, "amd64")))
	again := t.TempDir()
	_, _, err = run(t, "bundle", "build", "--kubernetes", "v1.34.4", "--arch", "amd64", "--from-directory", binaries,
		"--output", again, "--cache", t.TempDir())
	assert.NilError(t, err)
	assert.Equal(t, digestsIn(t, filepath.Join(again, "v1.34.4"))["kubernetes-v1.34.4-amd64.tar.gz"],
		first["kubernetes-v1.34.4-amd64.tar.gz"])
}

func digestsIn(t *testing.T, folder string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	assert.NilError(t, err)
	digests := map[string]string{}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		assert.NilError(t, err)
		sum := sha256.Sum256(content)
		digests[entry.Name()] = hex.EncodeToString(sum[:])
	}
	return digests
}

func TestSourceDateIsTheTimeThatABuildCarries(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1767323045")
	server := releasetest.New(t, "amd64")
	output := t.TempDir()
	_, _, err := run(t, buildArgs(server, output, t.TempDir(), "--arch", "amd64")...)
	assert.NilError(t, err)
	contents, err := os.ReadFile(filepath.Join(output, "v1.34.4/kubernetes-v1.34.4-amd64.spdx.json"))
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(string(contents), `"created": "2026-01-02T03:04:05Z"`))
}

func TestFailedBuildNamesTheCauseAndLeavesNoFiles(t *testing.T) {
	server := releasetest.New(t, "amd64")
	server.Put("dl.k8s.io/release/v1.34.4/bin/linux/amd64/kubelet.sha256", []byte(strings.Repeat("0", 64)))
	output, cache := t.TempDir(), t.TempDir()
	for name, test := range map[string]struct {
		args []string
		want string
		code int
	}{
		"no version": {
			[]string{"bundle", "build", "--output", output},
			"--kubernetes v1.37.2",
			program.ExitConfiguration,
		},
		"nowhere to write": {
			[]string{"bundle", "build", "--kubernetes", "v1.34.4"},
			"--output",
			program.ExitConfiguration,
		},
		"a wrong checksum": {
			buildArgs(server, output, cache, "--arch", "amd64"),
			"fetching kubelet v1.34.4 for amd64: verifying it", program.ExitFailed,
		},
		"unknown version": {
			buildArgs(server, output, cache, "--kubernetes", "v1.99.0"), "only 1.34, 1.35",
			program.ExitConfiguration,
		},
		"unknown format": {buildArgs(releasetest.New(t, "amd64"), output, cache, "--arch", "amd64", "--format",
			"zip"), `writing bundles as "zip"`, program.ExitConfiguration},
		"two names": {
			buildArgs(server, output, cache, "--push", "a.example/b", "--image-name", "c.example/d"),
			"excludes --push, which names the image", program.ExitConfiguration,
		},
		"a name for naught": {
			buildArgs(server, output, cache, "--image-name", "c.example/d"),
			"--image-name needs --image-archive", program.ExitConfiguration,
		},
		"fetching nothing": {
			buildArgs(server, output, cache, "--from-directory", output),
			"--from-directory excludes --component and --mirror", program.ExitConfiguration,
		},
		"no directory": {
			[]string{
				"bundle", "build", "--kubernetes", "v1.34.4", "--output", output, "--cache", cache,
				"--from-directory", output,
			},
			"there is no folder", program.ExitConfiguration,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, code, err := run(t, test.args...)
			assert.ErrorContains(t, err, test.want)
			assert.Equal(t, code, test.code)
			left, err := filepath.Glob(filepath.Join(output, "v1.34.4", "*"))
			assert.NilError(t, err)
			assert.Equal(t, len(left), 0, "%v", left)
		})
	}
}
