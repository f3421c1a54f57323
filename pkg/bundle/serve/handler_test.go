package serve

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/secret"
)

const (
	amd64Bundle = "kubernetes-v1.34.4-amd64.tar.gz"
	amd64Sum    = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882" // of "0123456789"
)

// fakeAuthorizer admits one token.
type fakeAuthorizer struct {
	token string
	err   error
}

func (d fakeAuthorizer) Authorize(_ context.Context, token secret.Value) error {
	if d.err != nil || token.Reveal() == d.token {
		return d.err
	}
	return errRefused
}

var quiet = slog.New(slog.DiscardHandler)

// bundleFolder is a folder as the full image has it.
func bundleFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		amd64Bundle: "0123456789", "kube-apiserver": "a program",
		"kubernetes-v1.34.4-arm64.tar.gz": "arm64",
	} {
		assert.NilError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	return dir
}

func indexed(t *testing.T, dir string, authorizer Authorizer) *Handler {
	t.Helper()
	h := New(dir, authorizer, quiet)
	assert.NilError(t, h.Index(t.Context()))
	return h
}

func request(h http.Handler, method, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func bodyOf(t *testing.T, response *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	assert.NilError(t, err)
	return string(body)
}

func TestOnlyBundlesAndTheirDigestsCanBeFetched(t *testing.T) {
	h := indexed(t, bundleFolder(t), fakeAuthorizer{token: "abc"})
	for path, want := range map[string]int{
		"/v1.34.4/" + amd64Bundle:                         http.StatusOK,
		"/v1.34.4/SHA256SUMS":                             http.StatusOK,
		"/v1.34.5/" + amd64Bundle:                         http.StatusNotFound,
		"/v1.34.5/SHA256SUMS":                             http.StatusNotFound,
		"/v1.34.4/kubernetes-v1.34.4-s390x.tar.gz":        http.StatusNotFound,
		"/v1.34.4/kubernetes-v1.34.5-amd64.tar.gz":        http.StatusNotFound,
		"/" + amd64Bundle:                                 http.StatusNotFound,
		"/v1.34.4/kube-apiserver":                         http.StatusNotFound,
		"/v1.34.4/../kube-apiserver":                      http.StatusNotFound,
		"/v1.34.4/":                                       http.StatusNotFound,
		"//":                                              http.StatusNotFound,
		"/":                                               http.StatusNotFound,
		"/v1.34.4/%2e%2e/kube-apiserver":                  http.StatusNotFound,
		"/v1/../v1/kubernetes-v1/../v1-amd64.tar.gz":      http.StatusNotFound,
		"/v1.34.4/more/kubernetes-v1.34.4-amd64.tar.gz":   http.StatusNotFound,
		"/v1.34.4/kubernetes-v1.34.4-amd64.tar.gz/passwd": http.StatusNotFound,
	} {
		assert.Equal(t, request(h, http.MethodGet, path, "Authorization", "Bearer abc").StatusCode, want, path)
	}
}

func TestALinkOutOfTheFolderIsNotFollowed(t *testing.T) {
	dir := bundleFolder(t)
	secrets := filepath.Join(t.TempDir(), "key")
	assert.NilError(t, os.WriteFile(secrets, []byte("a key"), 0o600))
	h := indexed(t, dir, fakeAuthorizer{token: "abc"})
	assert.NilError(t, os.Symlink(secrets, filepath.Join(dir, "kubernetes-v1.34.4-s390x.tar.gz")))
	response := request(h, http.MethodGet, "/v1.34.4/kubernetes-v1.34.4-s390x.tar.gz", "Authorization", "Bearer abc")
	assert.Equal(t, response.StatusCode, http.StatusInternalServerError)
	assert.Assert(t, !strings.Contains(bodyOf(t, response), "a key"))
}

func TestBundleIsServedWholeInRangesAndByHEAD(t *testing.T) {
	h := indexed(t, bundleFolder(t), fakeAuthorizer{token: "abc"})
	const path, auth = "/v1.34.4/" + amd64Bundle, "Bearer abc"

	whole := request(h, http.MethodGet, path, "Authorization", auth)
	assert.Equal(t, bodyOf(t, whole), "0123456789")
	assert.Equal(t, whole.Header.Get("ETag"), `"`+amd64Sum+`"`)

	head := request(h, http.MethodHead, path, "Authorization", auth)
	assert.Equal(t, head.ContentLength, int64(10))
	assert.Equal(t, bodyOf(t, head), "")

	part := request(h, http.MethodGet, path, "Authorization", auth, "Range", "bytes=7-")
	assert.Equal(t, part.StatusCode, http.StatusPartialContent)
	assert.Equal(t, part.Header.Get("Content-Range"), "bytes 7-9/10")
	assert.Equal(t, bodyOf(t, part), "789")

	replaced := request(h, http.MethodGet, path, "Authorization", auth, "Range", "bytes=7-", "If-Range", `"another"`)
	assert.Equal(t, replaced.StatusCode, http.StatusOK)
}

func TestWhoMayNotFetchLearnsNothing(t *testing.T) {
	for name, test := range map[string]struct {
		authorizer fakeAuthorizer
		header     []string
		want       int
	}{
		"no token": {fakeAuthorizer{token: "abc"}, nil, http.StatusUnauthorized},
		"another way of proving": {
			fakeAuthorizer{token: "abc"},
			[]string{"Authorization", "Basic abc"},
			http.StatusUnauthorized,
		},
		"an empty token": {fakeAuthorizer{}, []string{"Authorization", "Bearer "}, http.StatusUnauthorized},
		"a stranger's token": {
			fakeAuthorizer{token: "abc"},
			[]string{"Authorization", "Bearer xyz"},
			http.StatusForbidden,
		},
		"nobody to ask": {
			fakeAuthorizer{err: errors.New("connection refused")},
			[]string{"Authorization", "Bearer abc"},
			http.StatusServiceUnavailable,
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := indexed(t, bundleFolder(t), test.authorizer)
			there := request(h, http.MethodGet, "/v1.34.4/"+amd64Bundle, test.header...)
			assert.Equal(t, there.StatusCode, test.want)
			assert.Equal(t, there.Header.Get("Retry-After") != "", test.want == http.StatusServiceUnavailable)
			missing := request(h, http.MethodGet, "/v9.9.9/SHA256SUMS", test.header...)
			assert.Equal(t, missing.StatusCode, test.want)
			assert.Equal(t, bodyOf(t, missing), bodyOf(t, there))
		})
	}
}

