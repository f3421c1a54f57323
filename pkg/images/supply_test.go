package images

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/sources"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
)

// hub is a registry that may want a login, and counts requests.
type hub struct {
	host string

	mu    sync.Mutex
	asked []string
	login string
	fails int // so many requests for blobs are answered with 503
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{}
	served := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.refuses(w, r) {
			return
		}
		served.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	h.host = strings.TrimPrefix(server.URL, "http://")
	return h
}

func (h *hub) refuses(w http.ResponseWriter, r *http.Request) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, r.Method+" "+r.URL.Path)
	if h.login != "" && r.Header.Get("Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(h.login)) {
		w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") && h.fails > 0 {
		h.fails--
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	return false
}

// count returns the number of requests since the last call.
func (h *hub) count(what string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, asked := range h.asked {
		if strings.Contains(asked, what) {
			n++
		}
	}
	h.asked = nil
	return n
}

// push pushes an index with an image for each platform, or with one platform the image alone, and returns its digest.
func (h *hub) push(t *testing.T, repository string, platforms ...string) string {
	t.Helper()
	reference, err := name.ParseReference(h.host+"/"+repository, name.Insecure)
	assert.NilError(t, err)
	if len(platforms) == 1 {
		image := imageFor(t, platforms[0])
		assert.NilError(t, remote.Write(reference, image))
		digest, err := image.Digest()
		assert.NilError(t, err)
		return digest.String()
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range platforms {
		parsed, err := v1.ParsePlatform(platform)
		assert.NilError(t, err)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        imageFor(t, platform),
			Descriptor: v1.Descriptor{Platform: parsed},
		})
	}
	assert.NilError(t, remote.WriteIndex(reference, index))
	digest, err := index.Digest()
	assert.NilError(t, err)
	return digest.String()
}

func imageFor(t *testing.T, platform string) v1.Image {
	t.Helper()
	image, err := random.Image(2000, 2)
	assert.NilError(t, err)
	parsed, err := v1.ParsePlatform(platform)
	assert.NilError(t, err)
	config, err := image.ConfigFile()
	assert.NilError(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture = parsed.OS, parsed.Architecture
	image, err = mutate.ConfigFile(image, config)
	assert.NilError(t, err)
	return image
}

func (h *hub) supply() *Supply { return NewSupply(Settings{PlainHTTP: []string{h.host}}) }

// sentArchive reads the archive that a machine would be sent of a source, and checks its size.
func sentArchive(t *testing.T, supply *Supply, source spec.ImageSource) map[string][]byte {
	t.Helper()
	content, err := supply.Open(t.Context(), source.Sent.Key)
	assert.NilError(t, err)
	defer func() { _ = content.Close() }()
	counted := &counter{r: content}
	files := map[string][]byte{}
	for r := tar.NewReader(counted); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		assert.NilError(t, err)
		files[header.Name], err = io.ReadAll(r)
		assert.NilError(t, err)
	}
	_, err = io.Copy(io.Discard, counted)
	assert.NilError(t, err)
	assert.Equal(t, counted.n, source.Sent.Size)
	return files
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func TestAnImageIsSentWithTheIndexOfItsName(t *testing.T) {
	h := newHub(t)
	digest := h.push(t, "team/app:v1", "linux/amd64", "linux/386", "linux/arm64/v8", "windows/amd64")
	supply := h.supply()
	full := h.host + "/team/app:v1"
	for arch, want := range map[string]struct{ manifests, blobs int }{"amd64": {2, 3}, "arm64": {1, 3}} {
		sources, err := supply.Resolve(t.Context(), []string{"oci://" + full}, arch)
		assert.NilError(t, err)
		assert.Equal(t, sources[0].Name, "oci://"+full)
		assert.DeepEqual(t, sources[0].Sent.Images, map[string]string{full: digest})

		files := sentArchive(t, supply, sources[0])
		assert.Equal(t, string(files["oci-layout"]), `{"imageLayoutVersion":"1.0.0"}`)
		var names v1.IndexManifest
		assert.NilError(t, json.Unmarshal(files["index.json"], &names))
		assert.Equal(t, len(names.Manifests), 1)
		assert.Equal(t, names.Manifests[0].Annotations["io.containerd.image.name"], full)
		assert.Equal(t, names.Manifests[0].Digest.String(), digest)
		assert.Equal(t, len(files), 2+1+want.manifests+want.blobs,
			"%s: layout, names, the index, its manifests, a configuration and two layers", arch)
		for file, content := range files {
			if hash, blob := strings.CutPrefix(file, "blobs/sha256/"); blob {
				sum := sha256.Sum256(content)
				assert.Equal(t, hex.EncodeToString(sum[:]), hash)
			}
		}
	}
}

func TestAnImageOfOnePlatformGoesToItsMachinesOnly(t *testing.T) {
	h := newHub(t)
	digest := h.push(t, "app:v1", "linux/arm64")
	supply := h.supply()
	item := "oci://" + h.host + "/app@" + digest
	sources, err := supply.Resolve(t.Context(), []string{item}, "arm64")
	assert.NilError(t, err)
	assert.DeepEqual(t, sources[0].Sent.Images, map[string]string{h.host + "/app@" + digest: digest})
	assert.Equal(t, len(sentArchive(t, supply, sources[0])), 2+1+3)

	_, err = supply.Resolve(t.Context(), []string{item}, "amd64")
	assert.Assert(t, OnlyPlatforms(err), "%v", err)
	assert.ErrorContains(t, err, "for linux/amd64, only for linux/arm64")
	_, err = supply.Resolve(t.Context(), []string{item, "oci://" + h.host + "/none:v1"}, "amd64")
	assert.Assert(t, err != nil && !OnlyPlatforms(err), "%v", err)

	h.push(t, "both:v1", "linux/arm64", "linux/s390x")
	_, err = supply.Resolve(t.Context(), []string{"oci://" + h.host + "/both:v1"}, "amd64")
	assert.ErrorContains(t, err, "only for linux/arm64, linux/s390x")
}

func TestARegistryIsAskedOnceForAllMachines(t *testing.T) {
	h := newHub(t)
	h.push(t, "app:v1", "linux/amd64", "linux/arm64")
	supply := h.supply()
	h.count("")
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			for _, arch := range []string{"amd64", "arm64"} {
				_, err := supply.Resolve(t.Context(), []string{"oci://" + h.host + "/app:v1"}, arch)
				assert.Check(t, err)
			}
		})
	}
	group.Wait()
	assert.Equal(t, h.count("/manifests/"), 3, "the index, and a manifest for each architecture")
}