func TestOnlyReadingIsPossible(t *testing.T) {
	response := request(indexed(t, bundleFolder(t), fakeAuthorizer{token: "abc"}), http.MethodPut,
		"/v1.34.4/"+amd64Bundle,
		"Authorization", "Bearer abc")
	assert.Equal(t, response.StatusCode, http.StatusMethodNotAllowed)
	assert.Equal(t, response.Header.Get("Allow"), "GET, HEAD")
}

func TestHealthNeedsABundleAndNoToken(t *testing.T) {
	assert.Equal(t, request(New(bundleFolder(t), fakeAuthorizer{}, quiet), http.MethodGet, "/healthz").StatusCode,
		http.StatusOK)
	assert.Equal(t, request(New(t.TempDir(), fakeAuthorizer{}, quiet), http.MethodGet, "/healthz").StatusCode,
		http.StatusServiceUnavailable)
	assert.Equal(t, request(New("/does/not/exist", fakeAuthorizer{}, quiet), http.MethodGet, "/healthz").StatusCode,
		http.StatusServiceUnavailable)
}

func TestDigestsComeFromTheFolderOrFromTheBundles(t *testing.T) {
	given := strings.Repeat("ab", 32)
	for name, test := range map[string]struct {
		sums string
		want string
	}{
		"none are given": {"", amd64Sum},
		"given":          {given + "  " + amd64Bundle + "\n" + given + "  something else\n", given},
		"not for this":   {given + "  something else\n", amd64Sum},
	} {
		t.Run(name, func(t *testing.T) {
			dir := bundleFolder(t)
			if test.sums != "" {
				assert.NilError(t, os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(test.sums), 0o644))
			}
			response := request(indexed(t, dir, fakeAuthorizer{token: "abc"}), http.MethodGet, "/v1.34.4/SHA256SUMS",
				"Authorization", "Bearer abc")
			lines := strings.Split(bodyOf(t, response), "\n")
			assert.Equal(t, len(lines), 3) // two bundles and the end
			assert.Equal(t, lines[0], test.want+"  "+amd64Bundle)
		})
	}
}

func TestDigestsThatAreNotKnownAreAskedForLater(t *testing.T) {
	dir := bundleFolder(t)
	h := New(dir, fakeAuthorizer{token: "abc"}, quiet)
	early := request(h, http.MethodGet, "/v1.34.4/SHA256SUMS", "Authorization", "Bearer abc")
	assert.Equal(t, early.StatusCode, http.StatusServiceUnavailable)
	assert.Equal(t, early.Header.Get("Retry-After"), "2")
	// The bundle itself is there already.
	assert.Equal(t, request(h, http.MethodGet, "/v1.34.4/"+amd64Bundle, "Authorization", "Bearer abc").StatusCode,
		http.StatusOK)

	assert.NilError(t, os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte("nonsense  "+amd64Bundle+"\n"), 0o644))
	assert.ErrorContains(t, h.Index(t.Context()), "64 hexadecimal digits")
	broken := request(h, http.MethodGet, "/v1.34.4/SHA256SUMS", "Authorization", "Bearer abc")
	assert.Equal(t, broken.StatusCode, http.StatusInternalServerError)
}

func TestComputingDigestsEndsWithTheServer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, New(bundleFolder(t), fakeAuthorizer{}, quiet).Index(ctx), context.Canceled)
}

func TestTheLogTellsWhatWasAskedAndNoToken(t *testing.T) {
	var log bytes.Buffer
	h := New(bundleFolder(t), fakeAuthorizer{token: "abcdef.0123456789abcdef"},
		slog.New(slog.NewJSONHandler(&log, nil)))
	request(h, http.MethodGet, "/v1.34.4/"+amd64Bundle, "Authorization", "Bearer abcdef.0123456789abcdef")
	request(h, http.MethodGet, "/v1.34.4/"+amd64Bundle, "Authorization", "Bearer fedcba.0123456789abcdef")
	assert.Assert(t, strings.Contains(log.String(), `"path":"/v1.34.4/`+amd64Bundle+`"`), log.String())
	assert.Assert(t, strings.Contains(log.String(), `"status":403`) && strings.Contains(log.String(), `"bytes":10`),
		log.String())
	assert.Assert(t, !strings.Contains(log.String(), "0123456789abcdef"), log.String())
}