func TestALoginIsShownWhereItBelongs(t *testing.T) {
	h := newHub(t)
	h.push(t, "app:v1", "linux/amd64")
	h.login = "alice:wonder"
	item := "oci://" + h.host + "/app:v1"
	_, err := h.supply().Resolve(t.Context(), []string{item}, "amd64")
	assert.ErrorContains(t, err, "registries.secret")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)

	with := func(host string, login spec.RegistryLogin) *Supply {
		return NewSupply(Settings{
			PlainHTTP: []string{h.host},
			Logins: func(context.Context) (map[string]spec.RegistryLogin, error) {
				return map[string]spec.RegistryLogin{host: login}, nil
			},
		})
	}
	auth := base64.StdEncoding.EncodeToString([]byte("alice:wonder"))
	for _, login := range []spec.RegistryLogin{{Auth: auth}, {Username: "alice", Password: "wonder"}} {
		_, err = with(h.host, login).Resolve(t.Context(), []string{item}, "amd64")
		assert.NilError(t, err)
		_, err = with("elsewhere.example.org", login).Resolve(t.Context(), []string{item}, "amd64")
		assert.ErrorContains(t, err, "registries.secret")
	}

	failing := NewSupply(Settings{Logins: func(context.Context) (map[string]spec.RegistryLogin, error) {
		return nil,
			errors.New("forbidden")
	}})
	_, err = failing.Resolve(t.Context(), []string{item}, "amd64")
	assert.ErrorContains(t, err, "forbidden")
}

func TestALoginAtTheHubIsFoundByItsName(t *testing.T) {
	hub, err := name.ParseReference("alpine")
	assert.NilError(t, err)
	login, err := logins{"docker.io": {Username: "alice", Password: "wonder"}}.Resolve(hub.Context())
	assert.NilError(t, err)
	config, err := login.Authorization()
	assert.NilError(t, err)
	assert.Equal(t, config.Password, "wonder")
}

func TestNothingIsAskedWithoutTLSUnlessTheUserAllowsIt(t *testing.T) {
	h := newHub(t)
	h.push(t, "app:v1", "linux/amd64")
	h.count("")
	_, err := NewSupply(Settings{}).Resolve(t.Context(), []string{
		"oci://" + h.host + "/app:v1",
		"http://" + h.host + "/app.tar",
	}, "amd64")
	assert.ErrorContains(t, err, "registries.plainHTTP")
	assert.ErrorContains(t, err, "its server would be asked without TLS")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	assert.Equal(t, h.count("/"), 0)
}

func TestOnlyAllowedSourcesAreAsked(t *testing.T) {
	h := newHub(t)
	h.push(t, "app:v1", "linux/amd64")
	h.count("")
	plain := []string{h.host, "169.254.169.254"}
	listed := NewSupply(Settings{PlainHTTP: plain, Sources: sources.List{"docker.io", "169.254.169.254"}})
	for _, item := range []string{
		"oci://" + h.host + "/app:v1", "http://" + h.host + "/app.tar", "oci://169.254.169.254/app:v1",
		"http://169.254.169.254/latest/user-data",
	} {
		_, err := listed.Resolve(t.Context(), []string{item}, "amd64")
		assert.ErrorContains(t, err, "name another server", item)
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	}
	assert.Equal(t, h.count("/"), 0)
	address, _, _ := strings.Cut(h.host, ":")
	_, err := NewSupply(Settings{PlainHTTP: plain, Sources: sources.List{address}}).Resolve(t.Context(),
		[]string{"oci://" + h.host + "/app:v1"}, "amd64")
	assert.NilError(t, err)
	parsed, err := parse("oci://busybox:1.36")
	assert.NilError(t, err)
	assert.Equal(t, parsed.host(), "docker.io")
}

// A server that is allowed can still redirect.
func TestARedirectToALinkLocalAddressIsRefused(t *testing.T) {
	server := httptest.NewServer(http.RedirectHandler("http://169.254.169.254/latest/user-data", http.StatusFound))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	for _, item := range []string{"oci://" + host + "/app:v1", server.URL + "/app.tar"} {
		plain := []string{host, "169.254.169.254"}
		_, err := NewSupply(Settings{PlainHTTP: plain}).Resolve(t.Context(), []string{item}, "amd64")
		assert.ErrorContains(t, err, "never come from a link-local address", item)
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	}
}

func TestARegistryThatIsBusyMayBeAskedAgain(t *testing.T) {
	h := newHub(t)
	h.push(t, "app:v1", "linux/amd64", "linux/arm64")
	supply := h.supply()
	sources, err := supply.Resolve(t.Context(), []string{"oci://" + h.host + "/app:v1"}, "amd64")
	assert.NilError(t, err)
	h.fails = 1
	content, err := supply.Open(t.Context(), sources[0].Sent.Key)
	assert.NilError(t, err)
	_, err = io.Copy(io.Discard, content)
	assert.Assert(t, errclass.IsTransient(err), "%v", err)
	assert.NilError(t, content.Close())
	sentArchive(t, supply, sources[0])

	_, err = supply.Resolve(t.Context(), []string{"oci://" + h.host + "/none:v1"}, "amd64")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	_, err = supply.Open(t.Context(), "another plugin's")
	assert.Assert(t, errclass.IsTransient(err))
}

func TestAnArchivesKeyChangesWithTheWebServersHeaders(t *testing.T) {
	tag, content := `"1"`, "archive"
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/app.tar" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", tag)
		_, _ = io.WriteString(w, content)
	}))
	defer server.Close()
	settings := Settings{CACert: pemOf(server.Certificate().Raw)}
	item := server.URL + "/app.tar?signature=hush"
	resolve := func(item string) spec.ImageSource {
		supply := NewSupply(settings)
		sources, err := supply.Resolve(t.Context(), []string{item}, "amd64")
		assert.NilError(t, err)
		opened, err := supply.Open(t.Context(), sources[0].Sent.Key)
		assert.NilError(t, err)
		read, err := io.ReadAll(opened)
		assert.NilError(t, errors.Join(err, opened.Close()))
		assert.Equal(t, string(read), content)
		return sources[0]
	}
	first, again := resolve(item), resolve(item)
	assert.DeepEqual(t, first, again)
	assert.Equal(t, first.Name, server.URL+"/app.tar")
	assert.Equal(t, first.Sent.Size, int64(len(content)))
	assert.Assert(t, !strings.Contains(fmt.Sprintf("%+v", *first.Sent), "hush"))
	tag = `"2"`
	assert.Assert(t, resolve(item).Sent.Key != first.Sent.Key)

	digest := strings.Repeat("0", 64)
	vouched := resolve(item + "#sha256=" + digest)
	assert.Equal(t, vouched.Sent.SHA256, digest)
	assert.Equal(t, vouched.Sent.Key, "sha256:"+digest)

	_, err := NewSupply(settings).Resolve(t.Context(), []string{
		server.URL + "/none.tar", server.URL + "/nor.tar",
		"relative",
	}, "amd64")
	for _, part := range []string{"/none.tar", "/nor.tar", "relative"} {
		assert.ErrorContains(t, err, part)
	}
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	_, err = NewSupply(Settings{}).Resolve(t.Context(), []string{item}, "amd64")
	assert.ErrorContains(t, err, "certificate")
}

func TestItemsAreReadOrRefusedWithTheReason(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	for text, want := range map[string]string{
		"/srv/images": "", "/srv/images/": "write the path as /srv/images", "/srv/../etc": "write the path as /etc",
		"images":                               "neither an absolute path",
		"https://x.org/a.tar#sha256=" + digest: "", "https://x.org/a.tar#sha256=ab": "64 hexadecimal",
		"https://x.org/a.tar#top": "64 hexadecimal",
		"https://x.org/":          "names no file", "https://u:p@x.org/a.tar": "take the login out",
		"https://":           "names no file",
		"oci://x.org/app:v1": "", "oci://x.org/app@sha256:" + digest: "", "oci://UPPER": "could not parse",
		"oci://": "", "ftp://x.org/a.tar": "neither an absolute path",
	} {
		_, err := parse(text)
		switch {
		case text == "oci://":
			assert.Assert(t, err != nil)
		case want == "":
			assert.NilError(t, err, text)
		default:
			assert.ErrorContains(t, err, want)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		}
	}
}

func TestAListIsSeparatedByWhateverPeopleSeparateListsBy(t *testing.T) {
	assert.DeepEqual(t, Split("/a, oci://b\n\thttps://c  /a\r\n"), []string{"/a", "oci://b", "https://c"})
	assert.Equal(t, len(Split(" \n")), 0)
}

func TestTheHubsImagesAreCalledAsPodsCallThem(t *testing.T) {
	for text, want := range map[string]string{
		"alpine": "docker.io/library/alpine:latest", "docker.io/team/app:v1": "docker.io/team/app:v1",
		"x.org:5000/app": "x.org:5000/app:latest",
	} {
		reference, err := name.ParseReference(text)
		assert.NilError(t, err)
		assert.Equal(t, imageName(reference), want)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"/srv/images", "https://x.org/a.tar#sha256=ab", "oci://x.org/app:v1",
		"http://[::1]/a", "oci://a@sha256:0",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parse(text)
		if err != nil {
			return
		}
		if kinds := 3 - strings.Count(fmt.Sprint(s.path == "", s.address == "", s.image == nil), "true"); kinds != 1 {
			t.Fatalf("%q is of %d kinds", text, kinds)
		}
		if s.path != "" && !strings.HasPrefix(s.path, "/") {
			t.Fatalf("%q becomes the path %q", text, s.path)
		}
	})
}

func TestAMissingImageIsToldFromARefusedLogin(t *testing.T) {
	h := newHub(t)
	h.push(t, "team-a/app:v1", "linux/amd64")
	supply := NewSupply(Settings{PlainHTTP: []string{h.host}})
	for image, want := range map[string]bool{"/team-a/app:v1": true, "/team-a/app:v2": false, "/team-b/app:v1": false} {
		has, err := supply.Has(t.Context(), h.host+image)
		assert.NilError(t, err)
		assert.Equal(t, has, want, image)
	}
	h.login = "user:pass"
	_, err := supply.Has(t.Context(), h.host+"/team-a/app:v1")
	assert.ErrorContains(t, err, "registries.secret of argosy.yaml")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
}
